//! A shard's end of the store: changes go in, tickets come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use agentmq_codec::{ProtocolVersion, PublishHead, QoS};
use agentmq_session::{
    Change, CommitEngine, Condition, RecordedMessage, Session, SessionKey, Ticket, Time, Will,
};

use crate::record::{MessageRecord, RecipientRecord, Record, SessionRecord, WillRecord};
use crate::writer::Shared;

/// Hands a shard's changes to the writer.
#[derive(Debug)]
pub struct DiskEngine {
    shared: Arc<Shared>,
    /// The newest ticket that is durable.
    completed: Arc<AtomicU64>,
    place: usize,
    /// Records for the writer: a length of four bytes before each.
    batch: Vec<u8>,
    /// Small changes that will be one record.
    small: Vec<u8>,
    /// The ticket of what is in the batch.
    ticket: u64,
    /// Milliseconds since 1970 when the broker's clock was at 0.
    epoch: u64,
    packet: Vec<u8>,
}

impl DiskEngine {
    pub(crate) fn new(shared: Arc<Shared>, completed: Arc<AtomicU64>, place: usize) -> Self {
        Self {
            shared,
            completed,
            place,
            batch: Vec::new(),
            small: Vec::new(),
            ticket: 1,
            epoch: 0,
            packet: Vec::new(),
        }
    }

    /// A point in time as it is stored.
    fn stored(&self, at: Option<Time>) -> u64 {
        at.map_or(0, |at| self.epoch.saturating_add(at.as_millis()).max(1))
    }

    fn message(&mut self, message: &RecordedMessage<'_>) {
        self.end_small();
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        encode_packet(message, &mut packet);
        let recipients = message.recipients.iter().map(|it| RecipientRecord {
            session: it.session,
            ordinal: it.ordinal,
            packet_id: it.packet_id,
            qos: it.qos,
            retain: it.retain,
            ids: it.ids.as_deref().unwrap_or_default().to_vec(),
            group: it.group.as_deref(),
        });
        let record = MessageRecord {
            id: 0,
            qos: message.qos,
            is_retained: message.is_retained,
            expires_at: self.stored(message.expires_at),
            arrived: message.arrived,
            depends_on: message.depends_on,
            will_of: message.will_of,
            recipients: recipients.collect(),
            packet: &packet,
        };
        push_record(&mut self.batch, |out| Record::Message(record).encode(out));
        self.packet = packet;
    }

    fn session(&mut self, session: &Session) {
        let will = session.will.as_deref().map(|will| (will, will_packet(will)));
        let record = SessionRecord {
            key: session.key(),
            client_id: &session.client_id,
            version: session.version,
            name: session.principal.name(),
            expiry: session.expiry,
            is_connected: session.connection.is_some(),
            expires_at: self.stored(session.expires_at),
            will: will.as_ref().map(|(will, packet)| WillRecord {
                qos: will.qos(),
                delay: will.delay,
                due: self.stored(session.will_at),
                packet,
            }),
        };
        Record::Session(record).encode(&mut self.small);
    }

    /// The small changes so far become a record, so that what follows stands behind them.
    fn end_small(&mut self) {
        if !self.small.is_empty() {
            push_record(&mut self.batch, |out| out.extend_from_slice(&self.small));
            self.small.clear();
        }
    }
}

impl CommitEngine for DiskEngine {
    fn is_durable(&self) -> bool {
        true
    }

    fn condition(&self) -> Condition {
        self.shared.condition()
    }

    fn new_key(&mut self) -> SessionKey {
        SessionKey(self.shared.next_key())
    }

    fn record(&mut self, change: Change<'_>) -> Ticket {
        let record = match change {
            Change::Message(message) => {
                self.message(message);
                return Ticket(self.ticket);
            }
            Change::Session(session) | Change::Parted(session) => {
                self.session(session);
                return Ticket(self.ticket);
            }
            Change::Ended(session) => Record::Ended(session),
            Change::Subscribed { session, filter, options, id } => {
                Record::Subscribed { session, filter, options, id }
            }
            Change::Unsubscribed { session, filter } => Record::Unsubscribed { session, filter },
            Change::Sent { session, ordinal, packet_id } => {
                Record::Sent { session, ordinal, packet_id }
            }
            Change::Dropped { session, ordinal } => Record::Dropped { session, ordinal },
            Change::Received { session, packet_id } => {
                Record::Received { session, packet_id, order: 0 }
            }
            Change::Completed { session, packet_id } => Record::Completed { session, packet_id },
            Change::Arrived { session, packet_id } => Record::Arrived { session, packet_id },
            Change::Released { session, packet_id } => Record::Released { session, packet_id },
        };
        record.encode(&mut self.small);
        Ticket(self.ticket)
    }

    fn submit(&mut self, now: Time) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.epoch = (wall.as_millis() as u64).saturating_sub(now.as_millis());
        self.end_small();
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.shared.submit(self.place, Ticket(self.ticket), batch);
            self.ticket += 1;
        }
    }

    fn completed(&self) -> Ticket {
        Ticket(self.completed.load(Ordering::Acquire))
    }
}

/// Appends a record with its length before it.
fn push_record(batch: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let at = batch.len();
    batch.extend_from_slice(&[0; 4]);
    encode(batch);
    let len = (batch.len() - at - 4) as u32;
    batch[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// The records of a batch.
pub(crate) fn records(mut batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = batch.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        batch = rest;
        Some(record)
    })
}

fn encode_packet(message: &RecordedMessage<'_>, out: &mut Vec<u8>) {
    PublishHead {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: message.retain,
        topic: message.topic,
        packet_id: 0,
        topic_alias: None,
        message_expiry: None,
        subscription_identifiers: &[],
        properties: message.properties,
        payload_len: message.payload.len(),
    }
    .encode(ProtocolVersion::V5, out);
    out.extend_from_slice(message.payload);
}

/// A will's message, with its Message Expiry Interval, which begins when it is sent.
fn will_packet(will: &Will) -> Vec<u8> {
    let mut packet = Vec::new();
    let head = PublishHead {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: will.retains(),
        topic: will.topic(),
        packet_id: 0,
        topic_alias: None,
        message_expiry: will.message_expiry(),
        subscription_identifiers: &[],
        properties: will.properties(),
        payload_len: will.payload().len(),
    };
    head.encode(ProtocolVersion::V5, &mut packet);
    packet.extend_from_slice(will.payload());
    packet
}
