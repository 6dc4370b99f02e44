//! Agent protocols that live on MQTT topics: what their topics and payloads mean.
//!
//! MQTT.Agent's tools: [`Namespaces`] tells what a topic is, [`Card`] reads what a server or a tool
//! says of itself, [`ToolCall`] reads a call, and [`CallError`] is an answer that the broker gives
//! in a server's place. [`mcp`] is MCP over MQTT. `router` does with it what a broker can do for
//! its clients, `sdk` speaks it. Names and fields are those of MQTT.Agent 0.1 and of the binding.
//! It must not know what a session, a packet or a socket is.
#![forbid(unsafe_code)]

mod agent_topic;
mod call_error;
mod card;
pub mod mcp;
mod tool_call;

pub use agent_topic::{AgentTopic, Namespaces, WrongNamespace, card_topic};
pub use call_error::{CallError, CallErrorKind};
pub use card::{Card, Status};
pub use tool_call::ToolCall;
