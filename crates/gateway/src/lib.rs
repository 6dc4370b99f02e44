//! Programs that speak MCP and know nothing of MQTT, on the bus.
//!
//! [`expose()`] starts a stdio MCP server, or asks one by HTTP, and offers it to everybody on the
//! bus; [`expose_devices()`] does so with devices that know nothing of MCP; [`bridge()`] is a stdio
//! MCP server that offers a host everything that is on the bus, and [`McpHttp`] offers it by HTTP;
//! [`Tools`] asks and calls for people, and [`watch()`] tells them what happens. Called by the
//! command line; must not know its arguments, nor print anything.
#![forbid(unsafe_code)]

mod agent_side;
mod agent_tools;
mod backend;
mod backoff;
mod binding;
mod bridge;
mod bus_listeners;
mod catalogue;
mod client_side;
mod devices;
mod endpoint;
mod error;
mod expose;
mod follow;
mod follow_bus;
mod forward;
mod happening;
mod host;
mod host_name;
mod host_uri;
mod http_server;
mod list_room;
mod listening;
mod listing;
mod on_bus;
mod program;
mod registrar;
mod replicas;
mod resource_subscriptions;
mod room;
mod servers;
mod stderr_log;
mod tools;
mod watch;

pub use agentmq_agents::{
    Fingerprint, Protocol, Registered, RegisteredTool, Registry, RegistryEvent, ServerKey,
    ToolsChanged,
};
pub use agentmq_sdk::mcp::{
    Error as BusError, Fault, Instance, MESSAGE_BYTES, check_name_filter, check_server_name,
};
pub use agentmq_sdk::tools::{Error as ToolsError, NAMESPACE};
pub use backend::Exposed;
pub use binding::Binding;
pub use bridge::bridge;
pub use devices::{Devices, ExposeDevices, Problem, WrongFile, expose_devices};
pub use endpoint::{HttpAnswer, McpHttp};
pub use error::Error;
pub use expose::{Expose, expose};
pub use happening::Happening;
pub use http_server::{HttpServer, WrongHttp};
pub use program::Program;
pub use registrar::RegistryChange;
pub use replicas::expose_replicas;
pub use servers::Servers;
pub use tools::{Answer, Opened, Refusal, Tool, Tools, Unheard};
pub use watch::watch;
