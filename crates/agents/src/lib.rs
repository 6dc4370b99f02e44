//! Agent protocols that live on MQTT topics: what their topics and payloads mean.
//!
//! MQTT.Agent's tools: [`Namespaces`] tells what a topic is, [`Card`] reads what a server or a tool
//! says of itself, [`ToolCall`] reads a call, and [`CallError`] is an answer that the broker gives
//! in a server's place. [`CallRequest`], [`CallAnswer`], [`Partial`], [`ToolCard`] and
//! [`ServerCard`] are what servers and clients say, [`ArgumentSchema`] is what a tool takes.
//! [`mcp`] is MCP over MQTT, and [`Registry`] one view of the tools of both. `router` does with it
//! what a broker can do for its clients, `sdk` speaks it. Names and fields are those of MQTT.Agent
//! 0.1 and of the binding. It must not know what a session, a packet or a socket is.
#![forbid(unsafe_code)]

mod agent_topic;
mod argument_schema;
mod call_answer;
mod call_error;
mod call_request;
mod card;
pub mod mcp;
mod new_card;
mod partial;
mod registry;
mod timestamp;
mod tool_call;

pub use agent_topic::{
    AgentTopic, Namespaces, WrongNamespace, call_topic, card_topic, is_level, responses_topic,
    shared_call_filter, stream_topic,
};
pub use argument_schema::{ArgumentSchema, WrongSchema};
pub use call_answer::{CallAnswer, Outcome};
pub use call_error::{CallError, CallErrorKind};
pub use call_request::{CallRequest, StartedCall};
pub use card::{Card, Status};
pub use new_card::{McpTool, ServerCard, ToolCard};
pub use partial::Partial;
pub use registry::{
    Fingerprint, Protocol, Registered, RegisteredTool, Registry, RegistryEvent, ServerKey,
    ToolsChanged,
};
pub use timestamp::timestamp;
pub use tool_call::ToolCall;
