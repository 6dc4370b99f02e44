//! A client that follows the standard: it keeps its session while it is away, sends again what is
//! not acknowledged, and knows which QoS 2 messages it has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use agentmq_codec::{
    Ack, AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, PropertyLimits,
    ProtocolVersion, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions,
    Will, frame,
};

/// A packet that the broker has sent and the client has not read yet.
pub(crate) type Sent = (u8, Vec<u8>);

#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) filters: Vec<(&'static str, QoS)>,
    pub(crate) is_connected: bool,
    /// Session Expiry Interval of its newest connection.
    pub(crate) expiry: u32,
    /// It remembers a session; without one it must begin anew [MQTT-3.2.2-4].
    pub(crate) has_session: bool,
    /// Its session has outlived, or will outlive, its connection.
    pub(crate) must_exist: bool,
    /// CONNACK has come, and what was open has been sent again.
    pub(crate) is_accepted: bool,
    pub(crate) is_subscribed: bool,
    pub(crate) inbox: VecDeque<Sent>,
    /// Publications that are not over, by packet identifier.
    pub(crate) open: BTreeMap<u16, Publication>,
    /// The order in which they were first sent.
    pub(crate) order: Vec<u16>,
    pub(crate) next_id: u16,
    /// QoS 2 identifiers received and not released.
    pub(crate) received: BTreeSet<u16>,
    /// What the application got: topic, payload, QoS.
    pub(crate) delivered: Vec<Delivered>,
    /// How much it had got when each of its sessions began.
    pub(crate) sessions: Vec<usize>,
    /// How often it has connected with a will.
    pub(crate) wills: u32,
    /// The terms of its newest will.
    pub(crate) will: WillTerms,
    /// Something that stands behind the CONNECT in the broker's log has been acknowledged.
    pub(crate) is_will_safe: bool,
    /// First sent on this connection.
    pub(crate) new: BTreeSet<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
}

#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// PUBREC has come.
    pub(crate) is_received: bool,
}

/// When a will is due, and how.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WillTerms {
    pub(crate) qos: QoS,
    /// In seconds.
    pub(crate) delay: u32,
}

/// What a packet from the broker has brought about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    /// The broker has taken over this publication.
    Acknowledged(Vec<u8>),
}

impl Client {
    pub(crate) fn connect(&mut self, clean_start: bool, expiry: u32, will: WillTerms) -> Vec<u8> {
        self.is_connected = true;
        (self.expiry, self.will) = (expiry, will);
        if clean_start {
            self.must_exist = false;
            self.begin_anew(); // [MQTT-3.1.2-4]
        }
        self.is_will_safe = false;
        self.is_accepted = false;
        self.new.clear();
        self.inbox.clear();
        self.wills += 1;
        let expiry = Property::U32(PropertyId::SessionExpiryInterval, expiry);
        let properties = PropertiesBuf::new().with(expiry);
        let payload = format!("{}-{}", self.id, self.wills);
        let topic = format!("will/{}", self.id);
        let delay = Property::U32(PropertyId::WillDelayInterval, will.delay);
        let delay = PropertiesBuf::new().with(delay);
        let will = Will {
            topic: &topic,
            payload: payload.as_bytes(),
            qos: will.qos,
            retain: false,
            properties: delay.view(),
        };
        let connect = Connect {
            version: ProtocolVersion::V5,
            client_id: &self.id,
            clean_start,
            will: Some(will),
            properties: properties.view(),
            ..Connect::default()
        };
        encode(&Packet::Connect(Box::new(connect)))
    }

    /// The connection is gone.
    pub(crate) fn disconnect(&mut self) {
        self.is_connected = false;
        self.inbox.clear();
        if self.expiry <= SHORT {
            self.must_exist = false;
        }
        if self.expiry == 0 {
            self.has_session = false;
            self.is_subscribed = false;
        }
    }

    pub(crate) fn publish(&mut self, publication: Publication) -> Vec<u8> {
        loop {
            self.next_id = self.next_id % 200 + 1;
            if !self.open.contains_key(&self.next_id) {
                break;
            }
        }
        let id = self.next_id;
        self.open.insert(id, publication);
        self.new.insert(id);
        self.order.push(id);
        self.packet(id, false)
    }

    fn packet(&self, id: u16, dup: bool) -> Vec<u8> {
        let it = &self.open[&id];
        if it.is_received {
            return encode(&Packet::Ack(Ack::new(AckKind::PubRel, id, ReasonCode::Success)));
        }
        encode(&Packet::Publish(Publish {
            dup,
            qos: it.qos,
            retain: it.retain,
            topic: &it.topic,
            packet_id: id,
            payload: &it.payload,
            ..Publish::default()
        }))
    }

    /// Reads one packet; returns what it answers.
    pub(crate) fn read(&mut self, (first, body): &Sent) -> (Vec<u8>, Event) {
        let limits = PropertyLimits::UNLIMITED;
        let packet = Packet::decode(*first, body, ProtocolVersion::V5, &limits);
        match packet.expect("the broker sends packets") {
            Packet::ConnAck(packet) => {
                assert_eq!(packet.reason, ReasonCode::Success);
                (self.connected(packet.session_present), Event::Nothing)
            }
            Packet::SubAck(packet) => {
                if packet.reasons().any(ReasonCode::is_error) {
                    return (Vec::new(), Event::Nothing); // the disk is full: next time
                }
                self.is_subscribed = true;
                self.must_exist = true;
                self.is_will_safe = true;
                (Vec::new(), Event::Nothing)
            }
            Packet::Publish(publish) => (self.deliver(&publish), Event::Nothing),
            Packet::Ack(ack) => self.acknowledged(&ack),
            Packet::Disconnect(_) => (Vec::new(), Event::Nothing),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn connected(&mut self, session_present: bool) -> Vec<u8> {
        let mut out = Vec::new();
        self.is_accepted = true;
        self.has_session = true;
        if !session_present {
            assert!(!self.must_exist, "the session of {} is gone", self.id);
            self.begin_anew();
        }
        if !self.is_subscribed && !self.filters.is_empty() {
            let filters = self.filters.iter().map(|(filter, qos)| SubscribeFilter {
                filter,
                options: SubscriptionOptions::at(*qos),
            });
            let none = PropertiesBuf::new();
            Subscribe::encode_parts(1000, none.view(), filters, ProtocolVersion::V5, &mut out);
        }
        for id in self.order.clone() {
            out.extend(self.packet(id, true));
        }
        out
    }

    /// Nothing is left of an earlier session.
    fn begin_anew(&mut self) {
        self.is_subscribed = false;
        self.received.clear();
        self.sessions.push(self.delivered.len());
        // There is nothing to release.
        self.open.values_mut().for_each(|it| it.is_received = false);
    }

    fn deliver(&mut self, publish: &Publish<'_>) -> Vec<u8> {
        let delivered = Delivered {
            topic: publish.topic.into(),
            payload: publish.payload.into(),
            qos: publish.qos,
        };
        let id = publish.packet_id;
        match publish.qos {
            QoS::AtMostOnce => {
                self.delivered.push(delivered);
                Vec::new()
            }
            QoS::AtLeastOnce => {
                self.delivered.push(delivered);
                encode(&Packet::Ack(Ack::new(AckKind::PubAck, id, ReasonCode::Success)))
            }
            QoS::ExactlyOnce => {
                if self.received.insert(id) {
                    self.delivered.push(delivered);
                }
                encode(&Packet::Ack(Ack::new(AckKind::PubRec, id, ReasonCode::Success)))
            }
        }
    }

    fn acknowledged(&mut self, ack: &Ack<'_>) -> (Vec<u8>, Event) {
        let id = ack.packet_id;
        match ack.kind {
            AckKind::PubRel => {
                self.received.remove(&id);
                let answer = Ack::new(AckKind::PubComp, id, ReasonCode::Success);
                (encode(&Packet::Ack(answer)), Event::Nothing)
            }
            AckKind::PubAck => {
                let Some(it) = self.open.remove(&id) else { return (Vec::new(), Event::Nothing) };
                self.order.retain(|other| *other != id);
                let is_kept = !ack.reason.is_error();
                // What nobody keeps is acknowledged when the disk has failed, too.
                let has_keepers = !it.topic.starts_with("news/");
                self.is_will_safe |= is_kept && has_keepers && self.new.contains(&id);
                let event = if is_kept { Event::Acknowledged(it.payload) } else { Event::Nothing };
                (Vec::new(), event)
            }
            AckKind::PubRec => {
                if ack.reason.is_error() {
                    self.open.remove(&id);
                    self.order.retain(|other| *other != id);
                    return (Vec::new(), Event::Nothing);
                }
                let Some(it) = self.open.get_mut(&id) else { return (Vec::new(), Event::Nothing) };
                it.is_received = true;
                self.is_will_safe |= self.new.contains(&id);
                let event = Event::Acknowledged(it.payload.clone());
                (self.packet(id, false), event)
            }
            AckKind::PubComp => {
                self.open.remove(&id);
                self.order.retain(|other| *other != id);
                (Vec::new(), Event::Nothing)
            }
        }
    }
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(ProtocolVersion::V5, &mut bytes);
    bytes
}

/// The packets of a stream.
pub(crate) fn packets(mut bytes: &[u8]) -> Vec<Sent> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let cut = frame::cut(bytes, usize::MAX).expect("frames").expect("whole ones");
        all.push((cut.first, bytes[cut.body_at..cut.total].to_vec()));
        bytes = &bytes[cut.total..];
    }
    all
}

/// Seconds after which a session may be over when its client comes back.
pub(crate) const SHORT: u32 = 1;
