//! A shard's end of the store: changes go in, tickets come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_codec::{ProtocolVersion, PublishHead, QoS};
use agentmq_session::{
    Change, CommitEngine, Condition, QueueMemory, Recall, RecordedMessage, Session, SessionKey,
    StoreStatistics, Ticket, Time, Will, WillUnderWay,
};

use crate::bodies::Bodies;
use crate::inbox::Shared;
use crate::record::{
    MessageRecord, RecipientRecord, Record, SessionRecord, UnderWayRecord, WillRecord, author_bytes,
};

/// Hands a shard's changes to the writer.
#[derive(Debug)]
pub struct DiskEngine {
    shared: Arc<Shared>,
    /// What is recorded, to be read back.
    bodies: Arc<dyn Bodies>,
    /// The newest ticket that is durable.
    completed: Arc<AtomicU64>,
    place: usize,
    /// Records for the writer: a length of four bytes before each.
    batch: Vec<u8>,
    /// Where the record begins that changes still join. A message begins another one.
    open_at: Option<usize>,
    /// The ticket of what is in the batch.
    ticket: u64,
    /// Somebody waits for this ticket, and the writer has not been told.
    awaited: u64,
    /// The newest ticket that the writer knows somebody to wait for.
    urged: u64,
    /// Milliseconds since 1970 when the broker's clock was at 0.
    epoch: u64,
    packet: Vec<u8>,
}

impl DiskEngine {
    pub(crate) fn new(
        shared: Arc<Shared>,
        bodies: Arc<dyn Bodies>,
        completed: Arc<AtomicU64>,
        place: usize,
    ) -> Self {
        Self {
            shared,
            bodies,
            completed,
            place,
            batch: Vec::new(),
            open_at: None,
            ticket: 1,
            awaited: 0,
            urged: 0,
            epoch: 0,
            packet: Vec::new(),
        }
    }

    /// A point in time as it is stored.
    fn stored(&self, at: Option<Time>) -> u64 {
        at.map_or(0, |at| self.epoch.saturating_add(at.as_millis()).max(1))
    }

    fn message(&mut self, message: &RecordedMessage<'_>) {
        self.end_record();
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
            author: &author_bytes(message.author.filter(|_| message.is_retained)),
        };
        Record::Message(record).encode(open_record(&mut self.batch, &mut self.open_at));
        self.packet = packet;
    }

    fn will_under_way(&mut self, will: &WillUnderWay<'_>) {
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        encode_packet(will.message, &mut packet);
        let record = UnderWayRecord {
            key: will.key,
            will_of: will.will_of,
            client_id: will.client_id,
            qos: will.message.qos,
            expires_at: self.stored(will.message.expires_at),
            packet: &packet,
            author: &author_bytes(will.message.author),
        };
        Record::Will(record).encode(open_record(&mut self.batch, &mut self.open_at));
        self.packet = packet;
    }

    fn session(&mut self, session: &Session) {
        let will = session.will.as_deref().map(|will| (will, will_packet(will)));
        let principal = session.principal.record();
        let record = SessionRecord {
            key: session.key(),
            client_id: &session.client_id,
            version: session.version,
            principal: principal.as_deref(),
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
        Record::Session(record).encode(open_record(&mut self.batch, &mut self.open_at));
    }

    /// The changes so far are a record, so that what follows stands behind them.
    fn end_record(&mut self) {
        let Some(at) = self.open_at.take() else { return };
        let len = (self.batch.len() - at - 4) as u32;
        self.batch[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
}

impl CommitEngine for DiskEngine {
    fn is_durable(&self) -> bool {
        true
    }

    fn condition(&self) -> Condition {
        self.shared.condition()
    }

    fn statistics(&self) -> Option<StoreStatistics> {
        Some(self.shared.statistics())
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
            Change::WillUnderWay(will) => {
                self.will_under_way(will);
                return Ticket(self.ticket);
            }
            Change::Session(session) => {
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
        record.encode(open_record(&mut self.batch, &mut self.open_at));
        Ticket(self.ticket)
    }

    fn submit(&mut self, now: Time) {
        self.epoch = self.shared.wall().saturating_sub(now.as_millis());
        self.end_record();
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            let is_urgent = self.awaited > self.urged;
            self.shared.submit(self.place, Ticket(self.ticket), batch, is_urgent);
            self.ticket += 1;
        } else if self.awaited > self.urged {
            self.shared.urge();
        }
        self.urged = self.urged.max(self.awaited);
    }

    fn draw(&mut self, recorded: Ticket) -> Ticket {
        self.awaited = self.awaited.max(recorded.0);
        recorded
    }

    fn completed(&self) -> Ticket {
        Ticket(self.completed.load(Ordering::Acquire))
    }

    fn queue_memory(&self) -> Option<&Arc<QueueMemory>> {
        Some(&self.shared.queue_memory)
    }

    fn recall(&mut self, session: SessionKey, ordinals: &[u64]) -> Vec<Recall> {
        let recalls = self.bodies.recall(session, ordinals);
        self.count_damage(&recalls);
        recalls
    }

    fn try_recall(&mut self, session: SessionKey, ordinals: &[u64]) -> Option<Vec<Recall>> {
        let recalls = self.bodies.try_recall(session, ordinals)?;
        self.count_damage(&recalls);
        Some(recalls)
    }
}

impl DiskEngine {
    fn count_damage(&self, recalls: &[Recall]) {
        let damaged = recalls.iter().filter(|it| **it == Recall::Damaged).count() as u64;
        if damaged > 0 {
            self.shared.seen().damage += damaged;
        }
    }
}

/// The batch, with room for the length of the record that the next change begins or joins.
fn open_record<'a>(batch: &'a mut Vec<u8>, open_at: &mut Option<usize>) -> &'a mut Vec<u8> {
    if open_at.is_none() {
        *open_at = Some(batch.len());
        batch.extend_from_slice(&[0; 4]);
    }
    batch
}

/// The first record of a batch, and what it takes there.
pub(crate) fn first_record(batch: &[u8]) -> Option<(&[u8], usize)> {
    let (len, rest) = batch.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    Some((rest.get(..len)?, 4 + len))
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

#[cfg(test)]
impl DiskEngine {
    /// Whether anything waits to be submitted.
    pub(crate) fn has_records(&self) -> bool {
        !self.batch.is_empty()
    }
}
