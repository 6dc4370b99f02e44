//! From one message to the outboxes and queues of all its receivers.

use std::cell::Cell;
use std::sync::Arc;

use agentmq_codec::{ProtocolVersion, PublishHead, QoS};
use agentmq_session::{OutboundAlias, REFERENCE_FROM, SubscriptionIds};

use crate::connection::{Connection, ConnectionId};
use crate::delivery_path::DeliveryPath;
use crate::group_mail::is_remote;
use crate::overlapping_subscriptions::{Grant, Own, Receiver};
use crate::route::Route;
use crate::router::Router;
use crate::shared_group::{Able, Choice, Standing};
use crate::source::{Source, Terms};
use crate::subscribers::Subscriber;

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// In an outbox or a queue.
    Taken,
    /// The receiver is here and cannot have it: counted, and for the publisher as if it had been
    /// delivered [MQTT-3.1.2-24, -25].
    Lost,
    /// There is no receiver, or its session does not keep it for an absent client.
    Nobody,
}

/// The encoding that the last receiver got, for the next one with the same layout: receivers of
/// one message differ in their packet identifier at most. With the payload, if it is copied.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    key: Option<LayoutKey>,
    bytes: Vec<u8>,
    id_at: usize,
}

#[derive(Debug)]
struct LayoutKey {
    is_v5: bool,
    qos: QoS,
    retain: bool,
    ids: SubscriptionIds,
    /// With the topic as those call it who are kept apart.
    is_apart: bool,
}

impl LayoutKey {
    fn fits(&self, version: ProtocolVersion, is_apart: bool, terms: &Terms<'_>) -> bool {
        let same_ids = match (&self.ids, terms.ids) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs) || ours == theirs,
            _ => false,
        };
        self.is_v5 == version.is_v5()
            && self.is_apart == is_apart
            && self.qos == terms.qos
            && self.retain == terms.retain
            && same_ids
    }
}

impl Router {
    /// Delivers to everyone on the route. Returns whether there was anybody to take it.
    pub(crate) fn fan_out(&mut self, source: &mut Source<'_>, route: &Route) -> bool {
        if route.traits.is_reply {
            return self.fan_out_reply(source, route);
        }
        self.begin_message();
        source.is_for_one = route.receivers.len() + route.groups.len() == 1;
        source.is_tool_call = route.traits.is_tool_call;
        let mut taken = false;
        for receiver in &route.receivers {
            taken |= self.deliver_to(source, receiver);
        }
        for &group in &route.groups {
            taken |= self.deliver_to_group(source, group) != Delivered::Nobody;
        }
        taken
    }

    /// Delivers to one receiver of a route, unless it is the publisher and wants none of its own.
    #[inline]
    pub(crate) fn deliver_to(&mut self, source: &mut Source<'_>, receiver: &Receiver) -> bool {
        let own = source.publisher == Some(receiver.session);
        let grant = match (&receiver.own, own) {
            (Own::Nothing, true) => return false,
            (Own::Other(grant), true) => grant,
            _ => &receiver.grant,
        };
        self.deliver(source, receiver.session, &source.terms(grant, None)) != Delivered::Nobody
    }

    /// Forgets the encodings of the message before.
    pub(crate) fn begin_message(&mut self) {
        self.layout.key = None;
        self.recipients.clear(); // of one that ended in a panic
    }

    /// Delivers to one member of a shared group, if any can take it.
    pub(crate) fn deliver_to_group(&mut self, source: &mut Source<'_>, group: u32) -> Delivered {
        let (sessions, connections, message) = (&self.sessions, &self.connections, &*source);
        let remote_members = &self.remote_members;
        let outbox_bytes = self.settings.limits.outbox_bytes as usize;
        let is_too_large = Cell::new(false);
        let able = |member: &Subscriber| {
            let qos = message.qos.min(member.options.qos);
            // What is delivered with QoS 0 is not kept for an absent client.
            let absent =
                |load| (qos > QoS::AtMostOnce).then_some(Able { standing: Standing::Absent, load });
            if is_remote(member.session) {
                let remote = remote_members.get(member.session)?;
                let Some(max_packet) = remote.present else { return absent(remote.load) };
                let fits = message.payload.len() + message.topic.len() < max_packet as usize;
                is_too_large.set(is_too_large.get() | !fits);
                let standing = if remote.is_full { Standing::Waits } else { Standing::Remote };
                return fits.then_some(Able { standing, load: remote.load });
            }
            let session = sessions.get(member.session as usize)?;
            let Some(id) = session.connection else { return absent(session.queue.len()) };
            let connection = connections.get(id as usize)?.as_ref()?;
            if connection.max_packet < u32::MAX {
                let grant = Grant::of(std::iter::once(member));
                if connection.has_no_room(&message.head(&message.terms(&grant, Some(group)))) {
                    is_too_large.set(true);
                    return None;
                }
            }
            let is_ready =
                session.may_send(qos, message.now) && connection.outbox.len() <= outbox_bytes;
            let standing =
                if is_ready { Standing::Ready(ConnectionId(id)) } else { Standing::Waits };
            let load = usize::from(session.window.open_count()) + session.queue.len();
            Some(Able { standing, load })
        };
        let publisher = || {
            let session = message.publisher.and_then(|session| sessions.get(session as usize));
            let client_id = session.map(|session| &*session.client_id);
            client_id.or(message.publisher_id).unwrap_or_default()
        };
        let entropy = || self.entropy.next();
        let choice = Choice { topic: message.topic, publisher, entropy };
        let Some((member, standing)) = self.groups.choose(group, choice, able) else {
            if !is_too_large.get() {
                return Delivered::Nobody;
            }
            self.counters.dropped_too_large += 1;
            return Delivered::Lost;
        };
        if is_remote(member.session) {
            return self.deliver_remote(source, group, member.session);
        }
        let grant = Grant::of(std::iter::once(&member));
        let terms = source.terms(&grant, Some(group));
        match standing {
            Standing::Ready(id) => self.send(source, member.session, id, &terms),
            _ => self.deliver(source, member.session, &terms),
        }
    }

    /// Delivers to one session: into its connection's outbox, or into its queue.
    pub(crate) fn deliver(
        &mut self,
        source: &mut Source<'_>,
        index: u32,
        terms: &Terms<'_>,
    ) -> Delivered {
        let Some(session) = self.sessions.get_mut(index as usize) else {
            return Delivered::Nobody;
        };
        let Some(connection) = session.connection else {
            if terms.qos == QoS::AtMostOnce && !self.settings.queue_qos0 {
                self.counters.dropped_offline += 1;
                return Delivered::Nobody;
            }
            return self.enqueue(source, index, terms);
        };
        if !session.may_send(terms.qos, source.now) {
            return self.enqueue(source, index, terms);
        }
        let id = ConnectionId(connection);
        let limit = self.settings.limits.outbox_bytes as usize;
        let Some(connection) = self.connection_mut(id) else { return Delivered::Nobody };
        if connection.outbox.len() > limit {
            if terms.qos == QoS::AtMostOnce {
                self.counters.dropped_slow_consumer += 1;
                return Delivered::Lost;
            }
            connection.has_more = true;
            return self.enqueue(source, index, terms);
        }
        if connection.max_packet < u32::MAX && self.is_too_large(id, &source.head(terms)) {
            return Delivered::Lost;
        }
        self.send(source, index, id, terms)
    }

    /// Sends to a connected session whose window has room, what fits into the client's Maximum
    /// Packet Size.
    fn send(
        &mut self,
        source: &mut Source<'_>,
        index: u32,
        id: ConnectionId,
        terms: &Terms<'_>,
    ) -> Delivered {
        if source.is_tool_call {
            self.note_tool_call(index, source);
        }
        let mut packet_id = 0;
        if terms.qos != QoS::AtMostOnce
            && let Some(session) = self.sessions.get_mut(index as usize)
        {
            let (shared, ordinal) = (terms.group.is_some(), session.next_ordinal(terms.qos));
            packet_id = session.begin(terms.qos, || source.keep(terms, ordinal), shared);
            if ordinal > 0 {
                self.note_recipient(index, ordinal, packet_id, terms);
                if terms.qos == QoS::ExactlyOnce {
                    return Delivered::Taken; // goes out when its identifier is safe
                }
            }
        }
        self.counters.sent_publish(DeliveryPath::Live, source.payload.len());
        if let Some((connection, layout)) = self.dirty_connection_and_layout(id) {
            connection.write_publish(source, terms, packet_id, layout);
        }
        Delivered::Taken
    }

    /// Counts and tells whether a packet exceeds the client's Maximum Packet Size: it is then
    /// treated as if it had been delivered [MQTT-3.1.2-24, -25].
    #[cold]
    pub(crate) fn is_too_large(&mut self, id: ConnectionId, head: &PublishHead<'_>) -> bool {
        let Some(connection) = self.connection_mut(id) else { return true };
        let too_large = connection.has_no_room(head);
        self.counters.dropped_too_large += u64::from(too_large);
        too_large
    }

    fn enqueue(&mut self, source: &mut Source<'_>, index: u32, terms: &Terms<'_>) -> Delivered {
        let Some(session) = self.sessions.get_mut(index as usize) else {
            return Delivered::Nobody;
        };
        let ordinal = session.next_ordinal(terms.qos);
        let bound = self.settings.queue_bound(ordinal > 0);
        let overflow = session.enqueue(source.delivery(terms, ordinal), bound, source.now);
        self.counters.dropped_queue_full += overflow.dropped as u64;
        self.counters.dropped_expired += overflow.expired as u64;
        let key = session.key();
        self.record_dropping(key, &overflow.gone); // whatever the QoS of what takes the room
        if ordinal > 0 && !overflow.is_refused {
            self.note_recipient(index, ordinal, 0, terms);
        }
        if source.is_tool_call {
            self.note_tool_call(index, source);
        }
        Delivered::Taken
    }
}

impl Connection {
    /// Whether a packet exceeds the client's Maximum Packet Size.
    fn has_no_room(&self, head: &PublishHead<'_>) -> bool {
        let len = || PublishHead { topic: self.seen(head.topic), ..*head }.packet_len(self.version);
        self.max_packet < u32::MAX && len() > self.max_packet as usize
    }

    /// Appends a PUBLISH to the outbox.
    fn write_publish(
        &mut self,
        source: &mut Source<'_>,
        terms: &Terms<'_>,
        packet_id: u16,
        layout: &mut Layout,
    ) {
        if source.payload.len() >= REFERENCE_FROM {
            source.message();
        }
        if source.is_for_one || self.aliases_out.is_some() {
            let mut head = PublishHead { packet_id, ..source.head(terms) };
            head.topic = self.seen(head.topic);
            self.apply_alias(&mut head);
            head.encode(self.version, self.outbox.bytes());
            return self.write_payload(source);
        }
        let (version, is_apart) = (self.version, self.is_apart);
        let fits = layout.key.as_ref().is_some_and(|key| key.fits(version, is_apart, terms));
        if !fits {
            layout.bytes.clear();
            let mut head = source.head(terms);
            head.topic = self.seen(head.topic);
            layout.id_at = head.encode(version, &mut layout.bytes);
            if source.payload.len() < REFERENCE_FROM {
                layout.bytes.extend_from_slice(source.payload);
            }
            let (qos, retain, ids) = (terms.qos, terms.retain, terms.ids.clone());
            let is_v5 = version.is_v5();
            layout.key = Some(LayoutKey { is_v5, qos, retain, ids, is_apart });
        }
        let out = self.outbox.bytes();
        let at = out.len();
        out.extend_from_slice(&layout.bytes);
        if packet_id != 0
            && let Some(slot) = out.get_mut(at + layout.id_at..at + layout.id_at + 2)
        {
            slot.copy_from_slice(&packet_id.to_be_bytes());
        }
        if source.payload.len() >= REFERENCE_FROM {
            self.write_payload(source);
        }
    }

    fn write_payload(&mut self, source: &Source<'_>) {
        match &source.shared {
            Some(message) => self.outbox.push_payload(message),
            None => self.outbox.bytes().extend_from_slice(source.payload),
        }
    }

    /// Gives the topic an alias, or uses the one it has (§3.3.2.3.4).
    pub(crate) fn apply_alias(&mut self, head: &mut PublishHead<'_>) {
        let Some(aliases) = &mut self.aliases_out else { return };
        // An alias adds up to four bytes, which the client's Maximum Packet Size must allow.
        if head.packet_len(self.version) + 4 > self.max_packet as usize {
            return;
        }
        match aliases.assign(head.topic) {
            OutboundAlias::None => {}
            OutboundAlias::Set(alias) => head.topic_alias = Some(alias),
            OutboundAlias::Use(alias) => {
                head.topic_alias = Some(alias);
                head.topic = "";
            }
        }
    }
}
