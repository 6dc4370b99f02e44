//! MCP over MQTT: the public binding of the Model Context Protocol to MQTT 5 topics.
//!
//! [`Server::connect`] puts a service on the bus, with a session for each client that initializes;
//! [`Bus::connect`] finds the servers that are there and opens sessions with them. What the public
//! text leaves open, and what we do there, is in `docs/mcp-over-mqtt.md`.

mod absence;
mod bus;
mod bus_messages;
mod call;
mod error;
mod fault;
mod identifier;
mod inbox;
mod limits;
mod link;
mod online;
mod outbox;
mod presence;
mod progress;
mod server;
mod server_name;
mod server_session;
mod session;
mod stateless_ask;
mod stateless_calls;
mod stateless_transport;
mod subscriptions;
mod traced;
mod transport;
mod wire;

pub use agentmq_agents::mcp::{
    Instance, NAME_BYTES, Topic, WrongName, check_client_id, check_name_filter, check_server_name,
};
pub use bus::{Bus, BusConfig, Changes};
pub use call::{Call, call};
pub use error::Error;
pub use fault::{Fault, fault, fault_of};
pub use limits::{
    AWAY, CORRELATION_BYTES, DIRECTORY_BYTES, DISCOVERY_TIMEOUT, IDLE, INITIALIZE_TIMEOUT,
    INSTANCES, MARK_PATIENCE, MESSAGE_BYTES, ONLINE_BYTES, OPEN_REQUESTS, OUTBOX, PING_TIMEOUT,
    PRESENCE_PATIENCE, RECENT_REQUESTS, REQUEST_TIMEOUT, SESSIONS, TAKEN_AFTER, TAKEN_BACK,
    TAKEN_PATIENCE, WAITING_BYTES, WAITING_MESSAGES, WAITING_PROGRESS, WORK_TIMEOUT,
    request_timeout,
};
pub use online::Online;
pub use presence::Directory;
pub use progress::InOrder;
pub use server::{Acceptor, Server, ServerConfig};
pub use server_session::Caller;
pub use session::Session;
pub use transport::MqttTransport;
pub use wire::Dropped;
