//! A client without manners, for [`crate::chaos`]: each act is drawn by lot.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use agentmq_testkit::codec::{
    Ack, AckKind, Connect, Disconnect, Packet, PropertiesBuf, Property, PropertyId, PropertyLimits,
    ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter,
    SubscriptionOptions, Unsubscribe, Will, frame,
};
use agentmq_testkit::{PATIENCE, reset};

/// Few, so that clients take each other's sessions over.
pub(crate) const CLIENT_IDS: [&str; 12] =
    ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11"];
pub(crate) const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b", "b/c", "c//d"];
const FILTERS: [&str; 10] =
    ["#", "+", "a/#", "a/+", "+/c", "b", "$share/g/a/#", "$share/g/#", "$share/h/b", "$SYS/#"];

/// SplitMix64: the same seed, the same throws.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of the numbers below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn qos(&mut self) -> QoS {
        self.of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    fn packet_id(&mut self) -> u16 {
        self.below(20) as u16 + 1
    }
}

/// One of them, connected.
#[derive(Debug)]
pub(crate) struct Rogue {
    stream: TcpStream,
    version: ProtocolVersion,
    arrived: Vec<u8>,
    /// It has sent half a CONNECT. Anything else could complete it to one with an identifier that
    /// nobody knows, whose session would rightly stay.
    is_stuck: bool,
}

impl Rogue {
    /// Connects, under an identifier that somebody else may have.
    pub(crate) fn arrive(port: u16, dice: &mut Dice) -> Option<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let version = dice.of(&[ProtocolVersion::V5, ProtocolVersion::V5, ProtocolVersion::V311]);
        let mut rogue = Self { stream, version, arrived: Vec::new(), is_stuck: false };
        let bytes = connect(version, dice);
        rogue.is_stuck = dice.one_in(20);
        let sent = if rogue.is_stuck { dice.below(bytes.len()) } else { bytes.len() };
        rogue.say(&bytes[..sent]).then_some(rogue)
    }

    /// Does something; false when it is gone after that.
    pub(crate) fn act(&mut self, dice: &mut Dice) -> bool {
        let act = if self.is_stuck { 88 + dice.below(12) } else { dice.below(100) };
        match act {
            0..20 => {
                let packet = subscribe(self.version, dice);
                self.say(&packet)
            }
            20..25 => {
                let mut bytes = Vec::new();
                let (id, filters) = (dice.packet_id(), [dice.of(&FILTERS), dice.of(&FILTERS)]);
                let none = PropertiesBuf::new();
                Unsubscribe::encode_parts(id, none.view(), filters, self.version, &mut bytes);
                self.say(&bytes)
            }
            25..60 => {
                let mut bytes = Vec::new();
                for _ in 0..=dice.below(4) {
                    bytes.extend(publish(self.version, dice));
                }
                self.say(&bytes)
            }
            60..75 => self.listen(dice),
            75..80 => {
                let kind =
                    dice.of(&[AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp]);
                let ack = Ack::new(kind, dice.packet_id(), ReasonCode::Success);
                self.send(&Packet::Ack(ack))
            }
            80..84 => self.send(&Packet::PingReq),
            84..86 => {
                let garbage: Vec<u8> = (0..dice.below(40)).map(|_| dice.next() as u8).collect();
                self.say(&garbage)
            }
            86..88 => {
                let bytes = publish(self.version, dice);
                let half = dice.below(bytes.len());
                self.say(&bytes[..half])
            }
            88..90 => self.stream.shutdown(Shutdown::Write).is_ok(),
            90..94 if self.is_stuck => true,
            90..92 => {
                let connect = connect(self.version, dice); // a second one
                self.say(&connect)
            }
            92..94 => {
                let reason = dice.of(&[ReasonCode::Success, ReasonCode::DisconnectWithWill]);
                self.send(&Packet::Disconnect(Disconnect::new(reason)));
                false
            }
            94..97 => {
                reset(self.stream.try_clone().unwrap());
                let _ = self.stream.shutdown(Shutdown::Both);
                false
            }
            _ => false, // dropped, with what it has not read
        }
    }

    fn send(&mut self, packet: &Packet<'_>) -> bool {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.say(&bytes)
    }

    fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads what is there and acknowledges some of it.
    fn listen(&mut self, dice: &mut Dice) -> bool {
        let mut buffer = [0; 64 * 1024];
        self.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => self.arrived.extend_from_slice(&buffer[..count]),
            Err(_) => return true,
        }
        while let Some(frame) = frame::cut(&self.arrived, usize::MAX).unwrap() {
            let bytes: Vec<u8> = self.arrived.drain(..frame.total).collect();
            if !dice.one_in(3) && !self.acknowledge(frame.first, &bytes[frame.body_at..]) {
                return false;
            }
        }
        true
    }

    fn acknowledge(&mut self, first: u8, body: &[u8]) -> bool {
        if first == CONNACK {
            return true; // in the version that the broker took half a CONNECT for
        }
        let packet = Packet::decode(first, body, self.version, &PropertyLimits::UNLIMITED);
        let (kind, id) = match packet.expect("the broker sends what it should") {
            Packet::Publish(it) if it.qos == QoS::AtLeastOnce => (AckKind::PubAck, it.packet_id),
            Packet::Publish(it) if it.qos == QoS::ExactlyOnce => (AckKind::PubRec, it.packet_id),
            Packet::Ack(ack) if ack.kind == AckKind::PubRec => (AckKind::PubRel, ack.packet_id),
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => (AckKind::PubComp, ack.packet_id),
            _ => return true,
        };
        self.send(&Packet::Ack(Ack::new(kind, id, ReasonCode::Success)))
    }
}

fn connect(version: ProtocolVersion, dice: &mut Dice) -> Vec<u8> {
    let clean_start = dice.one_in(2);
    // A session that nobody can name would stay.
    let may_be_assigned = version.is_v5() || clean_start;
    let client_id = if may_be_assigned && dice.one_in(8) { "" } else { dice.of(&CLIENT_IDS) };
    let expiry = if client_id.is_empty() { 0 } else { dice.of(&[0, 1, 600, u32::MAX]) };
    let mut properties = PropertiesBuf::new();
    let mut will_properties = PropertiesBuf::new();
    if version.is_v5() {
        properties.push(Property::U32(PropertyId::SessionExpiryInterval, expiry));
        let receive_maximum = dice.of(&[1, 3, 1_000]);
        properties.push(Property::U16(PropertyId::ReceiveMaximum, receive_maximum));
        let aliases = dice.of(&[0, 2, 10]);
        properties.push(Property::U16(PropertyId::TopicAliasMaximum, aliases));
        let delay = dice.of(&[0, 1]);
        will_properties.push(Property::U32(PropertyId::WillDelayInterval, delay));
    }
    let will = Will {
        qos: dice.qos(),
        retain: dice.one_in(4),
        topic: dice.of(&TOPICS),
        payload: b"will",
        properties: will_properties.view(),
    };
    let will = dice.one_in(2).then_some(will);
    let properties = properties.view();
    let mut bytes = Vec::new();
    Connect { version, client_id, clean_start, will, properties, ..Connect::default() }
        .encode(&mut bytes);
    bytes
}

fn subscribe(version: ProtocolVersion, dice: &mut Dice) -> Vec<u8> {
    let filters = [0; 2].map(|_| {
        let filter = dice.of(&FILTERS);
        let mut options = SubscriptionOptions::at(dice.qos());
        if version.is_v5() && !filter.starts_with("$share") {
            options.no_local = dice.one_in(3);
            options.retain_as_published = dice.one_in(2);
            options.retain_handling = dice.of(&[RetainHandling::Send, RetainHandling::SendIfNew]);
        }
        SubscribeFilter { filter, options }
    });
    let mut properties = PropertiesBuf::new();
    if version.is_v5() && dice.one_in(2) {
        let id = dice.below(100) as u32 + 1;
        properties.push(Property::VarInt(PropertyId::SubscriptionIdentifier, id));
    }
    let mut bytes = Vec::new();
    let (id, count) = (dice.packet_id(), 1 + dice.below(2));
    let filters = filters.into_iter().take(count);
    Subscribe::encode_parts(id, properties.view(), filters, version, &mut bytes);
    bytes
}

fn publish(version: ProtocolVersion, dice: &mut Dice) -> Vec<u8> {
    let qos = dice.qos();
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { dice.packet_id() };
    let (mut topic, mut properties) = (dice.of(&TOPICS), PropertiesBuf::new());
    if version.is_v5() && dice.one_in(4) {
        properties.push(Property::U16(PropertyId::TopicAlias, dice.of(&[1, 2, 3])));
        if dice.one_in(4) {
            topic = ""; // which may not be known
        }
    }
    if version.is_v5() && dice.one_in(4) {
        let expiry = dice.of(&[1, 100]);
        properties.push(Property::U32(PropertyId::MessageExpiryInterval, expiry));
    }
    let size = dice.of(&[0, 10, 200, 5_000]);
    let payload = &vec![b'x'; dice.below(size + 1)];
    let (retain, properties) = (dice.one_in(8), properties.view());
    let mut bytes = Vec::new();
    Publish { qos, packet_id, topic, payload, retain, properties, ..Publish::default() }
        .encode(version, &mut bytes);
    bytes
}

const CONNACK: u8 = 0x20;
