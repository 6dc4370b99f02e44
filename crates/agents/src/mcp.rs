//! MCP over MQTT: JSON-RPC of the Model Context Protocol on topics that begin with `$mcp-`.

mod request;
mod roles;
mod topics;

pub use request::{NO_SERVER, Request, error_response};
pub use roles::{Call, ONLINE_BYTES, Unreadable};
pub use topics::{
    ANY, Instance, NAME_BYTES, Topic, WrongName, answers_filter, check_client_id,
    check_name_filter, check_server_name, client_capability, client_presence, is_service, is_word,
    no_service, presence_filter, service,
};

/// User Property of CONNECT and PUBLISH: `mcp-server` or `mcp-client`.
pub const COMPONENT_TYPE: &str = "MCP-COMPONENT-TYPE";
/// User Property of PUBLISH: the sender's MQTT client identifier.
pub const CLIENT_ID: &str = "MCP-MQTT-CLIENT-ID";
/// User Property of CONNACK to servers: the name that the broker gives.
pub const SERVER_NAME: &str = "MCP-SERVER-NAME";
/// User Property of CONNACK to clients: a JSON array of the filters of names that they may use.
pub const NAME_FILTERS: &str = "MCP-SERVER-NAME-FILTERS";
/// User Property of CONNACK to clients: a JSON array of `{"server_name", "role_name"}`.
pub const RBAC: &str = "MCP-RBAC";
/// What a server is, as [`COMPONENT_TYPE`].
pub const SERVER: &str = "mcp-server";
/// What a client is.
pub const CLIENT: &str = "mcp-client";

/// Whether topics of the binding begin so.
#[must_use]
pub fn is_meant(topic: &str) -> bool {
    topic.starts_with("$mcp-")
}
