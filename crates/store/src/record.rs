//! Records: what a change looks like in the log.
//!
//! The first byte says which one it is. Keys, ordinals, identifiers and lengths are numbers of
//! seven bits a byte; points in time are milliseconds since 1970, 0 for none. A message is a
//! PUBLISH of version 5 with QoS 0, as it would be sent: reading it back checks it again.

use agentmq_codec::{
    Packet, PropertyLimits, ProtocolVersion, Publish, QoS, SubscriptionOptions, frame,
};
use agentmq_session::{Arrival, Author, SessionKey};

use crate::encoding::{Reader, put_bytes, put_number};

/// One change in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Session(SessionRecord<'a>),
    Ended(SessionKey),
    Subscribed {
        session: SessionKey,
        filter: &'a str,
        options: SubscriptionOptions,
        id: u32,
    },
    Unsubscribed {
        session: SessionKey,
        filter: &'a str,
    },
    Message(MessageRecord<'a>),
    Will(UnderWayRecord<'a>),
    Sent {
        session: SessionKey,
        ordinal: u64,
        packet_id: u16,
    },
    Dropped {
        session: SessionKey,
        ordinal: u64,
    },
    /// `order` among the session's others, when it was written again; 0 the first time.
    Received {
        session: SessionKey,
        packet_id: u16,
        order: u64,
    },
    Completed {
        session: SessionKey,
        packet_id: u16,
    },
    Arrived {
        session: SessionKey,
        packet_id: u16,
    },
    Released {
        session: SessionKey,
        packet_id: u16,
    },
}

/// A session without what waits in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRecord<'a> {
    pub(crate) key: SessionKey,
    pub(crate) client_id: &'a str,
    pub(crate) version: ProtocolVersion,
    /// Whom it acts as, see [`agentmq_identity::Principal::record`].
    pub(crate) principal: Option<&'a str>,
    /// Session Expiry Interval, in seconds.
    pub(crate) expiry: u32,
    pub(crate) is_connected: bool,
    pub(crate) expires_at: u64,
    pub(crate) will: Option<WillRecord<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WillRecord<'a> {
    pub(crate) qos: QoS,
    /// Will Delay Interval, in seconds.
    pub(crate) delay: u32,
    /// When it is due, once the client is gone.
    pub(crate) due: u64,
    /// Its message, with the Message Expiry Interval.
    pub(crate) packet: &'a [u8],
}

/// A message and what came to pass with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageRecord<'a> {
    /// Where it was recorded first, when it was written again; 0 the first time.
    pub(crate) id: u64,
    pub(crate) qos: QoS,
    pub(crate) is_retained: bool,
    pub(crate) expires_at: u64,
    pub(crate) arrived: Option<Arrival>,
    /// The recipients count when this has arrived.
    pub(crate) depends_on: Option<Arrival>,
    pub(crate) will_of: SessionKey,
    pub(crate) recipients: Vec<RecipientRecord<'a>>,
    pub(crate) packet: &'a [u8],
    /// Who has published it, as [`author_bytes`] wrote it; empty: that is not known.
    pub(crate) author: &'a [u8],
}

/// A will on its way to other shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnderWayRecord<'a> {
    pub(crate) key: SessionKey,
    /// Whose it is no more; none when it was written again.
    pub(crate) will_of: SessionKey,
    pub(crate) client_id: &'a str,
    pub(crate) qos: QoS,
    pub(crate) expires_at: u64,
    pub(crate) packet: &'a [u8],
    /// Whose it is, as [`author_bytes`] wrote it; empty: that is not known.
    pub(crate) author: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecipientRecord<'a> {
    pub(crate) session: SessionKey,
    pub(crate) ordinal: u64,
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) ids: Vec<u32>,
    pub(crate) group: Option<&'a str>,
}

impl<'a> Record<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut keyed = |tag, session: &SessionKey, number: u64| {
            out.push(tag);
            put_number(out, session.0);
            put_number(out, number);
        };
        match self {
            Self::Session(record) => record.encode(out),
            Self::Message(record) => record.encode(out),
            Self::Will(record) => record.encode(out),
            Self::Ended(session) => {
                out.push(ENDED);
                put_number(out, session.0);
            }
            Self::Subscribed { session, filter, options, id } => {
                keyed(SUBSCRIBED, session, u64::from(*id));
                out.push(options.to_byte());
                put_bytes(out, filter.as_bytes());
            }
            Self::Unsubscribed { session, filter } => {
                out.push(UNSUBSCRIBED);
                put_number(out, session.0);
                put_bytes(out, filter.as_bytes());
            }
            Self::Sent { session, ordinal, packet_id } => {
                keyed(SENT, session, *ordinal);
                put_number(out, u64::from(*packet_id));
            }
            Self::Dropped { session, ordinal } => keyed(DROPPED, session, *ordinal),
            Self::Received { session, packet_id, order } => {
                keyed(RECEIVED, session, u64::from(*packet_id));
                put_number(out, *order);
            }
            Self::Completed { session, packet_id } => {
                keyed(COMPLETED, session, u64::from(*packet_id));
            }
            Self::Arrived { session, packet_id } => {
                keyed(ARRIVED, session, u64::from(*packet_id));
            }
            Self::Released { session, packet_id } => {
                keyed(RELEASED, session, u64::from(*packet_id));
            }
        }
    }

    /// Reads one record; `None` when these bytes are none, or one of a later version.
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let tag = reader.byte()?;
        if tag == MESSAGE || tag == MESSAGE_BY {
            return MessageRecord::decode(tag, reader).map(Self::Message);
        }
        let session = SessionKey(reader.number()?);
        Some(match tag {
            SESSION => Self::Session(SessionRecord::decode(session, reader)?),
            ENDED => Self::Ended(session),
            SUBSCRIBED => {
                let id = reader.small()?;
                let options = SubscriptionOptions::from_byte(reader.byte()?, ProtocolVersion::V5);
                Self::Subscribed { session, id, options: options.ok()?, filter: reader.text()? }
            }
            UNSUBSCRIBED => Self::Unsubscribed { session, filter: reader.text()? },
            SENT => Self::Sent { session, ordinal: reader.number()?, packet_id: reader.small()? },
            DROPPED => Self::Dropped { session, ordinal: reader.number()? },
            RECEIVED => {
                let (packet_id, order) = (reader.small()?, reader.number()?);
                Self::Received { session, packet_id, order }
            }
            COMPLETED => Self::Completed { session, packet_id: reader.small()? },
            ARRIVED => Self::Arrived { session, packet_id: reader.small()? },
            RELEASED => Self::Released { session, packet_id: reader.small()? },
            WILL | WILL_BY => Self::Will(UnderWayRecord::decode(tag, session, reader)?),
            _ => return None,
        })
    }
}

impl<'a> SessionRecord<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(SESSION);
        put_number(out, self.key.0);
        let flags = u8::from(self.is_connected)
            | u8::from(self.principal.is_some()) << 1
            | u8::from(self.will.is_some()) << 2;
        out.push(flags);
        out.push(self.version.level());
        put_number(out, u64::from(self.expiry));
        put_number(out, self.expires_at);
        put_bytes(out, self.client_id.as_bytes());
        if let Some(principal) = self.principal {
            put_bytes(out, principal.as_bytes());
        }
        if let Some(will) = &self.will {
            out.push(will.qos as u8);
            put_number(out, u64::from(will.delay));
            put_number(out, will.due);
            put_bytes(out, will.packet);
        }
    }

    fn decode(key: SessionKey, reader: &mut Reader<'a>) -> Option<Self> {
        let flags = reader.byte()?;
        let version = match reader.byte()? {
            3 => ProtocolVersion::V31,
            4 => ProtocolVersion::V311,
            5 => ProtocolVersion::V5,
            _ => return None,
        };
        let (expiry, expires_at, client_id) = (reader.small()?, reader.number()?, reader.text()?);
        let principal = if flags & 2 != 0 { Some(reader.text()?) } else { None };
        let will = if flags & 4 != 0 {
            let qos = QoS::from_bits(reader.byte()?)?;
            let (delay, due, packet) = (reader.small()?, reader.number()?, reader.bytes()?);
            Some(WillRecord { qos, delay, due, packet })
        } else {
            None
        };
        let is_connected = flags & 1 != 0;
        Some(Self { key, client_id, version, principal, expiry, is_connected, expires_at, will })
    }
}

impl<'a> MessageRecord<'a> {
    /// Says that a topic has no retained message any more; see [`clearing_packet`].
    pub(crate) fn clearing(packet: &'a [u8]) -> Self {
        Self {
            id: 0,
            qos: QoS::AtMostOnce,
            is_retained: true,
            expires_at: 0,
            arrived: None,
            depends_on: None,
            will_of: SessionKey::NONE,
            recipients: Vec::new(),
            packet,
            author: &[],
        }
    }

    /// The author's length stands before the packet and he himself behind it, so that its place can
    /// be told from where the record ends.
    fn encode(&self, out: &mut Vec<u8>) {
        if self.author.is_empty() {
            out.push(MESSAGE);
        } else {
            out.push(MESSAGE_BY);
            put_number(out, self.author.len() as u64);
        }
        let flags = self.qos as u8
            | u8::from(self.is_retained) << 2
            | u8::from(self.arrived.is_some()) << 3
            | u8::from(self.will_of.is_some()) << 4
            | u8::from(self.id != 0) << 5
            | u8::from(self.expires_at != 0) << 6
            | u8::from(self.depends_on.is_some()) << 7;
        out.push(flags);
        if self.id != 0 {
            put_number(out, self.id);
        }
        if self.expires_at != 0 {
            put_number(out, self.expires_at);
        }
        for (session, packet_id) in self.arrived.into_iter().chain(self.depends_on) {
            put_number(out, session.0);
            put_number(out, u64::from(packet_id));
        }
        if self.will_of.is_some() {
            put_number(out, self.will_of.0);
        }
        put_number(out, self.recipients.len() as u64);
        for recipient in &self.recipients {
            recipient.encode(out);
        }
        put_bytes(out, self.packet);
        out.extend_from_slice(self.author);
    }

    fn decode(tag: u8, reader: &mut Reader<'a>) -> Option<Self> {
        let author = if tag == MESSAGE_BY { reader.small()? } else { 0 };
        let flags = reader.byte()?;
        let id = if flags & 32 != 0 { reader.number()? } else { 0 };
        let expires_at = if flags & 64 != 0 { reader.number()? } else { 0 };
        let mut exchange = |flag| match flags & flag {
            0 => Some(None),
            _ => Some(Some((SessionKey(reader.number()?), reader.small()?))),
        };
        let (arrived, depends_on) = (exchange(8)?, exchange(128)?);
        let will_of = SessionKey(if flags & 16 != 0 { reader.number()? } else { 0 });
        let count: usize = reader.small()?;
        if count > reader.rest().len() {
            return None;
        }
        let recipients = (0..count).map(|_| RecipientRecord::decode(reader));
        let recipients = recipients.collect::<Option<_>>()?;
        let (qos, is_retained) = (QoS::from_bits(flags & 3)?, flags & 4 != 0);
        let packet = reader.bytes()?;
        let author = reader.take(author)?;
        Some(Self {
            id,
            qos,
            is_retained,
            expires_at,
            arrived,
            depends_on,
            will_of,
            recipients,
            packet,
            author,
        })
    }
}

impl<'a> UnderWayRecord<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.author.is_empty() { WILL } else { WILL_BY });
        put_number(out, self.key.0);
        put_number(out, self.will_of.0);
        out.push(self.qos as u8);
        put_number(out, self.expires_at);
        put_bytes(out, self.client_id.as_bytes());
        put_bytes(out, self.packet);
        if !self.author.is_empty() {
            put_bytes(out, self.author);
        }
    }

    fn decode(tag: u8, key: SessionKey, reader: &mut Reader<'a>) -> Option<Self> {
        let will_of = SessionKey(reader.number()?);
        let (qos, expires_at) = (QoS::from_bits(reader.byte()?)?, reader.number()?);
        let (client_id, packet) = (reader.text()?, reader.bytes()?);
        let author = if tag == WILL_BY { reader.bytes()? } else { &[] };
        Some(Self { key, will_of, client_id, qos, expires_at, packet, author })
    }
}

impl<'a> RecipientRecord<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, self.session.0);
        put_number(out, self.ordinal);
        put_number(out, u64::from(self.packet_id));
        let flags = self.qos as u8
            | u8::from(self.retain) << 2
            | u8::from(!self.ids.is_empty()) << 3
            | u8::from(self.group.is_some()) << 4;
        out.push(flags);
        if !self.ids.is_empty() {
            put_number(out, self.ids.len() as u64);
            self.ids.iter().for_each(|id| put_number(out, u64::from(*id)));
        }
        if let Some(group) = self.group {
            put_bytes(out, group.as_bytes());
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let session = SessionKey(reader.number()?);
        let (ordinal, packet_id, flags) = (reader.number()?, reader.small()?, reader.byte()?);
        let mut ids = Vec::new();
        if flags & 8 != 0 {
            let count: usize = reader.small()?;
            if count > reader.rest().len() {
                return None;
            }
            ids = (0..count).map(|_| reader.small()).collect::<Option<_>>()?;
        }
        let group = if flags & 16 != 0 { Some(reader.text()?) } else { None };
        let (qos, retain) = (QoS::from_bits(flags & 3)?, flags & 4 != 0);
        Some(Self { session, ordinal, packet_id, qos, retain, ids, group })
    }
}

/// An author as records have him: the client identifier, and the principal if it has a name.
pub(crate) fn author_bytes(author: Option<&Author>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(Author { client_id, principal }) = author {
        put_bytes(&mut bytes, client_id.as_bytes());
        if let Some(principal) = principal {
            put_bytes(&mut bytes, principal.as_bytes());
        }
    }
    bytes
}

/// The author that a record has; `None` where it has none, or these bytes are none.
pub(crate) fn author_of(bytes: &[u8]) -> Option<Author> {
    let mut reader = Reader::new(bytes);
    let client_id = reader.text()?.into();
    let principal = if reader.is_empty() { None } else { Some(reader.text()?.into()) };
    Some(Author { client_id, principal })
}

/// The message of a stored packet.
pub(crate) fn publish_of(packet: &[u8]) -> Option<Publish<'_>> {
    let frame = frame::cut(packet, usize::MAX).ok()??;
    let body = packet.get(frame.body_at..frame.total)?;
    let limits = PropertyLimits::UNLIMITED;
    match Packet::decode(frame.first, body, ProtocolVersion::V5, &limits).ok()? {
        Packet::Publish(publish) => Some(publish),
        _ => None,
    }
}

/// The message that clears a topic.
pub(crate) fn clearing_packet(topic: &str) -> Vec<u8> {
    let mut packet = Vec::new();
    let publish = Publish { retain: true, topic, ..Publish::default() };
    Packet::Publish(publish).encode(ProtocolVersion::V5, &mut packet);
    packet
}

const SESSION: u8 = 1;
const ENDED: u8 = 2;
const SUBSCRIBED: u8 = 3;
const UNSUBSCRIBED: u8 = 4;
const MESSAGE: u8 = 5;
const SENT: u8 = 6;
const DROPPED: u8 = 7;
const RECEIVED: u8 = 8;
const COMPLETED: u8 = 9;
const ARRIVED: u8 = 10;
const RELEASED: u8 = 11;
const WILL: u8 = 12;
/// With an author; versions before it did not know who that was.
const MESSAGE_BY: u8 = 13;
const WILL_BY: u8 = 14;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recipient(session: u64, packet_id: u16) -> RecipientRecord<'static> {
        RecipientRecord {
            session: SessionKey(session),
            ordinal: u64::from(packet_id) * 1_000_000,
            packet_id,
            qos: QoS::AtLeastOnce,
            retain: true,
            ids: vec![1, 268_435_455],
            group: Some("$share/workers/jobs/#"),
        }
    }

    fn every_kind() -> Vec<Record<'static>> {
        let session = SessionKey(300);
        let options =
            SubscriptionOptions { no_local: true, ..SubscriptionOptions::at(QoS::ExactlyOnce) };
        let will = WillRecord { qos: QoS::AtLeastOnce, delay: 5, due: 17, packet: b"packet" };
        let record = SessionRecord {
            key: session,
            client_id: "agent-7",
            version: ProtocolVersion::V5,
            principal: Some("ada"),
            expiry: u32::MAX,
            is_connected: true,
            expires_at: 1 << 41,
            will: Some(will),
        };
        let message = MessageRecord {
            id: 12,
            qos: QoS::ExactlyOnce,
            is_retained: true,
            expires_at: 1 << 41,
            arrived: Some((session, 65_535)),
            depends_on: Some((SessionKey(70_000), 1)),
            will_of: SessionKey(4),
            recipients: vec![recipient(1, 0), recipient(2, 9)],
            packet: b"a packet",
            author: b"",
        };
        let plain = MessageRecord {
            id: 0,
            is_retained: false,
            expires_at: 0,
            arrived: None,
            depends_on: None,
            will_of: SessionKey::NONE,
            recipients: Vec::new(),
            ..message.clone()
        };
        let under_way = UnderWayRecord {
            key: SessionKey(70_000),
            will_of: session,
            client_id: "agent-7",
            qos: QoS::ExactlyOnce,
            expires_at: 1 << 41,
            packet: b"a packet",
            author: b"",
        };
        vec![
            Record::Will(UnderWayRecord { author: b"its author", ..under_way.clone() }),
            Record::Will(under_way),
            Record::Message(MessageRecord { author: b"its author", ..message.clone() }),
            Record::Session(SessionRecord { principal: None, will: None, ..record.clone() }),
            Record::Session(record),
            Record::Ended(session),
            Record::Subscribed { session, filter: "a/+/#", options, id: 7 },
            Record::Unsubscribed { session, filter: "a/+/#" },
            Record::Message(message),
            Record::Message(plain),
            Record::Sent { session, ordinal: 70_000, packet_id: 3 },
            Record::Dropped { session, ordinal: 70_000 },
            Record::Received { session, packet_id: 3, order: 8 },
            Record::Completed { session, packet_id: 3 },
            Record::Arrived { session, packet_id: 3 },
            Record::Released { session, packet_id: 3 },
        ]
    }

    #[test]
    fn every_kind_comes_back_and_none_from_a_part_of_it() {
        for record in every_kind() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Record::decode(&mut reader), Some(record.clone()));
            assert!(reader.is_empty(), "{record:?}");
            for len in 0..bytes.len() {
                let part = Record::decode(&mut Reader::new(&bytes[..len]));
                assert_eq!(part, None, "{len} bytes of {record:?}");
            }
        }
    }

    #[test]
    fn an_author_comes_back() {
        for principal in [None, Some(""), Some("ada"), Some("{\"name\":\"ada\"}")] {
            let principal = principal.map(Into::into);
            let author = Author { client_id: "agent-7".into(), principal };
            assert_eq!(author_of(&author_bytes(Some(&author))), Some(author));
        }
        assert_eq!(author_of(&author_bytes(None)), None);
    }

    /// A log that an earlier version has written is read, and one without authors is as it was.
    #[test]
    fn a_message_without_an_author_is_recorded_as_before_there_were_any() {
        let mut bytes = Vec::new();
        Record::Message(MessageRecord::clearing(b"packet")).encode(&mut bytes);
        assert_eq!(bytes, b"\x05\x04\x00\x06packet");
    }

    #[test]
    fn an_acknowledgement_is_a_few_bytes() {
        let mut bytes = Vec::new();
        Record::Completed { session: SessionKey(100), packet_id: 100 }.encode(&mut bytes);
        assert_eq!(bytes.len(), 3);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while Record::decode(&mut reader).is_some() {}
            let _ = (publish_of(&bytes), author_of(&bytes));
        }
    }
}
