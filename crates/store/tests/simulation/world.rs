//! The simulated world: one broker, its disk, its clients, and what happens to them.

use std::io::{ErrorKind, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use agentmq_codec::QoS;
use agentmq_identity::Open;
use agentmq_log::{Fault, SimulatedDisk};
use agentmq_router::{ConnectionId, PORTION_BYTES, Router};
use agentmq_session::Time;
use agentmq_store::{Clocks, Committer, OpenedStore, Settings, Waker};

use crate::checker::Ledger;
use crate::client::{Client, Event, Publication, packets};
use crate::random::Random;

pub(crate) struct World {
    disk: SimulatedDisk,
    broker: Option<Broker>,
    clients: Vec<Client>,
    ledger: Ledger,
    /// Milliseconds since the world began; clocks begin anew with each run of the broker.
    now: u64,
    started: u64,
    seed: u64,
    sequence: u32,
}

struct Broker {
    router: Router,
    committer: Committer<SimulatedDisk>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut clients: Vec<Client> = Vec::new();
        for number in 0..PUBLISHERS {
            clients.push(Client { id: format!("publisher-{number}"), ..Client::default() });
        }
        for (number, qos) in
            [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce].into_iter().enumerate()
        {
            let filters = vec![("jobs/#", qos), ("will/+", qos)];
            clients.push(Client {
                id: format!("subscriber-{number}"),
                filters,
                ..Client::default()
            });
        }
        Self {
            disk: SimulatedDisk::default(),
            broker: None,
            clients,
            ledger: Ledger::default(),
            now: 1_000_000,
            started: 1_000_000,
            seed,
            sequence: 0,
        }
    }

    /// Everybody is connected and subscribed.
    pub(crate) fn begin(&mut self) {
        self.start();
        for index in 0..self.clients.len() {
            self.connect(index);
        }
        self.settle();
        assert!(self.clients[PUBLISHERS..].iter().all(|it| it.is_subscribed));
    }

    pub(crate) fn step(&mut self, random: &mut Random) {
        self.now += random.below(50);
        match random.below(100) {
            0..=29 => self.publish(random),
            30..=64 => {
                let index = random.below(self.clients.len() as u64) as usize;
                for _ in 0..=random.below(4) {
                    self.read(index);
                }
            }
            65..=84 => self.commit(),
            85..=89 => {
                let index = random.below(self.clients.len() as u64) as usize;
                self.lose(index);
            }
            90..=95 => {
                let index = random.below(self.clients.len() as u64) as usize;
                self.connect(index);
            }
            96 => self.crash(false, random),
            97 => self.crash(true, random),
            98 => {
                let fault = match random.below(4) {
                    0 => Fault::Sync(ErrorKind::Other),
                    1 => Fault::Write(ErrorKind::StorageFull),
                    2 => Fault::HalfWrite(ErrorKind::StorageFull),
                    _ => Fault::Create(ErrorKind::StorageFull),
                };
                self.disk.plan(random.below(6), fault);
            }
            _ => {
                if let Some(broker) = &mut self.broker {
                    broker.committer.look_again();
                }
            }
        }
        self.tick();
    }

    /// Faults end, everybody comes back, and everything is delivered.
    pub(crate) fn heal(&mut self) {
        // A failed disk needs a new start; what it has kept is what a kill leaves.
        self.crash(false, &mut Random(self.seed ^ 77));
        if self.broker.is_none() {
            self.start();
        }
        for round in 0..3 {
            for index in 0..self.clients.len() {
                if round == 0 || !self.clients[index].is_connected {
                    self.connect(index);
                }
            }
            self.settle();
            self.now += 1000;
            self.tick();
        }
        self.settle();
        let open: usize = self.clients.iter().map(|it| it.open.len()).sum();
        assert_eq!(open, 0, "publications that are never acknowledged");
    }

    pub(crate) fn check(&mut self) {
        let mut reader = Client {
            id: "reader".into(),
            filters: vec![("state/#", QoS::AtLeastOnce)],
            ..Client::default()
        };
        self.lose(0);
        std::mem::swap(&mut reader, &mut self.clients[0]);
        self.connect(0);
        self.settle();
        self.now += 1000;
        self.tick();
        self.settle();
        std::mem::swap(&mut reader, &mut self.clients[0]);
        self.ledger.check_retained(&reader.delivered);
        for client in &self.clients[PUBLISHERS..] {
            self.ledger.check_subscriber(client);
        }
    }

    fn clock(&self) -> Time {
        Time::from_millis(self.now - self.started)
    }

    fn start(&mut self) {
        self.started = self.now;
        let settings = Settings {
            folder: PathBuf::new(),
            syncs: true,
            segment_bytes: 4096,
            seed: self.seed ^ self.now,
        };
        // The engine reads the clock on the wall: deadlines that it has stored are of that one.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clocks = Clocks { now: Time::ZERO, wall: wall.as_millis() as u64 };
        let Ok(opened) = OpenedStore::open(self.disk.clone(), &settings, clocks) else { return };
        assert_eq!(opened.damage, [], "a crash is no damage");
        assert_eq!(opened.unknown, 0);
        let mut opened = opened;
        let restored = std::mem::take(&mut opened.restored);
        let wake: Waker = Box::new(|| {});
        let (committer, mut engines) = opened.by_hand(vec![wake]);
        let engine = Box::new(engines.remove(0));
        let settings =
            agentmq_router::Settings { retained_gap_ms: 0, ..agentmq_router::Settings::default() };
        let mut router = Router::new(Arc::new(settings), Arc::new(Open), engine, self.seed);
        router.submit(Time::ZERO);
        restored.retained.iter().for_each(|message| router.restore_retained(message));
        for session in restored.sessions {
            router.restore(session, Time::ZERO);
        }
        self.broker = Some(Broker { router, committer });
        self.tick();
    }

    /// The process is gone, with everything that it had not given to the disk; if the power fails,
    /// with what the disk had not written.
    fn crash(&mut self, power: bool, random: &mut Random) {
        let broker = self.broker.take();
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            if client.is_connected {
                self.ledger.connection_lost(client);
                client.disconnect();
            }
        }
        drop(broker);
        if power {
            self.disk.crash(&mut || random.next());
        } else {
            self.disk.forget_faults();
        }
        self.start();
    }

    fn connect(&mut self, index: usize) {
        if self.broker.is_none() {
            return;
        }
        if self.clients[index].is_connected {
            self.lose(index);
        }
        let bytes = self.clients[index].connect();
        self.send(index, &bytes);
    }

    fn lose(&mut self, index: usize) {
        let now = self.clock();
        let client = &mut self.clients[index];
        if !client.is_connected {
            return;
        }
        self.ledger.connection_lost(client);
        client.disconnect();
        if let Some(broker) = &mut self.broker {
            broker.router.closed(ConnectionId(index as u32), now);
        }
        self.flush();
    }

    fn publish(&mut self, random: &mut Random) {
        let index = random.below(PUBLISHERS as u64) as usize;
        let client = &self.clients[index];
        if !client.is_connected || !client.is_accepted || client.open.len() > 20 {
            return;
        }
        self.sequence += 1;
        let retain = random.once_in(6);
        let qos = if random.once_in(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let topic = match retain {
            // One writer and one QoS for each topic, so that there is an order.
            true => format!("state/{index}/{}", qos as u8),
            false => format!("jobs/{}", random.below(3)),
        };
        let mut payload = format!("{index} {} {} ", self.sequence, qos as u8).into_bytes();
        payload.extend(std::iter::repeat_n(b'.', random.below(400) as usize));
        let publication = Publication { topic, payload, qos, retain, is_received: false };
        self.ledger.attempted(&publication);
        let bytes = self.clients[index].publish(publication);
        self.send(index, &bytes);
    }

    /// The client reads one packet and answers.
    fn read(&mut self, index: usize) {
        let Some(packet) = self.clients[index].inbox.pop_front() else { return };
        let (answer, event) = self.clients[index].read(&packet);
        if let Event::Acknowledged(payload, retain) = event {
            self.ledger.acknowledged(&payload, retain);
        }
        if !answer.is_empty() {
            self.send(index, &answer);
        }
    }

    fn send(&mut self, index: usize, bytes: &[u8]) {
        let now = self.clock();
        let Some(broker) = &mut self.broker else { return };
        let id = ConnectionId(index as u32);
        for (first, body) in packets(bytes) {
            if broker.router.is_closing(id) && first >> 4 != 1 {
                break;
            }
            let before = broker.router.counters().publish_refused;
            broker.router.packet(id, first, &body, now);
            if broker.router.counters().publish_refused > before {
                // The answer may never leave, and then it is sent again.
                let open = self.clients[index].open.values();
                let refused = open.filter(|it| body.ends_with(&it.payload));
                refused.for_each(|it| self.ledger.refused(&it.payload));
            }
        }
        self.flush();
    }

    /// The end of a turn: what is recorded goes to the writer, and what is written to the clients.
    fn flush(&mut self) {
        let now = self.clock();
        let Some(broker) = &mut self.broker else { return };
        let mut dirty = Vec::new();
        loop {
            broker.router.submit(now);
            broker.router.dirty(&mut dirty);
            if dirty.is_empty() {
                return;
            }
            for id in dirty.drain(..) {
                let Some(outbox) = broker.router.outbox(id) else { continue };
                let mut bytes = Vec::new();
                while !outbox.is_empty() {
                    let mut slices = [IoSlice::new(&[]); 16];
                    let used = outbox.slices(&mut slices);
                    let part: Vec<u8> =
                        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
                    outbox.consume(part.len());
                    bytes.extend(part);
                }
                if broker.router.flushed(id, bytes.len()) {
                    broker.router.resume_queue(id, PORTION_BYTES, now);
                }
                let client = &mut self.clients[id.0 as usize];
                if client.is_connected {
                    client.inbox.extend(packets(&bytes));
                }
                if broker.router.is_closing(id) {
                    broker.router.closed(id, now);
                }
            }
        }
    }

    fn commit(&mut self) {
        let now = self.clock();
        let Some(broker) = &mut self.broker else { return };
        broker.committer.step();
        broker.router.committed(now);
        self.flush();
    }

    fn tick(&mut self) {
        let now = self.clock();
        if let Some(broker) = &mut self.broker {
            broker.router.tick(now);
        }
        self.flush();
    }

    /// Until nothing moves.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let before: usize = self.clients.iter().map(|it| it.inbox.len()).sum();
            for index in 0..self.clients.len() {
                while !self.clients[index].inbox.is_empty() {
                    self.read(index);
                }
            }
            self.commit();
            let after: usize = self.clients.iter().map(|it| it.inbox.len()).sum();
            if before + after == 0 {
                return;
            }
        }
        panic!("the world does not settle");
    }
}

const PUBLISHERS: usize = 3;
