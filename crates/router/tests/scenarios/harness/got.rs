//! Packets that a client has received.

use agentmq_codec::{
    AckKind, Packet, PropertiesBuf, PropertyId, PropertyLimits, ProtocolVersion, QoS,
};

/// One packet from the broker, with codes as the numbers of the standard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Got {
    ConnAck { session_present: bool, code: u8, properties: PropertiesBuf },
    Publish(Message),
    PubAck(u16, u8),
    PubRec(u16, u8),
    PubRel(u16, u8),
    PubComp(u16, u8),
    SubAck(u16, Vec<u8>),
    UnsubAck(u16, Vec<u8>),
    PingResp,
    Disconnect(u8),
    Auth(u8, Vec<u8>),
}

/// A PUBLISH from the broker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) id: u16,
    pub(crate) properties: PropertiesBuf,
}

impl Message {
    /// Subscription Identifiers, sorted.
    pub(crate) fn identifiers(&self) -> Vec<u32> {
        let mut all: Vec<_> = self.properties.view().subscription_identifiers().collect();
        all.sort_unstable();
        all
    }

    pub(crate) fn expiry(&self) -> Option<u32> {
        self.properties.view().integer(PropertyId::MessageExpiryInterval)
    }

    pub(crate) fn alias(&self) -> Option<u16> {
        self.properties.view().u16(PropertyId::TopicAlias)
    }
}

impl Got {
    pub(crate) fn decode(first: u8, body: &[u8], version: ProtocolVersion) -> Self {
        let packet = Packet::decode(first, body, version, &PropertyLimits::UNLIMITED)
            .unwrap_or_else(|error| panic!("the broker sent {first:#x} {body:?}: {error}"));
        match packet {
            Packet::ConnAck(it) => Self::ConnAck {
                session_present: it.session_present,
                code: body[1],
                properties: it.properties.iter().collect(),
            },
            Packet::Publish(it) => Self::Publish(Message {
                topic: it.topic.into(),
                payload: String::from_utf8_lossy(it.payload).into(),
                qos: it.qos as u8,
                retain: it.retain,
                dup: it.dup,
                id: it.packet_id,
                properties: it.properties.iter().collect(),
            }),
            Packet::Ack(it) => {
                let of = match it.kind {
                    AckKind::PubAck => Self::PubAck,
                    AckKind::PubRec => Self::PubRec,
                    AckKind::PubRel => Self::PubRel,
                    AckKind::PubComp => Self::PubComp,
                };
                of(it.packet_id, it.reason as u8)
            }
            Packet::SubAck(it) => {
                Self::SubAck(it.packet_id, it.reasons().map(|code| code as u8).collect())
            }
            Packet::UnsubAck(it) => {
                Self::UnsubAck(it.packet_id, it.reasons().map(|code| code as u8).collect())
            }
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(it) => Self::Disconnect(it.reason as u8),
            Packet::Auth(it) => {
                let data = it.properties.binary(PropertyId::AuthenticationData).unwrap_or_default();
                Self::Auth(it.reason as u8, data.into())
            }
            other => panic!("no broker sends {other:?}"),
        }
    }
}

/// The Reason String of an acknowledgement or a DISCONNECT.
pub(crate) fn reason_string(first: u8, body: &[u8], version: ProtocolVersion) -> Option<String> {
    let packet = Packet::decode(first, body, version, &PropertyLimits::UNLIMITED).ok()?;
    let properties = match packet {
        Packet::Ack(it) => it.properties,
        Packet::SubAck(it) => it.properties,
        Packet::UnsubAck(it) => it.properties,
        Packet::Disconnect(it) => it.properties,
        _ => return None,
    };
    properties.text(PropertyId::ReasonString).map(str::to_owned)
}

pub(crate) fn qos(level: u8) -> QoS {
    QoS::from_bits(level).expect("tests use 0, 1 and 2")
}
