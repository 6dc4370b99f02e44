//! What a packet says, in a form that three decoders can be compared in.

use std::collections::BTreeMap;
use std::fmt::Debug;

use agentmq_codec::{
    Packet, Properties, Property, ProtocolVersion, Publish, ReasonCode, SubscribeFilter, Will,
};

/// Named values of one packet. Property values stand under their number in hexadecimal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(BTreeMap<String, String>);

impl Facts {
    pub(crate) fn of(kind: &str) -> Self {
        Self::default().with("kind", kind)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Debug) -> Self {
        self.0.insert(name.to_owned(), format!("{value:?}"));
        self
    }

    /// A property of the packet, or of its will; a default value says what its absence says.
    pub(crate) fn property(mut self, id: u8, value: Option<impl Debug>) -> Self {
        if let Some(value) = value {
            let value = format!("{value:?}");
            if !DEFAULTS.contains(&(id, value.as_str())) {
                self.0.insert(format!("{id:#04x}"), value);
            }
        }
        self
    }

    pub(crate) fn flag(self, id: u8, value: Option<bool>) -> Self {
        self.property(id, value.map(u8::from))
    }

    pub(crate) fn users(self, pairs: Vec<(&str, &str)>) -> Self {
        self.property(0x26, (!pairs.is_empty()).then_some(pairs))
    }

    /// Those of a will, under names of their own.
    pub(crate) fn will(mut self, will: Self) -> Self {
        self.0.extend(will.0.into_iter().map(|(name, value)| (format!("will {name}"), value)));
        self
    }

    /// The packet's name.
    pub(crate) fn kind(&self) -> &str {
        self.0.get("kind").map_or("", |kind| kind.trim_matches('"'))
    }

    /// Whether a value is there and written like this.
    pub(crate) fn says(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_some_and(|found| found == value)
    }

    /// The names whose values differ.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut names: Vec<_> =
            names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect();
        names.dedup();
        names
    }

    /// What our decoder made of the packet.
    pub(crate) fn ours(packet: &Packet<'_>, version: ProtocolVersion) -> Self {
        match packet {
            Packet::Connect(connect) => {
                let facts = Self::of("CONNECT")
                    .with("clean", connect.clean_start)
                    .with("keep alive", connect.keep_alive)
                    .with("client id", connect.client_id)
                    .with("name", connect.username)
                    .with("password", connect.password)
                    .properties(connect.properties);
                match &connect.will {
                    Some(will) => facts.will(Self::of_will(will)),
                    None => facts,
                }
            }
            Packet::ConnAck(packet) => Self::of("CONNACK")
                .with("present", packet.session_present)
                .with(
                    "code",
                    if version.is_v5() { packet.reason as u8 } else { packet.reason.connack_v3() },
                )
                .properties(packet.properties),
            Packet::Publish(publish) => Self::of_publish(publish),
            Packet::Ack(ack) => Self::of(match ack.kind as u8 {
                0x40 => "PUBACK",
                0x50 => "PUBREC",
                0x62 => "PUBREL",
                _ => "PUBCOMP",
            })
            .with("id", ack.packet_id)
            .with("code", ack.reason as u8)
            .properties(ack.properties),
            Packet::Subscribe(packet) => {
                let filters: Vec<_> = packet
                    .filters()
                    .map(|SubscribeFilter { filter, options: o }| {
                        (
                            filter,
                            o.qos as u8,
                            o.no_local,
                            o.retain_as_published,
                            o.retain_handling as u8,
                        )
                    })
                    .collect();
                Self::of("SUBSCRIBE")
                    .with("id", packet.packet_id)
                    .with("filters", filters)
                    .properties(packet.properties)
            }
            Packet::SubAck(packet) => Self::of("SUBACK")
                .with("id", packet.packet_id)
                .with("codes", codes(packet.reasons()))
                .properties(packet.properties),
            Packet::Unsubscribe(packet) => Self::of("UNSUBSCRIBE")
                .with("id", packet.packet_id)
                .with("filters", packet.filters().collect::<Vec<_>>())
                .properties(packet.properties),
            Packet::UnsubAck(packet) => Self::of("UNSUBACK")
                .with("id", packet.packet_id)
                .with("codes", codes(packet.reasons()))
                .properties(packet.properties),
            Packet::PingReq => Self::of("PINGREQ"),
            Packet::PingResp => Self::of("PINGRESP"),
            Packet::Disconnect(packet) => Self::of("DISCONNECT")
                .with("code", packet.reason as u8)
                .properties(packet.properties),
            Packet::Auth(packet) => {
                Self::of("AUTH").with("code", packet.reason as u8).properties(packet.properties)
            }
        }
    }

    fn of_publish(publish: &Publish<'_>) -> Self {
        Self::of("PUBLISH")
            .with("dup", publish.dup)
            .with("qos", publish.qos as u8)
            .with("retain", publish.retain)
            .with("topic", publish.topic)
            .with("id", publish.packet_id)
            .with("payload", publish.payload)
            .properties(publish.properties)
    }

    fn of_will(will: &Will<'_>) -> Self {
        Self::of("will")
            .with("qos", will.qos as u8)
            .with("retain", will.retain)
            .with("topic", will.topic)
            .with("payload", will.payload)
            .properties(will.properties)
    }

    fn properties(self, properties: Properties<'_>) -> Self {
        let identifiers: Vec<_> = properties.subscription_identifiers().collect();
        let facts = self
            .users(properties.user_properties().collect())
            .property(0x0B, (!identifiers.is_empty()).then_some(identifiers));
        properties.iter().fold(facts, |facts, property| {
            let id = property.id() as u8;
            match property {
                Property::Byte(_, value) => facts.property(id, Some(value)),
                Property::U16(_, value) => facts.property(id, Some(value)),
                Property::U32(_, value) => facts.property(id, Some(value)),
                Property::Text(_, value) => facts.property(id, Some(value)),
                Property::Binary(_, value) => facts.property(id, Some(value)),
                Property::VarInt(..) | Property::Pair(..) => facts,
            }
        })
    }
}

fn codes(reasons: impl Iterator<Item = ReasonCode>) -> Vec<u8> {
    reasons.map(|reason| reason as u8).collect()
}

/// Values that mean the same as an absent property (§3.1.2.11, §3.2.2.3, §3.3.2.3.2); some
/// decoders do not tell the two apart.
const DEFAULTS: [(u8, &str); 10] = [
    (0x01, "0"),
    (0x11, "0"),
    (0x17, "1"),
    (0x19, "0"),
    (0x21, "65535"),
    (0x22, "0"),
    (0x25, "1"),
    (0x28, "1"),
    (0x29, "1"),
    (0x2A, "1"),
];
