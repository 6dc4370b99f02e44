//! What one client may receive, by what it has sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentmq_codec::{
    Ack, AckKind, ConnAck, Connect, Packet, PropertyId as P, PropertyLimits, ProtocolVersion,
    Publish, QoS,
};
use agentmq_topic::{ReplyTopic, matches};

/// What was subscribed in a session: filters without their share prefix, and identifiers.
#[derive(Debug, Default, Clone)]
pub(crate) struct Subscribed {
    filters: BTreeSet<String>,
    identifiers: BTreeSet<u32>,
}

/// What was subscribed, by client identifier. What was unsubscribed stays: it may still be on its
/// way.
pub(crate) type Sessions = HashMap<String, Subscribed>;

/// The client's side of one connection.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) version: ProtocolVersion,
    pub(crate) client_id: String,
    pub(crate) phase: Phase,
    authenticates: bool,
    max_packet: usize,
    receive_maximum: usize,
    alias_maximum: u16,
    /// Version 3.1 does not tell whether there was a session.
    may_resume: bool,
    resumed: bool,
    aliases: BTreeMap<u16, String>,
    /// Publications of this connection that are not done with: QoS, and whether PUBREC was sent.
    pub(crate) in_flight: BTreeMap<u16, (QoS, bool)>,
    /// Answers that the server owes, by the first byte of the packet and its identifier. The
    /// numbers are those of the codes: 0 for packets that have none.
    owed: BTreeMap<(u8, u16), Vec<usize>>,
    released: BTreeSet<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Connected,
    /// DISCONNECT or a refusal came: nothing follows.
    Ended,
}

impl Receiver {
    /// Whoever sends the body of this first packet. It is called `anonymous` until the server names
    /// it, which version 3.1.1 does not.
    pub(crate) fn new(first: u8, body: &[u8], limits: &PropertyLimits, anonymous: String) -> Self {
        let mut receiver = Self {
            version: ProtocolVersion::V311,
            client_id: anonymous,
            phase: Phase::Connecting,
            authenticates: false,
            max_packet: usize::MAX,
            receive_maximum: usize::from(u16::MAX),
            alias_maximum: 0,
            may_resume: false,
            resumed: false,
            aliases: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            owed: BTreeMap::new(),
            released: BTreeSet::new(),
        };
        if first != 0x10 {
            return receiver;
        }
        match Connect::decode(body, limits) {
            Ok(connect) => {
                let number = |id| connect.properties.integer(id).map(|it| it as usize);
                receiver.version = connect.version;
                receiver.may_resume =
                    connect.version == ProtocolVersion::V31 && !connect.clean_start;
                if !connect.client_id.is_empty() {
                    connect.client_id.clone_into(&mut receiver.client_id);
                }
                receiver.authenticates = connect.properties.has(P::AuthenticationMethod);
                receiver.max_packet = number(P::MaximumPacketSize).unwrap_or(usize::MAX);
                let maximum = connect.properties.u16(P::ReceiveMaximum).unwrap_or(u16::MAX);
                receiver.receive_maximum = usize::from(maximum);
                receiver.alias_maximum = connect.properties.u16(P::TopicAliasMaximum).unwrap_or(0);
            }
            Err(refused) => receiver.version = refused.answer_in.unwrap_or_default(),
        }
        receiver
    }

    /// The client sends a packet after its CONNECT.
    pub(crate) fn sends(&mut self, packet: &Packet<'_>, sessions: &mut Sessions) {
        match packet {
            Packet::Publish(it) if it.qos == QoS::AtLeastOnce => self.owes(0x40, it.packet_id, 0),
            Packet::Publish(it) if it.qos == QoS::ExactlyOnce => self.owes(0x50, it.packet_id, 0),
            Packet::Ack(ack) => self.sends_ack(ack),
            Packet::Subscribe(it) => {
                self.owes(0x90, it.packet_id, it.filters().count());
                let subscribed = sessions.entry(self.client_id.clone()).or_default();
                subscribed.identifiers.extend(it.properties.subscription_identifiers());
                for filter in it.filters().map(|it| it.filter) {
                    let shared = filter.strip_prefix("$share/").and_then(|it| it.split_once('/'));
                    let filter = shared.map_or(filter, |(_, filter)| filter);
                    subscribed.filters.insert(filter.to_owned());
                }
            }
            Packet::Unsubscribe(it) => {
                let codes = if self.version.is_v5() { it.filters().count() } else { 0 };
                self.owes(0xB0, it.packet_id, codes);
            }
            Packet::PingReq => self.owes(0xD0, 0, 0),
            _ => {}
        }
    }

    fn sends_ack(&mut self, ack: &Ack<'_>) {
        let id = ack.packet_id;
        let flight = self.in_flight.get(&id).copied();
        match (ack.kind, flight) {
            (AckKind::PubAck, Some((QoS::AtLeastOnce, _)))
            | (AckKind::PubComp, Some((_, true))) => drop(self.in_flight.remove(&id)),
            (AckKind::PubRec, Some((QoS::ExactlyOnce, false))) if ack.reason.is_error() => {
                self.in_flight.remove(&id);
            }
            (AckKind::PubRec, _) if !ack.reason.is_error() => {
                if let Some((QoS::ExactlyOnce, received)) = self.in_flight.get_mut(&id) {
                    *received = true;
                }
                self.owes(0x62, id, 0);
            }
            (AckKind::PubRel, _) => self.owes(0x70, id, 0),
            _ => {}
        }
    }

    fn owes(&mut self, first: u8, id: u16, codes: usize) {
        self.owed.entry((first, id)).or_default().push(codes);
    }

    /// Whether the server has answered everything.
    pub(crate) fn is_answered(&self) -> bool {
        self.owed.is_empty()
    }

    /// The server has sent a packet.
    pub(crate) fn receives(&mut self, first: u8, body: &[u8], sessions: &mut Sessions) {
        let packet = Packet::decode(first, body, self.version, &PropertyLimits::UNLIMITED)
            .unwrap_or_else(|error| panic!("the router sent {first:#x} {body:?}: {error}"));
        let size = body.len() + if body.len() < 128 { 2 } else { 3 };
        assert!(size <= self.max_packet, "[MQTT-3.1.2-24]: {size} bytes of {packet:?}");
        assert_ne!(self.phase, Phase::Ended, "nothing follows the last packet: {packet:?}");
        if self.phase == Phase::Connecting {
            match &packet {
                Packet::ConnAck(connack) => self.accepted(connack, sessions),
                Packet::Auth(_) if self.authenticates => {}
                _ => panic!("before CONNACK: {packet:?} [MQTT-3.2.0-1]"),
            }
            return;
        }
        match &packet {
            Packet::Publish(publish) => self.publication(publish, sessions),
            Packet::Ack(ack) => self.answer(first, ack.packet_id, 0),
            Packet::SubAck(it) => self.answer(first, it.packet_id, it.reasons().count()),
            Packet::UnsubAck(it) => self.answer(first, it.packet_id, it.reasons().count()),
            Packet::PingResp => self.answer(first, 0, 0),
            Packet::Disconnect(_) if self.version.is_v5() => self.phase = Phase::Ended,
            Packet::Auth(_) if self.authenticates => {}
            _ => panic!("no server sends {packet:?} now"),
        }
    }

    fn accepted(&mut self, connack: &ConnAck<'_>, sessions: &mut Sessions) {
        if connack.reason.is_error() {
            assert!(!connack.session_present, "[MQTT-3.2.2-6]");
            self.phase = Phase::Ended;
            return;
        }
        if let Some(assigned) = connack.properties.text(P::AssignedClientIdentifier) {
            assigned.clone_into(&mut self.client_id);
        }
        self.resumed = connack.session_present || self.may_resume;
        if !self.resumed {
            sessions.insert(self.client_id.clone(), Subscribed::default());
        }
        self.phase = Phase::Connected;
    }

    fn publication(&mut self, publish: &Publish<'_>, sessions: &Sessions) {
        let alias = publish.properties.u16(P::TopicAlias);
        if let Some(alias) = alias {
            assert!(alias <= self.alias_maximum, "[MQTT-3.1.2-26]: alias {alias}");
            if !publish.topic.is_empty() {
                self.aliases.insert(alias, publish.topic.to_owned());
            }
        }
        let known = || self.aliases.get(&alias?).map(String::as_str);
        let named = Some(publish.topic).filter(|topic| !topic.is_empty());
        let topic = named.or_else(known).expect("a topic, or an alias that has one");
        let subscribed = sessions.get(&self.client_id).cloned().unwrap_or_default();
        assert!(
            subscribed.filters.iter().any(|filter| matches(filter, topic)),
            "{} never subscribed to {topic}",
            self.client_id
        );
        if let Some(reply) = ReplyTopic::parse(topic) {
            assert_eq!(reply.client_id, self.client_id, "an answer to somebody else");
        }
        for identifier in publish.properties.subscription_identifiers() {
            assert!(subscribed.identifiers.contains(&identifier), "{identifier}");
        }
        if publish.qos == QoS::AtMostOnce {
            return;
        }
        let id = publish.packet_id;
        assert!(!publish.dup || self.resumed, "[MQTT-4.4.0-1]: {id} again");
        let before = self.in_flight.insert(id, (publish.qos, false));
        assert_eq!(before, None, "[MQTT-2.2.1-4]: {id} is in use");
        let open = self.in_flight.len();
        assert!(open <= self.receive_maximum, "[MQTT-3.3.4-9]: {open} unacknowledged");
    }

    fn answer(&mut self, first: u8, id: u16, codes: usize) {
        if let Some(owed) = self.owed.get_mut(&(first, id)) {
            assert_eq!(owed.remove(0), codes, "codes of the answer to {id} [MQTT-3.8.4-5]");
            if owed.is_empty() {
                self.owed.remove(&(first, id));
            }
            return;
        }
        // [MQTT-4.4.0-1]
        let resent = first == 0x62 && self.resumed && self.released.insert(id);
        assert!(resent, "{first:#x} for {id} answers nothing");
    }
}
