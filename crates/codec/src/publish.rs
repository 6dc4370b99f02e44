//! PUBLISH (MQTT 5 §3.3).

use crate::allowed_properties;
use crate::encode::{fitting, put_text, put_u16, put_varint, varint_len};
use crate::properties::{Properties, PropertyLimits};
use crate::property::PropertyId as P;
use crate::reader::{Reader, TOPIC_WITH_WILDCARD};
use crate::{DecodeError, ProtocolVersion, QoS, ReasonCode};

/// A publication, borrowing from the packet it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Publish<'a> {
    /// A re-delivery of an earlier attempt.
    pub dup: bool,
    /// Quality of Service.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The Topic Name; empty when a Topic Alias stands for it.
    pub topic: &'a str,
    /// The Packet Identifier; 0 for QoS 0.
    pub packet_id: u16,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(crate) fn decode(
        flags: u8,
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        // [MQTT-3.3.1-4]
        let qos = QoS::from_bits(flags >> 1 & 3).ok_or(DecodeError::malformed("QoS 3"))?;
        let dup = flags & 8 != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::malformed("DUP with QoS 0")); // [MQTT-3.3.1-2]
        }
        let mut reader = Reader::new(body);
        let topic = reader.topic_name(TOPIC_WITH_WILDCARD)?;
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { reader.packet_id()? };
        let properties = if version.is_v5() {
            Properties::read(&mut reader, allowed_properties::PUBLISH, limits)?
        } else {
            Properties::EMPTY
        };
        if topic.is_empty() && !properties.has(P::TopicAlias) {
            return Err(if version.is_v5() {
                DecodeError::protocol("empty topic name without a Topic Alias")
            } else {
                DecodeError::with(ReasonCode::TopicNameInvalid, "empty topic name")
            });
        }
        let retain = flags & 1 != 0;
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic,
            packet_id: self.packet_id,
            topic_alias: None,
            message_expiry: None,
            subscription_identifiers: &[],
            properties: self.properties,
            payload_len: self.payload.len(),
        }
        .encode(version, out);
        out.extend_from_slice(self.payload);
    }
}

/// All of a PUBLISH but its payload, with the properties that change from hop to hop apart from
/// those that are forwarded. A broker encodes it once per layout and appends or references the
/// payload.
#[derive(Debug, Clone, Copy)]
pub struct PublishHead<'a> {
    /// A re-delivery.
    pub dup: bool,
    /// Quality of Service of this delivery.
    pub qos: QoS,
    /// RETAIN as this receiver sees it.
    pub retain: bool,
    /// Topic Name; empty when the alias stands for it.
    pub topic: &'a str,
    /// Packet Identifier; not written for QoS 0.
    pub packet_id: u16,
    /// Topic Alias of this connection.
    pub topic_alias: Option<u16>,
    /// What remains of the Message Expiry Interval, in seconds.
    pub message_expiry: Option<u32>,
    /// Identifiers of the subscriptions that this delivery serves.
    pub subscription_identifiers: &'a [u32],
    /// Everything that is forwarded unaltered: none that has a field of its own above, since no
    /// property but User Property may stand twice ([`Properties::forwarded`] leaves them out).
    pub properties: Properties<'a>,
    /// Bytes of payload that follow.
    pub payload_len: usize,
}

impl PublishHead<'_> {
    /// Appends everything up to the payload; returns where in `out` the Packet Identifier stands
    /// (0 for QoS 0), so that a copy can be given another one.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> usize {
        let properties_len = if version.is_v5() { self.properties_len() } else { 0 };
        let remaining = self.remaining_len(version, properties_len);
        out.reserve(5 + remaining - self.payload_len);
        out.push(0x30 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain));
        put_varint(out, remaining);
        put_text(out, self.topic);
        let mut id_at = 0;
        if self.qos != QoS::AtMostOnce {
            id_at = out.len();
            put_u16(out, self.packet_id);
        }
        if version.is_v5() {
            put_varint(out, properties_len);
            if let Some(seconds) = self.message_expiry {
                out.push(P::MessageExpiryInterval as u8);
                out.extend_from_slice(&seconds.to_be_bytes());
            }
            if let Some(alias) = self.topic_alias {
                out.push(P::TopicAlias as u8);
                put_u16(out, alias);
            }
            for &id in self.subscription_identifiers {
                out.push(P::SubscriptionIdentifier as u8);
                put_varint(out, id as usize);
            }
            out.extend_from_slice(self.properties.as_bytes());
        }
        id_at
    }

    /// The size of the whole packet in bytes, payload included.
    pub fn packet_len(&self, version: ProtocolVersion) -> usize {
        let properties_len = if version.is_v5() { self.properties_len() } else { 0 };
        let remaining = self.remaining_len(version, properties_len);
        1 + varint_len(remaining) + remaining
    }

    fn remaining_len(&self, version: ProtocolVersion, properties_len: usize) -> usize {
        let id_len = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let all_properties =
            if version.is_v5() { varint_len(properties_len) + properties_len } else { 0 };
        2 + fitting(self.topic).len() + id_len + all_properties + self.payload_len
    }

    fn properties_len(&self) -> usize {
        let identifiers: usize =
            self.subscription_identifiers.iter().map(|&id| 1 + varint_len(id as usize)).sum();
        self.properties.as_bytes().len()
            + if self.message_expiry.is_some() { 5 } else { 0 }
            + if self.topic_alias.is_some() { 3 } else { 0 }
            + identifiers
    }
}
