//! Moving what waits in a session's queue to its connection.

use agentmq_codec::{AckKind, PublishHead, QoS, ReasonCode};
use agentmq_session::{Delivery, Keep, Message, PendingAck, RetainedCursor, SessionKey, Time};

use crate::connection::{ConnectionId, Phase};
use crate::delivery_path::DeliveryPath;
use crate::fan_out::Delivered;
use crate::group_mail::is_remote;
use crate::recall::Head;
use crate::retain_source::By;
use crate::retained::Room;
use crate::router::Router;
use crate::source::{Source, Terms};
use crate::timers::Due;

/// Why the queue stops.
enum Stop {
    /// Nothing more can go now; an acknowledgement or a new message will start it again.
    Wait,
    /// Not before this point.
    Until(Time),
    /// The outbox is full enough: go on when it is written.
    Outbox,
}

impl Router {
    /// Sends from the queue while window and holds allow it, until the outbox holds `portion`
    /// bytes.
    pub(crate) fn drain(&mut self, index: u32, portion: usize, now: Time) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        let Some(id) = session.connection.map(ConnectionId) else { return };
        let generation = session.generation;
        if session.queue.is_empty() && !session.window.is_owing() {
            return;
        }
        let stop = loop {
            match self.drain_one(index, id, portion, now) {
                Ok(()) => {}
                Err(stop) => break stop,
            }
        };
        match stop {
            Stop::Wait => {}
            Stop::Until(at) => self.timers.arm(at, Due::Drain(index, generation)),
            Stop::Outbox => {
                // In the list even when nothing was appended, so that the shard comes back.
                if let Some(connection) = self.dirty_connection(id) {
                    connection.has_more = true;
                }
            }
        }
    }

    fn drain_one(
        &mut self,
        index: u32,
        id: ConnectionId,
        portion: usize,
        now: Time,
    ) -> Result<(), Stop> {
        let (completed, audited) = (self.commit.completed(), self.audit.completed());
        let connection = self.connection_mut(id).ok_or(Stop::Wait)?;
        if connection.phase != Phase::Connected {
            return Err(Stop::Wait);
        }
        let filled = connection.outbox.len();
        if filled >= portion {
            return Err(Stop::Outbox);
        }
        let is_promised = connection.suback <= completed && connection.suback_audited <= audited;
        let session = self.sessions.get_mut(index as usize).ok_or(Stop::Wait)?;
        if now < session.hold_until {
            return Err(Stop::Until(session.hold_until));
        }
        if let Some((packet_id, delivery)) = session.window.next_owed(session.receive_maximum) {
            self.send_again(index, id, packet_id, &delivery, now);
            return Ok(());
        }
        if session.queue.is_empty() {
            return Err(Stop::Wait);
        }
        if let Some(cursor) = session.queue.front_cursor() {
            if cursor.interest > self.peers.barrier.confirmed() {
                return Err(Stop::Wait);
            }
            if now < cursor.due {
                return Err(Stop::Until(cursor.due));
            }
            if !is_promised {
                return Err(Stop::Wait); // the SUBACK goes first, with its ticket
            }
            return self.expand(index, id, portion - filled, now);
        }
        let has_room = session.window.has_room(session.receive_maximum);
        if let Some(away) = session.queue.front_away() {
            if away.is_expired(now) {
                return self.drop_away(index);
            }
            if has_room {
                return match self.recall_head(index, portion) {
                    Head::There => Ok(()),
                    Head::Busy => Err(Stop::Until(now.after_millis(BUSY_MS))),
                    Head::Unreadable => Err(Stop::Until(now.after_millis(READ_AGAIN_MS))),
                };
            }
        }
        let may_go = session.queue.front().is_some_and(|next| {
            has_room || next.qos == QoS::AtMostOnce || next.message.is_expired(now)
        });
        let next = if may_go { session.queue.pop() } else { session.queue.pop_qos0() };
        let delivery = next.ok_or(Stop::Wait)?;
        if delivery.message.is_expired(now) {
            self.counters.dropped_expired += 1;
            self.forget_queued(index, &delivery);
        } else if !self.may_receive(index, delivery.message.topic()) {
            self.counters.dropped_forbidden += 1;
            self.forget_queued(index, &delivery);
        } else {
            self.send_queued(index, id, delivery, DeliveryPath::Queued, now);
        }
        Ok(())
    }

    /// Sends the next retained messages of the cursor at the head of the queue, until they fill
    /// `bytes`.
    fn expand(
        &mut self,
        index: u32,
        id: ConnectionId,
        bytes: usize,
        now: Time,
    ) -> Result<(), Stop> {
        let session = self.sessions.get_mut(index as usize).ok_or(Stop::Wait)?;
        let room = session.window.room(session.receive_maximum);
        let Some(cursor) = session.queue.front_cursor() else { return Ok(()) };
        let filter = &*cursor.filter;
        if session.subscriptions.binary_search_by(|known| (**known).cmp(filter)).is_err() {
            session.queue.pop(); // unsubscribed meanwhile
            return Ok(());
        }
        let granted = cursor.qos;
        let count = if granted == QoS::AtMostOnce { PORTION } else { PORTION.min(room.into()) };
        if count == 0 {
            return Err(Stop::Wait);
        }
        let mut found = Vec::with_capacity(count);
        let Self { retain_source, authenticator, counters, settings, .. } = self;
        let may_serve = |by: &By, topic: &str| {
            let may = !settings.check_retain_source
                || retain_source.may_serve(by, topic, &**authenticator, now);
            counters.retained_withheld += u64::from(!may);
            may
        };
        let room = Room { count, bytes };
        let more = self.retained.next(cursor, room, now, &mut found, may_serve);
        let ids = cursor.ids.clone();
        if !more {
            session.queue.pop();
        } else if found.is_empty() {
            return Err(Stop::Outbox); // nothing among many topics: others get their turn
        }
        for message in found {
            let qos = granted.min(message.qos());
            let delivery =
                Delivery { message, qos, retain: true, ids: ids.clone(), group: None, ordinal: 0 };
            self.send_retained(index, id, delivery, now);
        }
        Ok(())
    }

    /// Sends one retained message. With QoS 2, and where that must survive a crash, it is recorded
    /// as this session's: its client must never see the identifier with another message.
    fn send_retained(&mut self, index: u32, id: ConnectionId, mut delivery: Delivery, now: Time) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        if delivery.qos != QoS::ExactlyOnce || session.durable.is_none() {
            return self.send_queued(index, id, delivery, DeliveryPath::Retained, now);
        }
        delivery.ordinal = session.next_ordinal(delivery.qos);
        let packet_id = session.begin(delivery.qos, || Keep::Shared(delivery.clone()), false);
        let Delivery { message, qos, retain, ids, ordinal, .. } = &delivery;
        let terms = Terms { qos: *qos, retain: *retain, ids, group: None };
        self.note_recipient(index, *ordinal, packet_id, &terms);
        self.record_message(&Source::of(message, now), false);
    }

    /// Sends one delivery that was kept.
    fn send_queued(
        &mut self,
        index: u32,
        id: ConnectionId,
        delivery: Delivery,
        path: DeliveryPath,
        now: Time,
    ) {
        let is_bounded = self.connection_mut(id).is_none_or(|it| it.max_packet < u32::MAX);
        if is_bounded && self.is_too_large(id, &delivery.message.head(&delivery, now)) {
            return self.forget_queued(index, &delivery);
        }
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let mut packet_id = 0;
        if delivery.qos != QoS::AtMostOnce {
            let shared = delivery.group.is_some();
            packet_id = session.begin(delivery.qos, || Keep::Shared(delivery.clone()), shared);
            if self.record_sending(index, &delivery, packet_id) {
                return;
            }
        }
        self.write_delivery(id, &delivery, packet_id, path, now);
    }

    /// Appends a kept delivery to the outbox.
    pub(crate) fn write_delivery(
        &mut self,
        id: ConnectionId,
        delivery: &Delivery,
        packet_id: u16,
        path: DeliveryPath,
        now: Time,
    ) {
        let dup = path == DeliveryPath::Again;
        self.counters.sent_publish(path, delivery.message.payload().len());
        let Some(connection) = self.dirty_connection(id) else { return };
        let mut head = PublishHead { packet_id, dup, ..delivery.message.head(delivery, now) };
        head.topic = connection.seen(head.topic);
        if connection.aliases_out.is_some() {
            connection.apply_alias(&mut head);
        }
        head.encode(connection.version, connection.outbox.bytes());
        connection.outbox.push_payload(&delivery.message);
    }

    /// Puts the retained messages that a filter matches in line, if there are any.
    pub(crate) fn queue_retained(&mut self, index: u32, mut cursor: RetainedCursor, now: Time) {
        if !self.retained.may_match(&cursor.filter) {
            return;
        }
        cursor.due = now.after_millis(u64::from(self.settings.retained_gap_ms));
        cursor.up_to = self.retained.clock();
        let due = cursor.due;
        let waits = cursor.interest > self.peers.barrier.confirmed();
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let generation = session.generation;
        session.queue.push_cursor(cursor);
        if waits {
            // Its place in line counts from now on; it goes behind the SUBACK.
        } else if due > now {
            self.timers.arm(due, Due::Drain(index, generation));
        } else if let Some(id) = session.connection.map(ConnectionId)
            && let Some(connection) = self.dirty_connection(id)
        {
            // Behind the flush that carries the SUBACK: a write of its own.
            connection.has_more = true;
        }
    }

    /// Sends again what the client has not acknowledged, on a resumed session: PUBLISHes as far as
    /// a hold and its Receive Maximum allow, then PUBRELs [MQTT-4.4.0-1].
    pub(crate) fn resend(&mut self, index: u32, id: ConnectionId, now: Time) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let released = session.window.resume();
        let may_send = now >= session.hold_until;
        while may_send
            && let Some(session) = self.sessions.get_mut(index as usize)
            && let Some((packet_id, delivery)) = session.window.next_owed(session.receive_maximum)
        {
            self.send_again(index, id, packet_id, &delivery, now);
        }
        (self.recorded, self.posted) = Default::default();
        for packet_id in released {
            let pubrel = PendingAck::Ack(AckKind::PubRel, packet_id, ReasonCode::Success);
            self.acknowledge(id, pubrel);
        }
    }

    /// Sends one PUBLISH again; its client may accept smaller packets than before, and may receive
    /// less.
    fn send_again(
        &mut self,
        index: u32,
        id: ConnectionId,
        packet_id: u16,
        delivery: &Delivery,
        now: Time,
    ) {
        let is_forbidden = !self.may_receive(index, delivery.message.topic());
        self.counters.dropped_forbidden += u64::from(is_forbidden);
        if is_forbidden || self.is_too_large(id, &delivery.message.head(delivery, now)) {
            self.abandon(index, packet_id);
        } else {
            self.write_delivery(id, delivery, packet_id, DeliveryPath::Again, now);
        }
    }

    /// The message at the head of the line, which is on the disk alone, has expired.
    fn drop_away(&mut self, index: u32) -> Result<(), Stop> {
        let session = self.sessions.get_mut(index as usize).ok_or(Stop::Wait)?;
        let (key, away) = (session.key(), session.queue.pop_away().ok_or(Stop::Wait)?);
        self.counters.dropped_expired += 1;
        self.record_dropping(key, &[away.ordinal]);
        Ok(())
    }

    /// A message has left the line without being sent.
    fn forget_queued(&mut self, index: u32, delivery: &Delivery) {
        if let Some(session) = self.sessions.get(index as usize) {
            self.record_dropping(session.key(), &[delivery.ordinal]);
        }
    }

    /// Gives deliveries of shared groups that a session held, absent or over, to other members.
    pub(crate) fn reroute(&mut self, session: SessionKey, deliveries: Vec<Delivery>, now: Time) {
        for delivery in deliveries {
            let Some(group) = delivery.group else { continue };
            let posted = self.posted_by(|router| {
                if delivery.message.is_expired(now) {
                    router.counters.dropped_expired += 1;
                } else if is_remote(group) {
                    router.send_back(group, delivery.message.clone());
                } else {
                    router.reroute_one(&delivery.message, group, now);
                }
            });
            // Right behind the message: both survive a crash or neither, see `Change::Message`. Of
            // one that went to another shard, when it is kept there.
            self.record_dropping_after(posted, session, &[delivery.ordinal]);
        }
    }

    /// Gives a message of a shared group to another member.
    pub(crate) fn reroute_one(&mut self, message: &Message, group: u32, now: Time) {
        let mut source = Source::of(message, now);
        source.is_tool_call = self.is_tool_call(source.topic);
        self.begin_message();
        if self.deliver_to_group(&mut source, group) == Delivered::Taken {
            self.counters.shared_rerouted += 1;
        }
        self.record_message(&source, false);
    }
}

/// Milliseconds after which reading back is tried again that would have to wait: others on the
/// shard do not wait with it.
const BUSY_MS: u64 = 1;
/// Milliseconds after which what could not be read back is tried again.
const READ_AGAIN_MS: u64 = 1_000;
/// Retained messages that one step of a cursor sends.
const PORTION: usize = 256;

/// What a queue appends to its outbox at once, in bytes.
pub const PORTION_BYTES: usize = 16 * 1024;
