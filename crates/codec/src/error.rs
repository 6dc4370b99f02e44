//! Why bytes are not a packet.

use crate::ReasonCode;

/// A packet that breaks the protocol: the reason code to answer with and what was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({reason})")]
pub struct DecodeError {
    /// What CONNACK or DISCONNECT says (MQTT 5 §4.13).
    pub reason: ReasonCode,
    /// One phrase for the reason string and the log; names the field and the rule.
    pub what: &'static str,
}

impl DecodeError {
    /// 0x81: the bytes cannot be parsed (MQTT 5 §1.2, Malformed Packet).
    pub const fn malformed(what: &'static str) -> Self {
        Self { reason: ReasonCode::MalformedPacket, what }
    }

    /// 0x82: the bytes parse but are not allowed (MQTT 5 §1.2, Protocol Error).
    pub const fn protocol(what: &'static str) -> Self {
        Self { reason: ReasonCode::ProtocolError, what }
    }

    /// Any other reason code.
    pub const fn with(reason: ReasonCode, what: &'static str) -> Self {
        Self { reason, what }
    }
}
