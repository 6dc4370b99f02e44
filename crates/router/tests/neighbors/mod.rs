//! Several routers in one test, with mail between them that keeps its order from one router to
//! another and otherwise arrives when the test says so.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use agentmq_codec::{AckKind, Connect, ProtocolVersion, Publish, QoS, ReasonCode, frame};
use agentmq_identity::Open;
use agentmq_router::{
    ConnectionId, GroupHomes, Mail, Neighborhood, PORTION_BYTES, Place, PlaceSet, Router, Settings,
};
use agentmq_session::{CommitEngine, MemoryEngine, Time};

use self::ledger::Ledger;

pub mod ledger;

/// Routers, the mail between them, and the clients of each.
#[derive(Debug)]
pub struct Neighbors {
    pub routers: Vec<Router>,
    /// What each has recorded, where anything survives.
    pub ledgers: Vec<Ledger>,
    pub active: PlaceSet,
    pub mail: BTreeMap<(u8, u8), VecDeque<Mail>>,
    pub clients: BTreeMap<(u8, u32), Vec<Received>>,
    pub now: Time,
}

/// One packet that a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    ConnAck { session_present: bool },
    Publish { topic: String, payload: String, qos: u8, retain: bool, dup: bool, id: u16 },
    SubAck(u16),
    Ack(AckKind, u16),
    Refused(u16, ReasonCode),
    Other(u8),
}

/// Homes of groups in a table.
#[derive(Debug, Default)]
pub struct Homes {
    table: Mutex<HashMap<String, (Place, u32)>>,
}

impl GroupHomes for Homes {
    fn join(&self, text: &str, place: Place) -> Place {
        let mut table = self.table.lock().unwrap();
        let home = table.entry(text.to_owned()).or_insert((place, 0));
        home.1 += 1;
        home.0
    }

    fn leave(&self, text: &str) {
        let mut table = self.table.lock().unwrap();
        let home = table.get_mut(text).expect("a member leaves a group that has a home");
        home.1 -= 1;
        if home.1 == 0 {
            table.remove(text);
        }
    }
}

impl Neighbors {
    /// `count` routers, of which the first is active.
    pub fn new(count: u8, settings: Settings) -> Self {
        Self::with_engines(count, settings, |_| Box::new(MemoryEngine))
    }

    /// All routers active, each with a ledger that the test commits.
    pub fn durable(count: u8, settings: Settings) -> Self {
        let mut neighbors = Self::durable_of_which_one_is_active(count, settings);
        neighbors.activate_all();
        neighbors
    }

    pub fn durable_of_which_one_is_active(count: u8, settings: Settings) -> Self {
        let ledgers: Vec<Ledger> = (0..count).map(Ledger::new).collect();
        let engine = |number| ledgers[usize::from(number)].engine();
        let mut neighbors = Self::with_engines(count, settings, engine);
        neighbors.ledgers = ledgers;
        neighbors
    }

    fn with_engines(
        count: u8,
        settings: Settings,
        engine: impl Fn(u8) -> Box<dyn CommitEngine>,
    ) -> Self {
        let settings = Arc::new(Settings { retained_gap_ms: 0, ..settings });
        let retained_order = Arc::default();
        let group_homes: Arc<dyn GroupHomes> = Arc::new(Homes::default());
        let router = |number| {
            let entropy = u64::from(number);
            Router::new(Arc::clone(&settings), Arc::new(Open), engine(number), entropy).among(
                Neighborhood {
                    own: Place(number),
                    retained_order: Arc::clone(&retained_order),
                    group_homes: Arc::clone(&group_homes),
                    flapping: Arc::default(),
                    replicas: Arc::default(),
                },
            )
        };
        Self {
            routers: (0..count).map(router).collect(),
            ledgers: Vec::new(),
            active: PlaceSet::NONE.with(Place(0)),
            mail: BTreeMap::new(),
            clients: BTreeMap::new(),
            now: Time::from_millis(1000),
        }
    }

    /// All routers active and known to each other.
    pub fn all_active(count: u8, settings: Settings) -> Self {
        let mut neighbors = Self::new(count, settings);
        neighbors.activate_all();
        neighbors
    }

    fn activate_all(&mut self) {
        for number in 1..self.routers.len() as u8 {
            self.activate(number);
            self.settle();
        }
    }

    /// What a router has recorded so far becomes safe.
    pub fn commit(&mut self, number: u8) {
        self.ledgers[usize::from(number)].commit();
        self.routers[usize::from(number)].committed(self.now);
        self.pump(number);
    }

    /// The packet identifiers of the acknowledgements of a kind that a client got, in order.
    pub fn acks(&self, at: (u8, u32), kind: AckKind) -> Vec<u16> {
        let ack = |received: &Received| match received {
            Received::Ack(it, id) if *it == kind => Some(*id),
            _ => None,
        };
        self.clients[&at].iter().filter_map(ack).collect()
    }

    pub fn activate(&mut self, number: u8) {
        let older = self.active;
        self.active = older.with(Place(number));
        self.routers[usize::from(number)].activate(older);
        self.pump(number);
    }

    pub fn connect(&mut self, at: (u8, u32), client_id: &str, persistent: bool) {
        let mut bytes = Vec::new();
        let version = ProtocolVersion::V311;
        Connect { version, clean_start: !persistent, client_id, ..Connect::default() }
            .encode(&mut bytes);
        self.clients.insert(at, Vec::new());
        self.send(at, &bytes);
    }

    pub fn close(&mut self, at: (u8, u32)) {
        let now = self.now;
        self.routers[usize::from(at.0)].closed(ConnectionId(at.1), now);
        self.pump(at.0);
    }

    pub fn subscribe(&mut self, at: (u8, u32), id: u16, filter: &str, qos: u8) {
        let [high, low] = id.to_be_bytes();
        let mut body = vec![high, low, 0, filter.len() as u8];
        body.extend(filter.bytes());
        body.push(qos);
        let head = [0x82, body.len() as u8];
        self.send(at, &[&head[..], &body].concat());
    }

    pub fn unsubscribe(&mut self, at: (u8, u32), id: u16, filter: &str) {
        let [high, low] = id.to_be_bytes();
        let head = [0xA2, filter.len() as u8 + 4, high, low, 0, filter.len() as u8];
        self.send(at, &[&head[..], filter.as_bytes()].concat());
    }

    pub fn publish(&mut self, at: (u8, u32), topic: &str, payload: &str, qos: QoS, retain: bool) {
        let mut bytes = Vec::new();
        let payload = payload.as_bytes();
        Publish { qos, retain, topic, packet_id: 9, payload, ..Publish::default() }
            .encode(ProtocolVersion::V311, &mut bytes);
        self.send(at, &bytes);
    }

    pub fn publish_as(&mut self, at: (u8, u32), packet_id: u16, topic: &str, qos: QoS) {
        let mut bytes = Vec::new();
        let payload = packet_id.to_string();
        Publish { qos, topic, packet_id, payload: payload.as_bytes(), ..Publish::default() }
            .encode(ProtocolVersion::V311, &mut bytes);
        self.send(at, &bytes);
    }

    pub fn acknowledge(&mut self, at: (u8, u32), kind: AckKind, id: u16) {
        let mut bytes = Vec::new();
        agentmq_codec::Ack::new(kind, id, ReasonCode::Success)
            .encode(ProtocolVersion::V311, &mut bytes);
        self.send(at, &bytes);
    }

    /// Delivers the next mail from one router to another; false when there is none.
    pub fn deliver(&mut self, from: u8, to: u8) -> bool {
        let Some(mail) = self.mail.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        self.routers[usize::from(to)].receive(Place(from), mail, self.now);
        self.pump(to);
        true
    }

    /// Delivers all mail.
    pub fn settle(&mut self) {
        let pairs = |it: &Self| it.mail.keys().copied().collect::<Vec<_>>();
        while pairs(self).into_iter().any(|(from, to)| self.deliver(from, to)) {}
    }

    pub fn is_ready(&self, number: u8) -> bool {
        self.active.has(Place(number)) && self.routers[usize::from(number)].is_welcomed()
    }

    /// The payloads that a client got on topics other than `$`, in order.
    pub fn payloads(&self, at: (u8, u32)) -> Vec<String> {
        let publish = |received: &Received| match received {
            Received::Publish { payload, .. } => Some(payload.clone()),
            _ => None,
        };
        self.clients[&at].iter().filter_map(publish).collect()
    }

    pub fn has_suback(&self, at: (u8, u32), id: u16) -> bool {
        self.clients[&at].contains(&Received::SubAck(id))
    }

    pub fn send(&mut self, at: (u8, u32), bytes: &[u8]) {
        let frame = frame::cut(bytes, 1 << 20).unwrap().unwrap();
        let body = &bytes[frame.body_at..frame.total];
        let router = &mut self.routers[usize::from(at.0)];
        router.packet(ConnectionId(at.1), frame.first, body, self.now);
        self.pump(at.0);
    }

    /// Takes everything out of a router: bytes to its clients, mail to the others.
    pub fn pump(&mut self, number: u8) {
        let router = &mut self.routers[usize::from(number)];
        let (mut dirty, mut mail) = (Vec::new(), Vec::new());
        loop {
            router.tick(self.now);
            router.dirty(&mut dirty);
            router.take_mail(&mut mail);
            for (to, mail) in mail.drain(..) {
                assert_ne!(to, Place(number), "no mail to oneself");
                self.mail.entry((number, to.0)).or_default().push_back(mail);
            }
            router.submit(self.now);
            if dirty.is_empty() {
                return;
            }
            for id in dirty.drain(..) {
                let Some(outbox) = router.outbox(id) else { continue };
                let mut bytes = Vec::new();
                while !outbox.is_empty() {
                    let mut slices = [IoSlice::new(&[]); 16];
                    let used = outbox.slices(&mut slices);
                    bytes.extend(slices[..used].iter().flat_map(|slice| slice.iter().copied()));
                    outbox.consume(slices[..used].iter().map(|slice| slice.len()).sum());
                }
                if router.flushed(id, bytes.len()) {
                    router.resume_queue(id, PORTION_BYTES, self.now);
                }
                self.clients.entry((number, id.0)).or_default().extend(packets(&bytes));
                if router.is_closing(id) {
                    router.closed(id, self.now);
                }
            }
        }
    }
}

fn packets(mut bytes: &[u8]) -> Vec<Received> {
    let mut packets = Vec::new();
    while let Some(frame) = frame::cut(bytes, 1 << 20).unwrap() {
        let body = &bytes[frame.body_at..frame.total];
        packets.push(packet(frame.first, body));
        bytes = &bytes[frame.total..];
    }
    packets
}

fn packet(first: u8, body: &[u8]) -> Received {
    let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match first >> 4 {
        2 => Received::ConnAck { session_present: body[0] & 1 == 1 },
        3 => {
            let topic_end = 2 + usize::from(number(0));
            let qos = first >> 1 & 3;
            let id = if qos > 0 { number(topic_end) } else { 0 };
            let payload_at = topic_end + if qos > 0 { 2 } else { 0 };
            Received::Publish {
                topic: String::from_utf8(body[2..topic_end].to_vec()).unwrap(),
                payload: String::from_utf8(body[payload_at..].to_vec()).unwrap(),
                qos,
                retain: first & 1 == 1,
                dup: first & 8 != 0,
                id,
            }
        }
        9 => Received::SubAck(number(0)),
        4 | 5 if body.get(2).is_some_and(|reason| *reason >= 0x80) => {
            Received::Refused(number(0), ReasonCode::from_u8(body[2]).unwrap())
        }
        4 => Received::Ack(AckKind::PubAck, number(0)),
        5 => Received::Ack(AckKind::PubRec, number(0)),
        6 => Received::Ack(AckKind::PubRel, number(0)),
        7 => Received::Ack(AckKind::PubComp, number(0)),
        kind => Received::Other(kind),
    }
}
