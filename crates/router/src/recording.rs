//! Telling the commit engine what must survive a crash, and waiting for it where the standard's
//! promise needs that.
//!
//! QoS 1 goes out before it is safe: if it is lost in a crash its publisher has no PUBACK and sends
//! it again. QoS 2 to a persistent session goes out only when its identifier is safe: sent again
//! under another one, it would be another message.

use std::sync::Arc;

use agentmq_codec::QoS;
use agentmq_session::{
    Change, Condition, Delivery, Durable, Recipient, RecordedMessage, SessionKey, Ticket, Time,
    WillUnderWay,
};

use crate::connection::ConnectionId;
use crate::delivery_path::DeliveryPath;
use crate::group_mail::is_remote;
use crate::mail_gate::Deferred;
use crate::places::Place;
use crate::route::Route;
use crate::router::Router;
use crate::source::{Source, Terms};
use crate::undecided::Undecided;
use crate::will_under_way::DueWill;

/// A QoS 2 delivery whose identifier is not safe yet.
#[derive(Debug)]
pub(crate) struct HeldDelivery {
    ticket: Ticket,
    /// The newest exchange that had not arrived: see [`crate::undecided`].
    undecided: u64,
    session: u32,
    generation: u32,
    packet_id: u16,
}

impl Router {
    /// Records a change; what the packet at hand is answered with waits for it.
    pub(crate) fn record(&mut self, change: Change<'_>) {
        self.recorded = self.commit.record(change);
    }

    /// Records a step of a QoS 2 exchange. Whatever is said of the session's exchanges from now on,
    /// on this connection or another one, waits until that is safe.
    pub(crate) fn record_exchange(&mut self, index: u32, change: Change<'_>) {
        self.record(change);
        self.exchanges_are_at(index);
    }

    fn exchanges_are_at(&mut self, index: u32) {
        let (recorded, posted) = (self.recorded, self.posted);
        if let Some(session) = self.sessions.get_mut(index as usize)
            && let Some(durable) = &mut session.durable
        {
            durable.exchanges = durable.exchanges.max(recorded);
            durable.posted = durable.posted.max(posted);
        }
    }

    /// Records the terms of a persistent session, which gets its name for the purpose at first.
    pub(crate) fn record_session(&mut self, index: u32) {
        if !self.commit.is_durable() {
            return;
        }
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        if session.durable.is_none() && session.is_persistent() {
            let (key, none) = (self.commit.new_key(), Ticket::default());
            let durable = Durable { key, next_ordinal: 0, exchanges: none, posted: none };
            session.durable = Some(Box::new(durable));
            if let Some(all) = self.commit.queue_memory() {
                session.queue.survives(all);
            }
        }
        self.record_terms(index);
    }

    /// Records the terms of a persistent session as they are now.
    pub(crate) fn record_terms(&mut self, index: u32) {
        let session = self.sessions.get(index as usize);
        if let Some(session) = session.filter(|session| session.durable.is_some()) {
            self.recorded = self.commit.record(Change::Session(session));
        }
    }

    /// Notes that a session must get the message under way.
    pub(crate) fn note_recipient(
        &mut self,
        index: u32,
        ordinal: u64,
        packet_id: u16,
        terms: &Terms<'_>,
    ) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        let group = terms.group.and_then(|group| match is_remote(group) {
            true => self.away_groups.get(group).map(|group| &group.text),
            false => self.groups.text(group),
        });
        let group = group.map(Arc::clone);
        self.recipients.push((
            index,
            Recipient {
                session: session.key(),
                ordinal,
                packet_id,
                qos: terms.qos,
                retain: terms.retain,
                ids: terms.ids.clone(),
                group,
            },
        ));
    }

    /// Records a message that has been delivered and posted, if anything of that must survive.
    pub(crate) fn record_message(&mut self, source: &Source<'_>, is_retained: bool) {
        let is_exchanged = source.arrived.is_some() || source.will.is_some();
        if is_retained || is_exchanged || !self.recipients.is_empty() {
            self.record_what_survives(source, is_retained);
        }
    }

    fn record_what_survives(&mut self, source: &Source<'_>, is_retained: bool) {
        // Of all shards' retained messages the first records which one is its topic's newest: it
        // gets to know them all, and what it records stands in the order in which it counts.
        let is_retained = is_retained
            && self.peers.own == Place(0)
            && self.commit.is_durable()
            && !source.topic.starts_with(STATISTICS);
        // What went elsewhere is recorded as arrived when it is safe there.
        let is_own = source.publisher.is_some() || source.will.is_some();
        let is_whole = is_own
            && self.posted == Ticket::default()
            && self.unarrived(source) == Ticket::default();
        let (arrived, depends_on) = match source.arrived {
            Some(exchange) if !is_whole => (None, Some(exchange)),
            arrived => (arrived.filter(|_| source.will.is_none()), None),
        };
        let under_way = source.will.filter(|_| !is_whole);
        let will_of = source.will.filter(|_| is_whole).map_or(SessionKey::NONE, |will| will.of);
        let has_body = is_retained || !self.recipients.is_empty();
        let is_needed = has_body || arrived.is_some() || will_of.is_some();
        if !is_needed && under_way.is_none() {
            return;
        }
        let depends_on = depends_on.filter(|_| !self.recipients.is_empty());
        if let Some(exchange) = depends_on {
            self.undecided.begin(exchange);
        }
        let mut recipients = std::mem::take(&mut self.recipients);
        let (receivers, named): (Vec<u32>, Vec<Recipient>) = recipients.drain(..).unzip();
        self.recipients = recipients;
        let message = RecordedMessage {
            topic: source.topic,
            payload: source.payload,
            properties: source.properties,
            qos: source.qos,
            retain: source.retain,
            expires_at: source.expiry.map(|secs| source.now.after_secs(secs)),
            recipients: &named,
            is_retained,
            author: source.author.as_deref(),
            arrived,
            depends_on,
            will_of,
        };
        if is_needed {
            self.record(Change::Message(&message));
        }
        if let Some(DueWill { of, key, client_id }) = under_way {
            // One record with the message that it follows.
            let will = WillUnderWay { key, will_of: of, client_id, message: &message };
            self.record(Change::WillUnderWay(&will));
        }
        for (index, recipient) in receivers.into_iter().zip(named) {
            if recipient.packet_id == 0 {
                self.may_leave(index, recipient.ordinal);
            } else if recipient.qos == QoS::ExactlyOnce {
                self.hold(index, recipient.packet_id);
            }
        }
    }

    /// What a publication has recorded and posted concerns its publisher: that its PUBLISH, or its
    /// will, has arrived. With mail at `posted` that is recorded when all of it is safe elsewhere.
    pub(crate) fn record_whole(&mut self, source: &Source<'_>, posted: Ticket) {
        let will = source.will.map(|will| (will.key, 0));
        let Some(arriving) = source.arrived.or(will) else { return };
        let position = posted.max(self.unarrived(source));
        if position > Ticket::default() {
            if let Some(exchange) = source.arrived {
                self.undecided.begin(exchange);
            }
            let position = self.mail_gate.defer(position, Deferred::Arrived(arriving));
            self.posted = self.posted.max(position);
        }
        if let Some(publisher) = source.publisher {
            self.exchanges_are_at(publisher);
        }
    }

    /// The position at which a client's earlier QoS 2 publications arrive, if they have not: one
    /// that goes nowhere else does not arrive before them, or a crash could turn their order round.
    fn unarrived(&self, source: &Source<'_>) -> Ticket {
        let is_publish = source.arrived.is_some() && source.will.is_none();
        let publisher = source.publisher.filter(|_| is_publish);
        let session = publisher.and_then(|index| self.sessions.get(index as usize));
        let durable = session.and_then(|session| session.durable.as_ref());
        let posted = durable.map(|durable| durable.posted).unwrap_or_default();
        if posted > self.mail_gate.confirmed() { posted } else { Ticket::default() }
    }

    /// Records that a topic has no retained message any more: on the shard that records these.
    pub(crate) fn record_clearing(&mut self, topic: &str) {
        let is_recorded = self.peers.own == Place(0) && self.commit.is_durable();
        if !is_recorded || topic.starts_with(STATISTICS) {
            return;
        }
        self.record(Change::Message(&RecordedMessage {
            topic,
            payload: b"",
            properties: agentmq_codec::Properties::EMPTY,
            qos: QoS::AtMostOnce,
            retain: true,
            expires_at: None,
            recipients: &[],
            is_retained: true,
            author: None,
            arrived: None,
            depends_on: None,
            will_of: SessionKey::NONE,
        }));
    }

    /// A message that waited in line has got its identifier; true when it must wait for that to be
    /// safe.
    pub(crate) fn record_sending(
        &mut self,
        index: u32,
        delivery: &Delivery,
        packet_id: u16,
    ) -> bool {
        if delivery.ordinal == 0 {
            return false;
        }
        let Some(session) = self.sessions.get(index as usize) else { return false };
        let (session, ordinal) = (session.key(), delivery.ordinal);
        self.record(Change::Sent { session, ordinal, packet_id });
        let waits = delivery.qos == QoS::ExactlyOnce;
        if waits {
            self.hold(index, packet_id);
        }
        waits
    }

    /// Records that deliveries have left a session's line without having been sent.
    pub(crate) fn record_dropping(&mut self, session: SessionKey, ordinals: &[u64]) {
        self.record_dropping_after(Ticket::default(), session, ordinals);
    }

    /// The same, once the mail that took them elsewhere is safe there.
    pub(crate) fn record_dropping_after(
        &mut self,
        posted: Ticket,
        session: SessionKey,
        ordinals: &[u64],
    ) {
        for &ordinal in ordinals.iter().filter(|ordinal| **ordinal > 0) {
            self.record_after(posted, Deferred::Dropped(session, ordinal));
        }
    }

    fn hold(&mut self, index: u32, packet_id: u16) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        let (ticket, generation) = (self.commit.draw(self.recorded), session.generation);
        let undecided = self.undecided.newest();
        let held = HeldDelivery { ticket, undecided, session: index, generation, packet_id };
        self.held.push_back(held);
    }

    /// Sends what waited for a ticket up to this one, and for exchanges that have arrived.
    pub(crate) fn send_held(&mut self, completed: Ticket, now: Time) {
        let is_due = |held: &HeldDelivery, undecided: &Undecided| {
            held.ticket <= completed && undecided.has_passed(held.undecided)
        };
        while let Some(held) = self.held.pop_front_if(|held| is_due(held, &self.undecided)) {
            let (index, packet_id) = (held.session, held.packet_id);
            let session = self.sessions.get_mut(index as usize);
            let Some(session) = session.filter(|it| it.generation == held.generation) else {
                continue;
            };
            let id = session.connection.map(ConnectionId);
            let Some(delivery) = session.window.commit(packet_id, id.is_some()) else { continue };
            let Some(id) = id else { continue };
            let may_receive = self.may_receive(index, delivery.message.topic());
            if may_receive && !self.is_too_large(id, &delivery.message.head(&delivery, now)) {
                let path =
                    if delivery.retain { DeliveryPath::Retained } else { DeliveryPath::Held };
                self.write_delivery(id, &delivery, packet_id, path, now);
            } else {
                self.abandon(index, packet_id);
            }
        }
    }

    /// Ends an exchange whose PUBLISH cannot be sent on this connection.
    pub(crate) fn abandon(&mut self, index: u32, packet_id: u16) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        session.window.abandon(packet_id);
        let session = session.key();
        if session.is_some() {
            self.record(Change::Completed { session, packet_id });
        }
    }

    /// Whether a message cannot be accepted, because somebody on its route must not lose it and
    /// nothing can be kept now.
    pub(crate) fn cannot_keep(&self, qos: QoS, retain: bool, route: &Route) -> bool {
        if qos == QoS::AtMostOnce || self.commit.condition() == Condition::Good {
            return false;
        }
        let is_kept =
            |session: u32| self.sessions.get(session as usize).is_some_and(|it| it.key().is_some());
        retain
            || !route.keeping.is_empty()
            || route.receivers.iter().any(|receiver| is_kept(receiver.session))
            || route
                .groups
                .iter()
                .filter_map(|&group| self.groups.get(group))
                .any(|group| group.members.iter().any(|member| member.is_kept))
    }
}

/// Why something is refused that must survive.
pub(crate) const CANNOT_KEEP: &str = "a persistent session or a retained message needs the disk, \
    which is full or has failed: the broker's log says more; QoS 0 and clean sessions go on";
/// Statistics are made anew.
const STATISTICS: &str = "$SYS/";
