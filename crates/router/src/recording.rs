//! Telling the commit engine what must survive a crash, and waiting for it where the standard's
//! promise needs that.
//!
//! QoS 1 goes out before it is safe: if it is lost in a crash its publisher has no PUBACK and sends
//! it again. QoS 2 to a persistent session goes out only when its identifier is safe: sent again
//! under another one, it would be another message.

use agentmq_codec::QoS;
use agentmq_session::{
    Change, Condition, Delivery, Durable, Recipient, RecordedMessage, SessionKey, Ticket, Time,
};

use crate::connection::ConnectionId;
use crate::fan_out::{Source, Terms};
use crate::route::Route;
use crate::router::Router;

/// A QoS 2 delivery whose identifier is not safe yet.
#[derive(Debug)]
pub(crate) struct HeldDelivery {
    ticket: Ticket,
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
        let recorded = self.recorded;
        if let Some(session) = self.sessions.get_mut(index as usize)
            && let Some(durable) = &mut session.durable
        {
            durable.exchanges = recorded;
        }
    }

    /// Records the terms of a persistent session, which gets its name for the purpose at first.
    pub(crate) fn record_session(&mut self, index: u32) {
        if !self.commit.is_durable() {
            return;
        }
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        if session.durable.is_none() {
            if !session.is_persistent() {
                return;
            }
            let key = self.commit.new_key();
            let (next_ordinal, exchanges) = (0, Ticket::default());
            session.durable = Some(Box::new(Durable { key, next_ordinal, exchanges }));
        }
        self.recorded = self.commit.record(Change::Session(session));
    }

    /// Records that a session has lost its connection.
    pub(crate) fn record_parting(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        if session.key().is_some() {
            self.recorded = self.commit.record(Change::Parted(session));
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
        let group = terms.group.and_then(|group| self.groups.text(group));
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

    /// Records a message that has been delivered, if anything of that must survive.
    pub(crate) fn record_message(&mut self, source: &Source<'_>, is_retained: bool) {
        let is_retained =
            is_retained && self.commit.is_durable() && !source.topic.starts_with(STATISTICS);
        let is_needed = is_retained || source.arrived.is_some() || source.will_of.is_some();
        if self.recipients.is_empty() && !is_needed {
            return;
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
            arrived: source.arrived,
            will_of: source.will_of,
        };
        self.record(Change::Message(&message));
        if let (Some(_), Some(publisher)) = (source.arrived, source.publisher) {
            self.exchanges_are_at(publisher);
        }
        for (index, recipient) in receivers.into_iter().zip(named) {
            if recipient.qos == QoS::ExactlyOnce && recipient.packet_id != 0 {
                self.hold(index, recipient.packet_id);
            }
        }
    }

    /// Records that a topic has no retained message any more.
    pub(crate) fn record_clearing(&mut self, topic: &str) {
        if !self.commit.is_durable() || topic.starts_with(STATISTICS) {
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
            arrived: None,
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
        for &ordinal in ordinals.iter().filter(|ordinal| **ordinal > 0) {
            self.record(Change::Dropped { session, ordinal });
        }
    }

    fn hold(&mut self, index: u32, packet_id: u16) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        let (ticket, generation) = (self.commit.draw(self.recorded), session.generation);
        self.held.push_back(HeldDelivery { ticket, session: index, generation, packet_id });
    }

    /// Sends what waited for a ticket up to this one.
    pub(crate) fn send_held(&mut self, completed: Ticket, now: Time) {
        while let Some(held) = self.held.pop_front_if(|held| held.ticket <= completed) {
            let (index, packet_id) = (held.session, held.packet_id);
            let session = self.sessions.get_mut(index as usize);
            let Some(session) = session.filter(|it| it.generation == held.generation) else {
                continue;
            };
            let id = session.connection.map(ConnectionId);
            let Some(delivery) = session.window.commit(packet_id, id.is_some()) else { continue };
            let Some(id) = id else { continue };
            if !self.is_too_large(id, &delivery.message.head(&delivery, now)) {
                self.write_delivery(id, &delivery, packet_id, false, now);
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
            || route.receivers.iter().any(|receiver| is_kept(receiver.session))
            || route
                .groups
                .iter()
                .filter_map(|&group| self.groups.get(group))
                .any(|group| group.members.iter().any(|member| is_kept(member.session)))
    }
}

/// Why something is refused that must survive.
pub(crate) const CANNOT_KEEP: &str = "a persistent session or a retained message needs the disk, \
    which is full or has failed: the broker's log says more; QoS 0 and clean sessions go on";
/// Statistics are made anew.
const STATISTICS: &str = "$SYS/";
