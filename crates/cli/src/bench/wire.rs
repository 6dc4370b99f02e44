//! The packets of the load generator: encoded once, patched per message, read in place.

use agentmq_client::{ProtocolVersion, QoS};
use agentmq_codec::{Connect, Properties, PropertiesBuf, Property, PropertyId, PublishHead};
use agentmq_codec::{Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe};

/// What every payload begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which run of the load generator.
    pub(crate) run: u32,
    pub(crate) publisher: u32,
    /// Counts from 0 for each publisher.
    pub(crate) sequence: u64,
    /// When it was sent, or should have been, in nanoseconds of the generator's clock.
    pub(crate) sent: u64,
}

impl Stamp {
    pub(crate) const LEN: usize = 24;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.publisher.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..].copy_from_slice(&self.sent.to_be_bytes());
        bytes
    }

    /// Reads the stamp of a payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u32::from_be_bytes(*run),
            publisher: u32::from_be_bytes(*publisher),
            sequence: u64::from_be_bytes(*sequence),
            sent: u64::from_be_bytes(*sent),
        })
    }
}

/// An encoded PUBLISH with a payload to be stamped.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// 0 for QoS 0.
    id_at: usize,
    payload_at: usize,
}

impl Template {
    pub(crate) fn new(
        version: ProtocolVersion,
        topic: &str,
        qos: QoS,
        retain: bool,
        properties: &PropertiesBuf,
        size: usize,
    ) -> Self {
        let size = size.max(Stamp::LEN);
        let mut bytes = Vec::new();
        let id_at = PublishHead {
            dup: false,
            qos,
            retain,
            topic,
            packet_id: 1,
            topic_alias: None,
            message_expiry: None,
            subscription_identifiers: &[],
            properties: properties.view(),
            payload_len: size,
        }
        .encode(version, &mut bytes);
        let payload_at = bytes.len();
        bytes.resize(payload_at + size, b'.');
        Self { bytes, id_at, payload_at }
    }

    /// The topic's third level becomes this number, written with as many digits as it has.
    pub(crate) fn address(&mut self, number: u64) {
        let topic_at = self.bytes.iter().skip(1).position(|byte| byte & 0x80 == 0).unwrap_or(0) + 2;
        let Some((len, rest)) = self.bytes[topic_at..].split_first_chunk_mut() else { return };
        let topic = &mut rest[..usize::from(u16::from_be_bytes(*len))];
        let Some(level) = topic.split_mut(|&byte| byte == b'/').nth(2) else { return };
        let mut left = number;
        for digit in level.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
    }

    /// A packet without payload, and so without a stamp, that removes a retained message.
    pub(crate) fn empty_retained(version: ProtocolVersion, topic: &str, qos: QoS) -> Self {
        let mut bytes = Vec::new();
        let id_at = PublishHead {
            dup: false,
            qos,
            retain: true,
            topic,
            packet_id: 1,
            topic_alias: None,
            message_expiry: None,
            subscription_identifiers: &[],
            properties: Properties::EMPTY,
            payload_len: 0,
        }
        .encode(version, &mut bytes);
        let payload_at = bytes.len();
        Self { bytes, id_at, payload_at }
    }

    /// Bytes of the packet.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the packet with this identifier and stamp.
    pub(crate) fn append(&self, out: &mut Vec<u8>, packet_id: u16, stamp: Stamp) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let packet = &mut out[start..];
        if self.id_at > 0 {
            packet[self.id_at..self.id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        if let Some(payload) = packet[self.payload_at..].first_chunk_mut() {
            *payload = stamp.to_bytes();
        }
    }
}

/// The parts of a PUBLISH that the generator needs. The topic is skipped unread: each scenario
/// knows what it subscribed to, and the stamp tells the rest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    /// 0 to 2.
    pub(crate) qos: u8,
    pub(crate) packet_id: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// Reads a PUBLISH; `None` when it is malformed.
    pub(crate) fn read(version: ProtocolVersion, first: u8, body: &'a [u8]) -> Option<Self> {
        let qos = first >> 1 & 3;
        let (topic_len, rest) = body.split_first_chunk()?;
        let mut rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
        let mut packet_id = 0;
        if qos > 0 {
            let (id, behind) = rest.split_first_chunk()?;
            packet_id = u16::from_be_bytes(*id);
            rest = behind;
        }
        if version.is_v5() {
            let (mut len, mut shift) = (0usize, 0);
            loop {
                let (&byte, behind) = rest.split_first()?;
                rest = behind;
                len |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift > 21 {
                    return None;
                }
            }
            rest = rest.get(len..)?;
        }
        Some(Self { qos, packet_id, payload: rest })
    }
}

/// Appends PUBACK, PUBREC, PUBREL or PUBCOMP without a reason: `first` says which.
pub(crate) fn put_ack(out: &mut Vec<u8>, first: u8, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

/// The identifier in an acknowledgement's body.
pub(crate) fn ack_id(body: &[u8]) -> u16 {
    body.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

/// How a connection of the generator presents itself.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) version: ProtocolVersion,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
}

impl Hello {
    /// An encoded CONNECT. A lasting session is kept for an hour.
    pub(crate) fn connect(&self, client_id: &str, clean_start: bool, lasting: bool) -> Vec<u8> {
        let mut properties = PropertiesBuf::new();
        if lasting && self.version.is_v5() {
            properties.push(Property::U32(PropertyId::SessionExpiryInterval, 3600));
        }
        let mut out = Vec::new();
        Connect {
            version: self.version,
            clean_start,
            // The longest there is: the generator says nothing on its own, and idle connections
            // must not be closed. Not 0, which would be forever, for some brokers refuse that.
            keep_alive: u16::MAX,
            client_id,
            will: None,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            properties: properties.view(),
        }
        .encode(&mut out);
        out
    }

    /// An encoded SUBSCRIBE.
    pub(crate) fn subscribe(&self, filter: &str, qos: QoS) -> Vec<u8> {
        let mut out = Vec::new();
        self.put_subscribe(&[filter], 1, qos, &mut out);
        out
    }

    /// Appends a SUBSCRIBE for these filters.
    pub(crate) fn put_subscribe<F>(&self, filters: &[F], id: u16, qos: QoS, out: &mut Vec<u8>)
    where
        F: AsRef<str>,
    {
        let options = SubscriptionOptions::at(qos);
        let filters = filters.iter().map(AsRef::as_ref);
        let filters = filters.map(|filter| SubscribeFilter { filter, options });
        Subscribe::encode_parts(id, Properties::EMPTY, filters, self.version, out);
    }

    /// Appends an UNSUBSCRIBE.
    pub(crate) fn put_unsubscribe(&self, filter: &str, id: u16, out: &mut Vec<u8>) {
        Unsubscribe::encode_parts(id, Properties::EMPTY, [filter], self.version, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentmq_codec::frame;

    #[test]
    fn a_stamped_packet_is_read_back() {
        for (version, qos) in [
            (ProtocolVersion::V311, QoS::AtMostOnce),
            (ProtocolVersion::V311, QoS::ExactlyOnce),
            (ProtocolVersion::V5, QoS::AtLeastOnce),
        ] {
            let mut properties = PropertiesBuf::new();
            if version.is_v5() {
                properties.push(Property::Pair("name", &"x".repeat(200)));
            }
            let template = Template::new(version, "a/b", qos, false, &properties, 100);
            let stamp = Stamp { run: 1, publisher: 2, sequence: u64::MAX, sent: 4 };
            let mut out = Vec::new();
            template.append(&mut out, 770, stamp);
            let frame = frame::cut(&out, usize::MAX).unwrap().unwrap();
            let body = &out[frame.body_at..frame.total];
            let delivery = Delivery::read(version, frame.first, body).unwrap();
            assert_eq!(delivery.qos, qos as u8);
            assert_eq!(delivery.packet_id, if qos == QoS::AtMostOnce { 0 } else { 770 });
            assert_eq!(delivery.payload.len(), 100);
            assert_eq!(Stamp::read(delivery.payload), Some(stamp));
        }
    }

    #[test]
    fn a_packet_is_addressed_by_a_number() {
        // 200 bytes of payload: the remaining length has two bytes.
        for (size, number) in [(24, 70_001), (200, 8)] {
            let topic = "bench/x/000000/y";
            let mut template = Template::new(
                ProtocolVersion::V5,
                topic,
                QoS::AtLeastOnce,
                false,
                &PropertiesBuf::new(),
                size,
            );
            template.address(999_999);
            template.address(number);
            let frame = frame::cut(&template.bytes, usize::MAX).unwrap().unwrap();
            let expected = format!("bench/x/{number:06}/y");
            assert_eq!(&template.bytes[frame.body_at + 2..][..topic.len()], expected.as_bytes());
        }
    }

    #[test]
    fn short_packets_are_refused() {
        for body in [&[][..], &[0], &[0, 5, b'a'], &[0, 1, b'a', 0], &[0, 1, b'a', 0, 1, 0x80]] {
            assert_eq!(Delivery::read(ProtocolVersion::V5, 0x32, body), None, "{body:?}");
        }
        assert_eq!(Stamp::read(&[0; 23]), None);
    }
}
