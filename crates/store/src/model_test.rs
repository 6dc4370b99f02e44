//! Random changes through engine and committer on a disk that crashes, with tiny segments: what
//! survives is what a simple model says, at a point not before the newest complete ticket.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;

use agentmq_codec::{Properties, ProtocolVersion, QoS, SubscriptionOptions};
use agentmq_log::{Fault, SimulatedDisk};
use agentmq_session::{
    Author, Change, CommitEngine, Condition, Durable, Recall, Recipient, RecordedMessage, Session,
    SessionKey, Ticket, Time, WillUnderWay,
};

use crate::bodies::Reading;
use crate::record::{author_of, publish_of};
use crate::state::State;
use crate::{Clocks, Committer, DiskEngine, OpenedStore, Settings, Watermarks};

/// What the store should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    sessions: BTreeMap<u64, ModelSession>,
    /// Payloads and authors.
    retained: BTreeMap<String, (Vec<u8>, Option<Author>)>,
    /// Payloads of wills under way, and whose they are.
    wills: BTreeMap<u64, (Vec<u8>, Option<Author>)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ModelSession {
    client_id: String,
    expiry: u32,
    subscriptions: BTreeMap<String, u32>,
    /// Payload and packet identifier, by ordinal.
    entries: BTreeMap<u64, (Vec<u8>, u16)>,
    /// In the order of their PUBRECs.
    releasing: Vec<u16>,
    arrived: BTreeSet<u16>,
}

impl Model {
    fn of(state: &State, disk: &SimulatedDisk) -> Self {
        let read = |id: &u64| {
            let read = Reading::new(disk).message_and_author(&state.messages[id], None);
            let (message, author) = read.expect("what counts can be read");
            (message.payload().to_vec(), author)
        };
        let sessions = state.sessions.iter().map(|(key, it)| {
            let mut releasing: Vec<_> =
                it.releasing.iter().map(|(id, it)| (it.order, *id)).collect();
            releasing.sort_unstable();
            let entries = it
                .entries
                .iter()
                .map(|(ordinal, entry)| (*ordinal, (read(&entry.message).0, entry.packet_id)));
            let subscriptions =
                it.subscriptions.iter().map(|(filter, it)| (filter.to_string(), it.id));
            let session = ModelSession {
                client_id: it.client_id.to_string(),
                expiry: it.expiry,
                subscriptions: subscriptions.collect(),
                entries: entries.collect(),
                releasing: releasing.into_iter().map(|(_, id)| id).collect(),
                arrived: it.arrived.keys().copied().collect(),
            };
            (key.0, session)
        });
        let retained = state.retained.iter().map(|(topic, id)| (topic.to_string(), read(id)));
        let wills = state.wills.iter().map(|(key, it)| {
            let packet = &it.packet;
            let payload = publish_of(packet).expect("a message").payload.to_vec();
            (key.0, (payload, author_of(&it.author)))
        });
        let wills = wills.collect();
        Self { sessions: sessions.collect(), retained: retained.collect(), wills }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A run of the store, with the states that it has gone through.
struct World {
    model: Model,
    /// The model after each record of this run, and before the first.
    states: Vec<Model>,
    /// How many of the states each ticket covers.
    covered: Vec<usize>,
    has_small: bool,
    engine: DiskEngine,
    committer: Committer<SimulatedDisk>,
    ordinals: BTreeMap<u64, u64>,
    payloads: u64,
}

impl World {
    fn open(disk: &SimulatedDisk, seed: u64, syncs: bool) -> (Self, Model) {
        let settings = Settings {
            folder: PathBuf::new(),
            syncs,
            segment_bytes: 2048,
            seed,
            watermarks: Watermarks::default(),
        };
        let clocks = Clocks { now: Time::ZERO, wall: 0 };
        let log = agentmq_log::Settings { segment_bytes: 2048, reserve_bytes: 0, seed };
        let inner = crate::store::Settings { log, syncs };
        let (store, recovered) =
            crate::store::Store::open(disk.clone(), inner).expect("a store always opens");
        assert_eq!(recovered.damage, [], "a crash is no damage");
        let model = Model::of(&store.state(), disk);
        store.state().assert_exact();
        drop(store);
        let opened = OpenedStore::open(disk.clone(), &settings, clocks).expect("a store");
        let (committer, mut engines) = opened.by_hand(vec![Box::new(|| {})]);
        let newest = |session: &ModelSession| session.entries.keys().max().copied();
        let ordinals = model.sessions.iter().filter_map(|(key, it)| Some((*key, newest(it)?)));
        let world = Self {
            ordinals: ordinals.collect(),
            model: model.clone(),
            states: vec![model.clone()],
            covered: vec![1],
            has_small: false,
            engine: engines.remove(0),
            committer,
            payloads: 0,
        };
        (world, model)
    }

    /// Everything that is committed and waits can be read back, wherever cleaning has put it.
    fn read_back(&mut self) {
        let lines: Vec<(SessionKey, Vec<u64>)> = {
            let state = self.committer.state();
            let lines = state.sessions.iter();
            lines.map(|(key, it)| (*key, it.entries.keys().copied().collect())).collect()
        };
        for (key, ordinals) in lines {
            let recalls = self.engine.recall(key, &ordinals);
            assert_eq!(recalls.len(), ordinals.len());
            for (ordinal, recall) in ordinals.iter().zip(recalls) {
                let Recall::Message(recalled) = recall else { panic!("{key:?}: {recall:?}") };
                let expected = self.model.sessions.get(&key.0).map(|it| &it.entries);
                if let Some((payload, _)) = expected.and_then(|it| it.get(ordinal)) {
                    assert_eq!(recalled.message.payload(), payload, "{key:?} {ordinal}");
                }
            }
        }
    }

    fn note(&mut self) {
        self.states.push(self.model.clone());
    }

    fn submit(&mut self) {
        if std::mem::take(&mut self.has_small) {
            self.note();
        }
        let has_records = self.engine.has_records();
        self.engine.submit(Time::ZERO);
        if has_records {
            self.covered.push(self.states.len());
        }
    }

    fn change(&mut self, random: &mut Random) {
        let keys: Vec<u64> = self.model.sessions.keys().copied().collect();
        if keys.len() < 4 && random.below(3) == 0 || keys.is_empty() {
            return self.session(None, random);
        }
        let key = keys[random.below(keys.len())];
        let session = SessionKey(key);
        let packet_id = random.below(6) as u16 + 1;
        let filter = format!("filter/{}", random.below(5));
        let known = self.model.sessions.get_mut(&key).expect("there");
        let in_flight = known.entries.iter().find(|(_, it)| it.1 == packet_id).map(|it| *it.0);
        let is_releasing = known.releasing.contains(&packet_id);
        match random.below(14) {
            0 => return self.session(Some(key), random),
            1 if random.below(4) == 0 => {
                self.engine.record(Change::Ended(session));
                self.model.sessions.remove(&key);
            }
            2 => {
                let (id, options) =
                    (random.below(9) as u32, SubscriptionOptions::at(QoS::AtLeastOnce));
                let filter = &*filter;
                self.engine.record(Change::Subscribed { session, filter, options, id });
                known.subscriptions.insert(filter.into(), id);
            }
            3 => {
                self.engine.record(Change::Unsubscribed { session, filter: &filter });
                known.subscriptions.remove(&filter);
            }
            4 => {
                let waiting = known.entries.iter_mut().find(|(_, it)| it.1 == 0);
                let Some((ordinal, entry)) = waiting.filter(|_| in_flight.is_none()) else {
                    return;
                };
                if is_releasing {
                    return;
                }
                entry.1 = packet_id;
                self.engine.record(Change::Sent { session, ordinal: *ordinal, packet_id });
            }
            5 => {
                let waiting = known.entries.keys().next().copied();
                let Some(ordinal) = waiting else { return };
                self.engine.record(Change::Dropped { session, ordinal });
                known.entries.remove(&ordinal);
            }
            6 => {
                if in_flight.is_none() && !is_releasing {
                    return;
                }
                self.engine.record(Change::Received { session, packet_id });
                in_flight.map(|ordinal| known.entries.remove(&ordinal));
                if !is_releasing {
                    known.releasing.push(packet_id);
                }
            }
            7 => {
                self.engine.record(Change::Completed { session, packet_id });
                in_flight.map(|ordinal| known.entries.remove(&ordinal));
                known.releasing.retain(|id| *id != packet_id);
            }
            8 => {
                self.engine.record(Change::Released { session, packet_id });
                known.arrived.remove(&packet_id);
            }
            9 => self.will(session, random),
            10 => {
                let Some(key) = self.model.wills.keys().next().copied() else { return };
                let session = SessionKey(key);
                self.engine.record(Change::Arrived { session, packet_id: 0 });
                self.model.wills.remove(&key);
            }
            _ => return self.message(random),
        }
        self.has_small = true;
    }

    /// A will is put on its way, or on its way again.
    fn will(&mut self, session: SessionKey, random: &mut Random) {
        let under_way = self.model.wills.keys().next().copied().map(SessionKey);
        let will_of = under_way.filter(|_| random.below(4) == 0).unwrap_or(session);
        self.model.wills.remove(&will_of.0);
        self.payloads += 1;
        let mut payload = format!("{} ", self.payloads).into_bytes();
        payload.resize(payload.len() + random.below(200), b'.');
        let (key, author) = (self.engine.new_key(), author(random));
        self.engine.record(Change::WillUnderWay(&WillUnderWay {
            key,
            will_of,
            client_id: "client",
            message: &RecordedMessage {
                topic: "will",
                payload: &payload,
                properties: Properties::EMPTY,
                qos: QoS::ExactlyOnce,
                retain: false,
                expires_at: None,
                recipients: &[],
                is_retained: false,
                author: author.as_ref(),
                arrived: None,
                depends_on: None,
                will_of: SessionKey::NONE,
            },
        }));
        self.model.wills.insert(key.0, (payload, author));
    }

    fn session(&mut self, key: Option<u64>, random: &mut Random) {
        let key = key.unwrap_or_else(|| self.engine.new_key().0);
        let client_id = format!("client-{key}");
        let mut session = Session::new(client_id.as_str().into(), 0, ProtocolVersion::V5);
        session.expiry = random.below(1000) as u32 + 1;
        let exchanges = Ticket::default();
        session.durable = Some(Box::new(Durable {
            key: SessionKey(key),
            next_ordinal: 0,
            exchanges,
            posted: exchanges,
        }));
        self.engine.record(Change::Session(&session));
        let known = self.model.sessions.entry(key).or_default();
        (known.client_id, known.expiry) = (client_id, session.expiry);
        self.has_small = true;
    }

    fn message(&mut self, random: &mut Random) {
        if std::mem::take(&mut self.has_small) {
            self.note();
        }
        self.payloads += 1;
        let mut payload = format!("{} ", self.payloads).into_bytes();
        payload.resize(payload.len() + random.below(200), b'.');
        let is_retained = random.below(3) == 0;
        if is_retained && random.below(4) == 0 {
            payload.clear();
        }
        let topic = format!("topic/{}", random.below(4));
        let keys: Vec<u64> = self.model.sessions.keys().copied().collect();
        let mut recipients = Vec::new();
        for key in &keys {
            let known = self.model.sessions.get_mut(key).expect("there");
            if random.below(2) == 0 || known.entries.len() > 8 {
                continue;
            }
            let newest = known.entries.keys().next_back().copied().unwrap_or_default();
            let ordinal = self.ordinals.entry(*key).or_default();
            *ordinal = newest.max(*ordinal) + 1;
            let packet_id = random.below(6) as u16 + 1;
            let is_free = !known.releasing.contains(&packet_id)
                && known.entries.values().all(|it| it.1 != packet_id);
            let packet_id = if is_free { packet_id } else { 0 };
            known.entries.insert(*ordinal, (payload.clone(), packet_id));
            recipients.push(Recipient {
                session: SessionKey(*key),
                ordinal: *ordinal,
                packet_id,
                qos: QoS::AtLeastOnce,
                retain: false,
                ids: None,
                group: None,
            });
        }
        let arrived = (random.below(3) == 0).then(|| {
            let key = keys[random.below(keys.len())];
            let packet_id = random.below(6) as u16 + 1;
            self.model.sessions.get_mut(&key).expect("there").arrived.insert(packet_id);
            (SessionKey(key), packet_id)
        });
        let author = author(random).filter(|_| is_retained);
        self.engine.record(Change::Message(&RecordedMessage {
            topic: &topic,
            payload: &payload,
            properties: Properties::EMPTY,
            qos: QoS::AtLeastOnce,
            retain: is_retained,
            expires_at: None,
            recipients: &recipients,
            is_retained,
            author: author.as_ref(),
            arrived,
            depends_on: None,
            will_of: SessionKey::NONE,
        }));
        match (is_retained, payload.is_empty()) {
            (true, true) => drop(self.model.retained.remove(&topic)),
            (true, false) => drop(self.model.retained.insert(topic, (payload, author))),
            _ => {}
        }
        self.note();
    }
}

/// Somebody, or nobody who is known.
fn author(random: &mut Random) -> Option<Author> {
    let principal = (random.below(2) == 0).then(|| "ada".into());
    let client_id = format!("client-{}", random.below(3)).into();
    (random.below(3) > 0).then_some(Author { client_id, principal })
}

fn run(seed: u64, syncs: bool) {
    let disk = SimulatedDisk::default();
    let mut random = Random(seed);
    let (mut world, _) = World::open(&disk, seed, syncs);
    for life in 0..4 {
        if random.below(3) == 0 {
            let kinds = [
                Fault::Write(ErrorKind::StorageFull),
                Fault::HalfWrite(ErrorKind::StorageFull),
                Fault::Create(ErrorKind::StorageFull),
                Fault::Sync(ErrorKind::Other),
            ];
            disk.plan(random.below(30) as u64, kinds[random.below(4)]);
        }
        let steps = random.below(400);
        for _ in 0..steps {
            match random.below(10) {
                0..=5 => world.change(&mut random),
                6..=7 => world.submit(),
                8 => {
                    world.committer.step();
                    world.committer.state().assert_exact();
                    world.read_back();
                }
                _ => world.committer.look_again(),
            }
        }
        // The power fails with a commit at work, or the process is killed between two.
        let is_power = random.below(2) == 0;
        if is_power {
            disk.power_for(random.below(8) as u64);
            world.submit();
            world.committer.step();
        }
        let completed = world.engine.completed().0 as usize;
        let survives = if syncs || !is_power { world.covered[completed] } else { 1 };
        let states = std::mem::take(&mut world.states);
        drop(world);
        if is_power {
            disk.crash(&mut || random.next());
        } else {
            disk.forget_faults();
        }
        let (next, found) = World::open(&disk, seed ^ (life + 1) << 32, syncs);
        let at = states.iter().rposition(|state| *state == found);
        let Some(at) = at else { panic!("seed {seed}: a state that never was: {found:#?}") };
        assert!(at + 1 >= survives, "seed {seed}: state {at}, and {survives} were acknowledged");
        world = next;
    }
}

#[test]
fn what_survives_is_what_was_recorded() {
    for seed in 0..200 {
        run(seed, true);
    }
}

/// Without syncs a power loss may cost the newest, and never mixes old with new.
#[test]
fn without_syncs_a_power_loss_costs_the_newest_only() {
    for seed in 0..200 {
        run(seed, false);
    }
}

#[test]
fn a_failed_writer_says_so() {
    let disk = SimulatedDisk::default();
    let (mut world, _) = World::open(&disk, 1, true);
    disk.plan(0, Fault::Sync(ErrorKind::Other));
    // The first sync belongs to a new file, which may be tried again.
    let mut random = Random(1);
    for _ in 0..3 {
        disk.plan(0, Fault::Sync(ErrorKind::Other));
        world.session(None, &mut random);
        world.submit();
        world.committer.step();
    }
    assert_ne!(world.engine.condition(), Condition::Good);
}
