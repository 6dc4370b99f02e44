//! An asynchronous MQTT 5, 3.1.1 and 3.1 client on AgentMQ's codec.
//!
//! [`Client::connect`] opens a connection (tcp, tls, ws, wss, unix) and starts one task that owns
//! it: reads, writes, keep alive, reconnection and session resume. [`Client::publish`] returns an
//! [`Ack`] that resolves with the server's reason code; messages arrive in a bounded [`Messages`]
//! or in a [`Subscription`] of their own. A consumer that is slow stops the reading of the socket.
//!
//! Called by the command line, the SDK and the gateways. Must not know what a topic means.
#![forbid(unsafe_code)]

mod ack;
mod client;
mod command;
mod connection;
mod deliver;
mod dial;
mod driver;
mod ending;
mod error;
mod event;
mod handshake;
mod inbox;
mod incoming;
mod keep_alive;
mod link;
mod message;
mod options;
mod packet_id;
mod publish;
mod reconnect;
mod request;
mod routes;
mod session;
mod subscription;
mod tls;
mod tls_session;
mod topic_alias;
mod turn;
mod url;
mod websocket;
mod will;

pub use ack::Ack;
pub use agentmq_codec::{
    PropertiesBuf, Property, PropertyId, ProtocolVersion, QoS, ReasonCode, RetainHandling,
    SubscriptionOptions,
};
pub use client::{Client, Messages};
pub use dial::Dial;
pub use error::Error;
pub use event::{Event, Events};
pub use handshake::ServerLimits;
pub use link::web_stream;
pub use message::Message;
pub use options::{Acknowledge, Options};
pub use publish::Publish;
pub use reconnect::Reconnect;
pub use request::random_token;
pub use session::SessionNumber;
pub use subscription::Subscription;
pub use tls::Tls;
pub use tls_session::{TlsSession, TlsSessions};
pub use url::{Endpoint, Transport};
pub use will::Will;
