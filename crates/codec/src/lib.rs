//! MQTT 5, 3.1.1 and 3.1 packets to and from bytes.
//!
//! [`frame::cut`] finds one packet in a stream, [`Packet::decode`] validates it in one pass and
//! returns a view that borrows from the bytes; every view encodes itself again, so that a packet
//! read and a packet written are the same type. Properties stay encoded: a [`Properties`] is a
//! checked byte range with a set of what it holds, so forwarding it is a copy.
//!
//! Called by the session, the router, the client and the peer mode. Knows nothing of sockets,
//! time, sessions or the meaning of a topic beyond its well-formedness.
#![forbid(unsafe_code)]

mod ack;
mod allowed_properties;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod encode;
mod error;
pub mod frame;
mod packet;
mod properties;
mod property;
mod publish;
mod qos;
mod reader;
mod reason_code;
mod suback;
mod subscribe;
mod unsubscribe;
mod version;

pub use ack::{Ack, AckKind};
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, ConnectError, Will};
pub use disconnect::Disconnect;
pub use encode::varint_len;
pub use error::DecodeError;
pub use frame::PacketType;
pub use packet::Packet;
pub use properties::{Properties, PropertiesBuf, PropertyLimits, PropertySet};
pub use property::{Property, PropertyId};
pub use publish::{Publish, PublishHead};
pub use qos::QoS;
pub use reader::{check_text, check_topic_name};
pub use reason_code::ReasonCode;
pub use suback::{FilterAck, FilterAckKind};
pub use subscribe::{RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions};
pub use unsubscribe::Unsubscribe;
pub use version::ProtocolVersion;
