//! Acknowledgements that leave only after what they promise is safe.

use std::collections::VecDeque;
use std::sync::Arc;

use agentmq_codec::{Ack, AckKind, ProtocolVersion, ReasonCode};

use crate::{Change, Outbox, QueueMemory, Recall, SessionKey, Time};

/// A position in the commit order. An acknowledgement with ticket *n* may leave once the engine
/// has completed *n*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// Where promises are kept. The memory engine completes a ticket in the turn that drew it; an
/// engine with a disk completes it with its group commit.
pub trait CommitEngine: std::fmt::Debug {
    /// Whether anything recorded survives a crash. If not, nothing need be recorded.
    fn is_durable(&self) -> bool {
        false
    }
    /// How it is with the place where things are kept.
    fn condition(&self) -> Condition {
        Condition::Good
    }
    /// What is to be told of the place where things are kept, if there is one.
    fn statistics(&self) -> Option<StoreStatistics> {
        None
    }
    /// A key that has never named a session, nor a will on its way.
    fn new_key(&mut self) -> SessionKey {
        SessionKey::NONE
    }
    /// Records a change; returns the ticket with which it is safe.
    fn record(&mut self, change: Change<'_>) -> Ticket {
        let _ = change;
        Ticket::default()
    }
    /// The ticket that an acknowledgement, or anything else, waits for when what it answers has
    /// recorded things up to this one. What nobody has drawn a ticket for may become safe a little
    /// later.
    fn draw(&mut self, recorded: Ticket) -> Ticket {
        recorded
    }
    /// The turn is over: what was recorded in it is to become safe. `now` ties the broker's clock
    /// to the one that deadlines are kept by across a restart.
    fn submit(&mut self, now: Time) {
        let _ = now;
    }
    /// The newest ticket that is complete, and with it all before.
    fn completed(&self) -> Ticket;
    /// What all queues hold of what survives, where it can be read back.
    fn queue_memory(&self) -> Option<&Arc<QueueMemory>> {
        None
    }
    /// Reads back what waits in a session's line at these places, in their order. All of it is
    /// complete. Takes as long as the disk does.
    fn recall(&mut self, session: SessionKey, ordinals: &[u64]) -> Vec<Recall> {
        let _ = session;
        ordinals.iter().map(|_| Recall::Gone).collect()
    }
    /// The same, unless it would have to wait for whoever writes: for a moment, or until the system
    /// lets him run again. Then it is `None`.
    fn try_recall(&mut self, session: SessionKey, ordinals: &[u64]) -> Option<Vec<Recall>> {
        Some(self.recall(session, ordinals))
    }
}

/// How it is with the place where things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// It takes what comes.
    #[default]
    Good,
    /// There is no room: it takes what makes room.
    Full,
    /// It takes nothing more.
    Failed,
}

/// What is told of the place where things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStatistics {
    /// How it is with it.
    pub condition: Condition,
    /// It still takes what comes, but its room runs out.
    pub is_low: bool,
    /// Commits since the start.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of the log that are in use.
    pub bytes: u64,
    /// Files of the log.
    pub segments: u64,
    /// Places where something that was acknowledged could not be read.
    pub damage: u64,
    /// Bytes that are free on the disk; `None` where that is not known.
    pub free: Option<u64>,
    /// Bytes of what waits in queues and survives, and those of it that are in memory.
    pub queued: u64,
    /// See `queued`.
    pub queued_in_memory: u64,
}

impl StoreStatistics {
    /// One word for an operator: `good`, `low`, `full` or `failed`.
    pub fn condition_name(&self) -> &'static str {
        match self.condition {
            Condition::Good if self.is_low => "low",
            Condition::Good => "good",
            Condition::Full => "full",
            Condition::Failed => "failed",
        }
    }
}

/// Keeps nothing: every ticket is complete at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryEngine;

impl CommitEngine for MemoryEngine {
    fn completed(&self) -> Ticket {
        Ticket(0)
    }
}

/// What an acknowledgement waits for, and how far things have come: the commit of what it
/// promises, the confirmation of the interest that a subscription has announced to other shards,
/// what other shards must keep of a message that went there, and the row in the audit log that says
/// so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gates {
    /// Position in the commit order.
    pub commit: Ticket,
    /// Position in the order of announced interest; 0 where there is nothing to announce.
    pub interest: Ticket,
    /// Position in the order of mail that other shards must keep; 0 where nothing went there.
    pub mail: Ticket,
    /// Position in the audit log; 0 where nothing is put down.
    pub audit: Ticket,
}

impl Gates {
    /// For a place where there are seldom any; `None` where nothing need be waited for.
    #[must_use]
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Whether all four orders have come as far as `passed`.
    pub fn are_open(self, passed: Self) -> bool {
        self.commit <= passed.commit
            && self.interest <= passed.interest
            && self.mail <= passed.mail
            && self.audit <= passed.audit
    }
}

/// One acknowledgement that waits for its gates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PendingAck {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP with its packet identifier.
    Ack(AckKind, u16, ReasonCode),
    /// One with properties, SUBACK or UNSUBACK. Boxed: these are rare, and the others stay small.
    Encoded(Box<EncodedAck>),
}

/// An acknowledgement as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedAck {
    packet: Vec<u8>,
    ends_exchange: bool,
}

/// The acknowledgements of one connection, sent in the order of what they acknowledge
/// [MQTT-4.6.0-2, -3]. One pointer to nothing while none waits.
#[derive(Debug, Default)]
pub struct PendingAcks(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    line: VecDeque<(Gates, PendingAck)>,
    /// Those that end an exchange of the client.
    ending: usize,
}

impl PendingAcks {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.line.len())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Exchanges of the client that end with an acknowledgement that waits: until then they count
    /// against the server's Receive Maximum [MQTT-3.3.4-7].
    pub fn ending(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.ending)
    }

    /// Forgets them all: the connection is closing.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Sends the acknowledgement when its gates are open and none waits before it; else it
    /// waits. Returns whether it is sent.
    #[inline]
    pub fn push(
        &mut self,
        gates: Gates,
        ack: PendingAck,
        passed: Gates,
        version: ProtocolVersion,
        out: &mut Outbox,
    ) -> bool {
        let may_go = self.is_empty() && gates.are_open(passed);
        // Not moved where it need not wait: that would have to wait for its own bytes to be stored.
        if may_go {
            ack.encode(version, out);
        } else {
            self.wait(gates, ack);
        }
        may_go
    }

    #[inline(never)]
    fn wait(&mut self, gates: Gates, ack: PendingAck) {
        let waiting = self.0.get_or_insert_default();
        waiting.ending += usize::from(ack.ends_exchange());
        waiting.line.push_back((gates, ack));
    }

    /// Sends everything whose gates are open, up to the first whose gates are not.
    pub fn release(&mut self, passed: Gates, version: ProtocolVersion, out: &mut Outbox) {
        let Some(waiting) = &mut self.0 else { return };
        while let Some((_, ack)) = waiting.line.pop_front_if(|(gates, _)| gates.are_open(passed)) {
            waiting.ending -= usize::from(ack.ends_exchange());
            ack.encode(version, out);
        }
        if waiting.line.is_empty() {
            self.0 = None;
        }
    }
}

impl PendingAck {
    /// A SUBACK or UNSUBACK.
    pub fn of_filters(packet: Vec<u8>) -> Self {
        Self::Encoded(Box::new(EncodedAck { packet, ends_exchange: false }))
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP; with properties it is encoded at once.
    pub fn with_properties(ack: &Ack<'_>, version: ProtocolVersion) -> Self {
        if ack.properties.is_empty() {
            return Self::Ack(ack.kind, ack.packet_id, ack.reason);
        }
        let mut packet = Vec::new();
        ack.encode(version, &mut packet);
        let ends_exchange = ends_exchange(ack.kind, ack.reason);
        Self::Encoded(Box::new(EncodedAck { packet, ends_exchange }))
    }

    /// Whether it belongs to a QoS 2 exchange.
    pub fn is_of_qos2(&self) -> bool {
        match self {
            Self::Ack(kind, ..) => *kind != AckKind::PubAck,
            // PUBREC, PUBREL and PUBCOMP: 5, 6 and 7 in the first four bits.
            Self::Encoded(ack) => {
                ack.packet.first().is_some_and(|first| matches!(first >> 4, 5..=7))
            }
        }
    }

    /// Whether it says that a PUBLISH has been received.
    pub fn is_of_publish(&self) -> bool {
        match self {
            Self::Ack(kind, ..) => matches!(kind, AckKind::PubAck | AckKind::PubRec),
            // PUBACK and PUBREC: 4 and 5 in the first four bits.
            Self::Encoded(ack) => {
                ack.packet.first().is_some_and(|first| matches!(first >> 4, 4 | 5))
            }
        }
    }

    /// Whether it is the last answer to a PUBLISH.
    fn ends_exchange(&self) -> bool {
        match self {
            Self::Ack(kind, _, reason) => ends_exchange(*kind, *reason),
            Self::Encoded(ack) => ack.ends_exchange,
        }
    }

    fn encode(self, version: ProtocolVersion, out: &mut Outbox) {
        match self {
            Self::Ack(kind, id, reason) => Ack::new(kind, id, reason).encode(version, out.bytes()),
            Self::Encoded(ack) => out.bytes().extend_from_slice(&ack.packet),
        }
    }
}

/// A PUBREC ends the exchange when it tells of an error [MQTT-4.3.3-4].
fn ends_exchange(kind: AckKind, reason: ReasonCode) -> bool {
    match kind {
        AckKind::PubAck => true,
        AckKind::PubRec => reason.is_error(),
        AckKind::PubRel | AckKind::PubComp => false,
    }
}

#[cfg(test)]
mod tests {
    use agentmq_codec::{PropertiesBuf, Property, PropertyId};

    use super::*;

    #[test]
    fn acknowledgements_wait_for_their_ticket_and_keep_their_order() {
        let (mut acks, mut out) = (PendingAcks::default(), Outbox::default());
        let ack = |id| PendingAck::Ack(AckKind::PubAck, id, ReasonCode::Success);
        let gates = |commit, interest| Gates {
            commit: Ticket(commit),
            interest: Ticket(interest),
            ..Gates::default()
        };
        acks.push(gates(2, 0), ack(1), gates(1, 0), ProtocolVersion::V5, &mut out);
        acks.push(gates(0, 1), ack(2), gates(1, 0), ProtocolVersion::V5, &mut out);
        assert!(out.is_empty(), "the second may not overtake the first");
        assert_eq!((acks.len(), acks.ending()), (2, 2));
        acks.release(gates(1, 1), ProtocolVersion::V5, &mut out);
        assert!(out.is_empty(), "the first still waits for its commit");
        acks.release(gates(2, 0), ProtocolVersion::V5, &mut out);
        assert_eq!(acks.len(), 1, "the second waits for its interest");
        acks.release(gates(2, 1), ProtocolVersion::V5, &mut out);
        assert_eq!(out.bytes().as_slice(), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
        assert_eq!((acks.len(), acks.ending()), (0, 0));
    }

    #[test]
    fn every_gate_counts() {
        let gates =
            |commit, mail| Gates { commit: Ticket(commit), mail: Ticket(mail), ..Gates::default() };
        assert!(gates(1, 2).are_open(gates(1, 2)));
        assert!(!gates(1, 2).are_open(gates(9, 1)));
        assert!(!gates(2, 1).are_open(gates(1, 9)));
        let audited = |audit| Gates { audit: Ticket(audit), ..Gates::default() };
        assert!(audited(1).are_open(audited(1)));
        assert!(!audited(2).are_open(audited(1)));
        for (kind, is_of_publish) in [
            (AckKind::PubAck, true),
            (AckKind::PubRec, true),
            (AckKind::PubRel, false),
            (AckKind::PubComp, false),
        ] {
            let ack = Ack::new(kind, 7, ReasonCode::NotAuthorized);
            let plain = PendingAck::with_properties(&ack, ProtocolVersion::V5);
            let text = PropertiesBuf::new().with(Property::Text(PropertyId::ReasonString, "why"));
            let explained = Ack { properties: text.view(), ..ack };
            let explained = PendingAck::with_properties(&explained, ProtocolVersion::V5);
            assert_eq!(
                (plain.is_of_publish(), explained.is_of_publish()),
                (is_of_publish, is_of_publish)
            );
        }
    }

    #[test]
    fn an_acknowledgement_that_waits_is_small() {
        assert_eq!(size_of::<PendingAck>(), 16);
    }

    #[test]
    fn only_the_last_answer_to_a_publish_ends_its_exchange() {
        let (mut acks, mut out) = (PendingAcks::default(), Outbox::default());
        let mut push = |acks: &mut PendingAcks, kind, reason| {
            let ack = PendingAck::Ack(kind, 1, reason);
            let gates = |commit| Gates { commit: Ticket(commit), ..Gates::default() };
            acks.push(gates(2), ack, gates(1), ProtocolVersion::V5, &mut out);
        };
        for kind in [AckKind::PubRec, AckKind::PubRel, AckKind::PubComp] {
            push(&mut acks, kind, ReasonCode::Success);
        }
        assert_eq!(acks.ending(), 0);
        push(&mut acks, AckKind::PubRec, ReasonCode::NotAuthorized);
        assert_eq!(acks.ending(), 1);
        acks.clear();
        assert_eq!((acks.len(), acks.ending()), (0, 0));
    }

    #[test]
    fn an_explanation_changes_nothing_else() {
        let (version, gates) =
            (ProtocolVersion::V5, Gates { commit: Ticket(1), ..Gates::default() });
        let text = PropertiesBuf::new().with(Property::Text(PropertyId::ReasonString, "why"));
        let codes = [(AckKind::PubAck, 1), (AckKind::PubRec, 1), (AckKind::PubComp, 0)];
        for (kind, ending) in codes {
            let (mut acks, mut out) = (PendingAcks::default(), Outbox::default());
            let reason = ReasonCode::NotAuthorized;
            let ack = Ack { kind, packet_id: 7, reason, properties: text.view() };
            let pending = PendingAck::with_properties(&ack, version);
            acks.push(gates, pending, Gates::default(), version, &mut out);
            assert_eq!((acks.len(), acks.ending()), (1, ending));
            acks.release(gates, version, &mut out);
            let mut expected = Vec::new();
            ack.encode(version, &mut expected);
            assert_eq!((out.bytes().as_slice(), acks.ending()), (expected.as_slice(), 0));
        }
    }
}
