//! One packet that has arrived.

use std::fmt;

use agentmq_codec::{Packet, PropertyLimits, ProtocolVersion, Publish, ReasonCode};

/// The bytes of one packet, validated.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    first: u8,
    body: Vec<u8>,
    version: ProtocolVersion,
}

impl Received {
    /// Panics if the bytes are no packet that a server may send.
    pub(crate) fn new(first: u8, body: Vec<u8>, version: ProtocolVersion) -> Self {
        let received = Self { first, body, version };
        let _ = received.packet();
        received
    }

    /// The packet.
    pub fn packet(&self) -> Packet<'_> {
        Packet::decode(self.first, &self.body, self.version, &PropertyLimits::UNLIMITED)
            .unwrap_or_else(|error| panic!("the broker sent a bad packet: {error}: {self:02X?}"))
    }

    /// The packet as a PUBLISH, which it must be.
    pub fn publish(&self) -> Publish<'_> {
        match self.packet() {
            Packet::Publish(publish) => publish,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// The reason code of a CONNACK, DISCONNECT, SUBACK (its first) or acknowledgement.
    pub fn reason(&self) -> ReasonCode {
        match self.packet() {
            Packet::ConnAck(packet) => packet.reason,
            Packet::Disconnect(packet) => packet.reason,
            Packet::Ack(packet) => packet.reason,
            Packet::SubAck(packet) => {
                packet.reasons().next().expect("a SUBACK holds at least one code")
            }
            other => panic!("expected a packet with a reason code, got {other:?}"),
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = PropertyLimits::UNLIMITED;
        match Packet::decode(self.first, &self.body, self.version, &limits) {
            Ok(packet) => packet.fmt(f),
            Err(_) => write!(f, "{:02X} {:02X?}", self.first, self.body),
        }
    }
}
