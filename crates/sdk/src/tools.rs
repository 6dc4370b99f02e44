//! MQTT.Agent's tools: functions that agents call by topics of MQTT 5.
//!
//! [`ToolServer::connect`] puts tools on the bus, alone or as one of several replicas;
//! [`ToolClient::connect`] finds tools and calls them. Both speak with the published package of
//! MQTT.Agent 0.1, over any broker. What we add to it is in `docs/mqtt-agent.md`.

mod answering;
mod call;
mod client;
mod client_messages;
mod context;
mod directory;
mod error;
mod execute;
mod farewell;
mod limits;
mod server;
mod streaming;
mod tool;

pub use client::{Changes, ToolClient};
pub use context::Context;
pub use directory::{Cards, ServerInfo, ToolInfo};
pub use error::{Error, Failure};
pub use limits::{
    CALL_TIMEOUT, CARD_BYTES, CARDS, CARDS_BYTES, CONCURRENCY, LONGEST_CALL, OPEN_CALLS,
    PAYLOAD_BYTES, RECENT_CALLS, RETURN_SECS, WAITING_PARTIALS,
};
pub use server::{ToolServer, ToolServerConfig};
pub use streaming::StreamingCall;
pub use tool::{McpOrigin, Tool, ToolError};

pub use agentmq_agents::{ArgumentSchema, WrongSchema};

pub use crate::mcp::Dropped;

/// The namespace of who does not choose one.
pub const NAMESPACE: &str = "a2a/v1";
