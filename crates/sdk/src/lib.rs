//! Agents in Rust: what speaks the protocols of agents over our MQTT client.
//!
//! [`mcp`] is MCP over MQTT: any `rmcp` handler as a server on the bus, and sessions with the
//! servers that are there. [`tools`] is MQTT.Agent's tools: servers and clients of them. Both work
//! with any MQTT 5 broker. Called by the gateways and the command line; must not know standard
//! input, child processes or HTTP.
#![forbid(unsafe_code)]

pub mod mcp;
mod recent;
pub mod tools;
mod trace_context;
mod weight;

pub use trace_context::TraceContext;
pub use weight::{weight, weight_of};
