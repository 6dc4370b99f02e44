//! What the log says, taken together: sessions, what waits for them, retained messages, and where
//! in the log each of these stands. It is the index by which the log is cleaned, and what recovery
//! makes of the log at the start.
//!
//! Applying is forgiving. After damage a record may speak of something that is lost; it then says
//! nothing.

mod renewal;

use std::collections::BTreeMap;
use std::sync::Arc;

use agentmq_codec::{ProtocolVersion, QoS, SubscriptionOptions};
use agentmq_log::Position;
use agentmq_session::{Arrival, SessionKey, SubscriptionIds};
use hashbrown::HashMap;

use crate::bodies::PacketPlace;
use crate::record::{
    MessageRecord, RecipientRecord, Record, SessionRecord, UnderWayRecord, WillRecord,
};

/// Everything that counts.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) sessions: Map<SessionKey, StoredSession>,
    /// Wills on their way to other shards.
    pub(crate) wills: Map<SessionKey, StoredUnderWay>,
    /// By where they were recorded first.
    pub(crate) messages: Map<u64, StoredMessage>,
    /// The message of each topic.
    pub(crate) retained: HashMap<Box<str>, u64, foldhash::quality::RandomState>,
    pub(crate) live: Live,
    /// Messages whose recipients count when an exchange has arrived.
    undecided: Map<Arrival, Vec<u64>>,
    /// The highest key that has ever named a session, or a will under way.
    pub(crate) newest_key: u64,
    /// The exchanges that messages depend on, by message.
    depending: Map<u64, Arrival>,
}

pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// How much of each segment still counts.
#[derive(Debug, Default)]
pub(crate) struct Live {
    segments: BTreeMap<u32, u64>,
    bytes: u64,
}

#[derive(Debug)]
pub(crate) struct StoredSession {
    pub(crate) client_id: Box<str>,
    pub(crate) version: ProtocolVersion,
    pub(crate) principal: Option<Box<str>>,
    pub(crate) expiry: u32,
    pub(crate) is_connected: bool,
    pub(crate) expires_at: u64,
    pub(crate) will: Option<StoredWill>,
    pub(crate) subscriptions: BTreeMap<Box<str>, StoredSubscription>,
    /// What it must still get, in its order.
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// Entries that have a packet identifier.
    by_packet: Map<u16, u64>,
    /// Exchanges that wait for PUBCOMP, in the order of their PUBRECs.
    pub(crate) releasing: BTreeMap<u16, Releasing>,
    /// Tells those of one record apart.
    releases: u32,
    /// QoS 2 publications of the client that wait for PUBREL, and where that is recorded.
    pub(crate) arrived: BTreeMap<u16, Place>,
    place: Place,
    bytes: u64,
    /// Its own record has been seen.
    is_known: bool,
}

/// The record in which something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    segment: u32,
    sequence: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct StoredWill {
    pub(crate) qos: QoS,
    pub(crate) delay: u32,
    pub(crate) due: u64,
    pub(crate) packet: Box<[u8]>,
}

/// A will on its way to other shards.
#[derive(Debug)]
pub(crate) struct StoredUnderWay {
    pub(crate) client_id: Box<str>,
    pub(crate) qos: QoS,
    pub(crate) expires_at: u64,
    pub(crate) packet: Box<[u8]>,
    pub(crate) author: Box<[u8]>,
    place: Place,
    bytes: u64,
}

#[derive(Debug)]
pub(crate) struct StoredSubscription {
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: u32,
    place: Place,
    bytes: u64,
}

/// A message for one session.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) message: u64,
    /// 0 while it waits in line.
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// What few have. One pointer, since there are as many entries as messages wait.
    more: Option<Box<More>>,
}

#[derive(Debug, Clone)]
struct More {
    ids: Box<[u32]>,
    group: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Releasing {
    pub(crate) order: u64,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredMessage {
    pub(crate) packet: PacketPlace,
    pub(crate) qos: QoS,
    /// Bytes of its author, who stands behind the packet; 0 where nobody has noted him.
    pub(crate) author: u32,
    pub(crate) expires_at: u64,
    /// Entries and topics that hold it.
    holders: u32,
    bytes: u32,
}

impl Entry {
    /// Identifiers of the subscriptions that match.
    pub(crate) fn ids(&self) -> SubscriptionIds {
        let ids = &self.more.as_ref()?.ids;
        (!ids.is_empty()).then(|| Arc::from(&**ids))
    }

    /// The shared subscription that it came through.
    pub(crate) fn group(&self) -> Option<&str> {
        self.more.as_ref()?.group.as_deref()
    }
}

impl Live {
    fn add(&mut self, segment: u32, bytes: u64) {
        *self.segments.entry(segment).or_default() += bytes;
        self.bytes += bytes;
    }

    fn take(&mut self, segment: u32, bytes: u64) {
        if let Some(live) = self.segments.get_mut(&segment) {
            let taken = bytes.min(*live);
            *live -= taken;
            self.bytes -= taken;
            if *live == 0 {
                self.segments.remove(&segment);
            }
        }
    }

    /// A segment is gone, with what could not be read of it.
    pub(crate) fn forget(&mut self, segment: u32) {
        self.bytes -= self.segments.remove(&segment).unwrap_or_default();
    }

    /// Bytes of a segment that count.
    pub(crate) fn of(&self, segment: u32) -> u64 {
        self.segments.get(&segment).copied().unwrap_or_default()
    }

    /// Bytes of all segments that count.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl State {
    /// Applies one change that stands in the record at `position`, takes about `bytes` there and
    /// ends `end` bytes behind the start of the record's content.
    pub(crate) fn apply(
        &mut self,
        position: Position,
        bytes: u64,
        end: usize,
        record: &Record<'_>,
    ) {
        let place = Place::of(position);
        let segment = position.segment;
        match record {
            Record::Session(record) => self.apply_session(place, bytes, record),
            Record::Ended(key) => self.end(*key),
            Record::Subscribed { session, filter, options, id } => {
                let session = Self::session(&mut self.sessions, *session);
                let stored = StoredSubscription { options: *options, id: *id, place, bytes };
                self.live.add(segment, bytes);
                if let Some(old) = session.subscriptions.insert((*filter).into(), stored) {
                    self.live.take(old.place.segment, old.bytes);
                }
            }
            Record::Unsubscribed { session, filter } => {
                let Some(session) = self.sessions.get_mut(session) else { return };
                if let Some(old) = session.subscriptions.remove(*filter) {
                    self.live.take(old.place.segment, old.bytes);
                }
            }
            Record::Message(record) => self.apply_message(position, bytes, end, record),
            Record::Will(record) => self.apply_will(place, bytes, record),
            Record::Sent { session, ordinal, packet_id } => {
                let Some(session) = self.sessions.get_mut(session) else { return };
                if let Some(entry) = session.entries.get_mut(ordinal) {
                    entry.packet_id = *packet_id;
                    session.by_packet.insert(*packet_id, *ordinal);
                }
            }
            Record::Dropped { session, ordinal } => self.drop_entry(*session, *ordinal),
            Record::Received { session: key, packet_id, order } => {
                let session = Self::session(&mut self.sessions, *key);
                if *order == 0 && session.releasing.contains_key(packet_id) {
                    return; // the client has repeated its PUBREC
                }
                // By its first record, which all later ones of it repeat: earlier ones of other
                // exchanges may be gone from the log and written again behind it.
                session.releases = session.releases.wrapping_add(1) & 0xF_FFFF;
                let first = position.sequence << 20 | u64::from(session.releases);
                let order = if *order == 0 { first } else { *order };
                let releasing = Releasing { order, place };
                let ordinal = session.by_packet.get(packet_id).copied();
                self.live.add(segment, SMALL);
                if let Some(old) = session.releasing.insert(*packet_id, releasing) {
                    self.live.take(old.place.segment, SMALL);
                }
                if let Some(ordinal) = ordinal {
                    self.drop_entry(*key, ordinal);
                }
            }
            Record::Completed { session: key, packet_id } => {
                let Some(session) = self.sessions.get_mut(key) else { return };
                if let Some(old) = session.releasing.remove(packet_id) {
                    self.live.take(old.place.segment, SMALL);
                }
                if let Some(ordinal) = session.by_packet.get(packet_id).copied() {
                    self.drop_entry(*key, ordinal);
                }
            }
            Record::Arrived { session, packet_id } => self.arrive(*session, *packet_id, place),
            Record::Released { session, packet_id } => {
                let Some(session) = self.sessions.get_mut(session) else { return };
                if let Some(old) = session.arrived.remove(packet_id) {
                    self.live.take(old.segment, SMALL);
                }
            }
        }
    }

    /// A session, known or not: what is recorded of it may stand before its own record, which was
    /// written again later.
    fn session(
        sessions: &mut Map<SessionKey, StoredSession>,
        key: SessionKey,
    ) -> &mut StoredSession {
        sessions.entry(key).or_insert_with(StoredSession::empty)
    }

    /// Forgets sessions of which there is no record: damage has taken it.
    pub(crate) fn forget_unknown(&mut self) -> usize {
        let unknown = self.sessions.iter().filter(|(_, session)| !session.is_known);
        let unknown: Vec<SessionKey> = unknown.map(|(key, _)| *key).collect();
        unknown.iter().for_each(|key| self.end(*key));
        unknown.len()
    }

    fn apply_session(&mut self, place: Place, bytes: u64, record: &SessionRecord<'_>) {
        self.newest_key = self.newest_key.max(record.key.0);
        self.live.add(place.segment, bytes);
        let session = Self::session(&mut self.sessions, record.key);
        self.live.take(session.place.segment, session.bytes);
        session.is_known = true;
        (session.place, session.bytes) = (place, bytes);
        session.client_id = record.client_id.into();
        session.version = record.version;
        session.principal = record.principal.map(Into::into);
        session.expiry = record.expiry;
        session.is_connected = record.is_connected;
        session.expires_at = record.expires_at;
        session.will = record.will.as_ref().map(|will| StoredWill {
            qos: will.qos,
            delay: will.delay,
            due: will.due,
            packet: will.packet.into(),
        });
    }

    fn apply_message(
        &mut self,
        position: Position,
        bytes: u64,
        end: usize,
        record: &MessageRecord<'_>,
    ) {
        let id = if record.id == 0 { position.sequence } else { record.id };
        if let Some((session, packet_id)) = record.arrived {
            self.arrive(session, packet_id, Place::of(position));
        }
        self.take_will(record.will_of);
        let (len, author) = (record.packet.len(), record.author.len());
        let at = end - author - len;
        let packet = PacketPlace { record: position, at: at as u32, len: len as u32 };
        if let Some(known) = self.messages.get_mut(&id) {
            // Written again: it stands here now, and all else is known.
            self.live.take(known.packet.record.segment, known.bytes.into());
            self.live.add(position.segment, bytes);
            (known.packet, known.bytes, known.author) = (packet, bytes as u32, author as u32);
        } else {
            let message = StoredMessage {
                packet,
                qos: record.qos,
                author: author as u32,
                expires_at: record.expires_at,
                holders: 1,
                bytes: bytes as u32,
            };
            self.messages.insert(id, message);
            if let Some(exchange) = record.depends_on {
                self.undecided.entry(exchange).or_default().push(id);
                self.depending.insert(id, exchange);
            }
            self.live.add(position.segment, bytes);
            for recipient in &record.recipients {
                self.add_entry(id, recipient);
            }
            if record.is_retained {
                self.retain(id, record.packet);
            }
            self.release(id); // held while its holders were gathered
        }
    }

    /// A will goes to other shards: it is its session's no more.
    fn apply_will(&mut self, place: Place, bytes: u64, record: &UnderWayRecord<'_>) {
        self.newest_key = self.newest_key.max(record.key.0);
        self.take_will(record.will_of);
        self.live.add(place.segment, bytes);
        let will = StoredUnderWay {
            client_id: record.client_id.into(),
            qos: record.qos,
            expires_at: record.expires_at,
            packet: record.packet.into(),
            author: record.author.into(),
            place,
            bytes,
        };
        if let Some(known) = self.wills.insert(record.key, will) {
            self.live.take(known.place.segment, known.bytes); // it is written again
        }
    }

    /// A will is on its way, or has arrived.
    fn take_will(&mut self, of: SessionKey) {
        if let Some(session) = self.sessions.get_mut(&of) {
            session.will = None;
        }
        if let Some(will) = self.wills.remove(&of) {
            self.live.take(will.place.segment, will.bytes);
        }
    }

    fn add_entry(&mut self, message: u64, recipient: &RecipientRecord<'_>) {
        let session = Self::session(&mut self.sessions, recipient.session);
        let entry = Entry {
            message,
            packet_id: recipient.packet_id,
            qos: recipient.qos,
            retain: recipient.retain,
            more: (!recipient.ids.is_empty() || recipient.group.is_some()).then(|| {
                let ids = recipient.ids.as_slice().into();
                Box::new(More { ids, group: recipient.group.map(Into::into) })
            }),
        };
        if recipient.packet_id != 0 {
            session.by_packet.insert(recipient.packet_id, recipient.ordinal);
        }
        let replaced = session.entries.insert(recipient.ordinal, entry);
        if let Some(message) = self.messages.get_mut(&message) {
            message.holders += 1;
        }
        if let Some(replaced) = replaced {
            self.release(replaced.message);
        }
    }

    /// Makes a message its topic's retained one, or clears the topic.
    fn retain(&mut self, id: u64, packet: &[u8]) {
        let Some(publish) = crate::record::publish_of(packet) else { return };
        let replaced = if publish.payload.is_empty() {
            self.retained.remove(publish.topic)
        } else {
            if let Some(message) = self.messages.get_mut(&id) {
                message.holders += 1;
            }
            self.retained.insert(publish.topic.into(), id)
        };
        if let Some(replaced) = replaced {
            self.release(replaced);
        }
    }

    fn arrive(&mut self, session: SessionKey, packet_id: u16, place: Place) {
        for id in self.undecided.remove(&(session, packet_id)).unwrap_or_default() {
            self.depending.remove(&id);
        }
        if packet_id == 0 {
            return self.take_will(session); // under that name, of which no repetition comes
        }
        let session = Self::session(&mut self.sessions, session);
        self.live.add(place.segment, SMALL);
        if let Some(old) = session.arrived.insert(packet_id, place) {
            self.live.take(old.segment, SMALL);
        }
    }

    fn drop_entry(&mut self, key: SessionKey, ordinal: u64) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Some(entry) = session.entries.remove(&ordinal) else { return };
        if entry.packet_id != 0 && session.by_packet.get(&entry.packet_id) == Some(&ordinal) {
            session.by_packet.remove(&entry.packet_id);
        }
        self.release(entry.message);
    }

    fn end(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.remove(&key) else { return };
        self.live.take(session.place.segment, session.bytes);
        for subscription in session.subscriptions.values() {
            self.live.take(subscription.place.segment, subscription.bytes);
        }
        let small = session.releasing.values().map(|it| it.place);
        for place in small.chain(session.arrived.values().copied()) {
            self.live.take(place.segment, SMALL);
        }
        for entry in session.entries.values() {
            self.release(entry.message);
        }
    }

    /// One holder less.
    fn release(&mut self, id: u64) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        message.holders -= 1;
        if message.holders == 0
            && let Some(message) = self.messages.remove(&id)
        {
            self.live.take(message.packet.record.segment, message.bytes.into());
            self.depending.remove(&id);
        }
    }

    /// The publication that a message came with, if that has not arrived: its recipients count when
    /// it has.
    pub(crate) fn depends_on(&self, message: u64) -> Option<Arrival> {
        self.depending.get(&message).copied()
    }
}

impl Place {
    fn of(position: Position) -> Self {
        Self { segment: position.segment, sequence: position.sequence }
    }
}

impl StoredSession {
    fn empty() -> Self {
        Self {
            client_id: "".into(),
            version: ProtocolVersion::V5,
            principal: None,
            expiry: 0,
            is_connected: false,
            expires_at: 0,
            will: None,
            subscriptions: BTreeMap::new(),
            entries: BTreeMap::new(),
            by_packet: Map::default(),
            releasing: BTreeMap::new(),
            releases: 0,
            arrived: BTreeMap::new(),
            place: Place::default(),
            bytes: 0,
            is_known: false,
        }
    }

    fn record(&self, key: SessionKey) -> SessionRecord<'_> {
        let will = self.will.as_ref().map(|will| WillRecord {
            qos: will.qos,
            delay: will.delay,
            due: will.due,
            packet: &will.packet,
        });
        SessionRecord {
            key,
            client_id: &self.client_id,
            version: self.version,
            principal: self.principal.as_deref(),
            expiry: self.expiry,
            is_connected: self.is_connected,
            expires_at: self.expires_at,
            will,
        }
    }
}

/// What an identifier counts, in bytes.
const SMALL: u64 = 32;

#[cfg(test)]
impl State {
    /// What counts, counted anew, is what has been counted all along.
    pub(crate) fn assert_exact(&self) {
        let mut segments: BTreeMap<u32, u64> = BTreeMap::new();
        let mut add = |segment: u32, bytes: u64| *segments.entry(segment).or_default() += bytes;
        for session in self.sessions.values() {
            add(session.place.segment, session.bytes);
            session.subscriptions.values().for_each(|it| add(it.place.segment, it.bytes));
            session.releasing.values().for_each(|it| add(it.place.segment, SMALL));
            session.arrived.values().for_each(|it| add(it.segment, SMALL));
        }
        self.wills.values().for_each(|it| add(it.place.segment, it.bytes));
        for (id, message) in &self.messages {
            add(message.packet.record.segment, message.bytes.into());
            let held = self.sessions.values().flat_map(|it| it.entries.values());
            let held = held.filter(|entry| entry.message == *id).count();
            let retained = self.retained.values().filter(|it| *it == id).count();
            assert_eq!(message.holders as usize, held + retained, "holders of {id}");
        }
        segments.retain(|_, bytes| *bytes > 0);
        assert_eq!(self.live.segments, segments);
        assert_eq!(self.live.bytes, segments.values().sum::<u64>());
    }
}
