//! The simulated world: one broker of one shard or several, its disk, its clients, and what happens
//! to them.

mod broker;

use std::io::ErrorKind;

use agentmq_codec::QoS;
use agentmq_log::{Fault, SimulatedDisk};
use agentmq_router::ConnectionId;
use agentmq_session::Time;

use self::broker::Broker;
use crate::checker::Ledger;
use crate::client::{Client, Event, Publication, SHORT, WillTerms, packets};
use crate::random::Random;

pub(crate) struct World {
    /// For what clients choose.
    dice: Random,
    disk: SimulatedDisk,
    broker: Option<Broker>,
    /// No fault has been planned for this run of the broker.
    is_disk_good: bool,
    shards: u8,
    clients: Vec<Client>,
    /// The shard of each client's connection.
    homes: Vec<u8>,
    placing: Random,
    ledger: Ledger,
    /// Milliseconds since the world began; clocks begin anew with each run of the broker.
    now: u64,
    started: u64,
    seed: u64,
    sequence: u32,
    /// Messages that runs of the broker before this one have read back from the log.
    recalled: u64,
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
        // One that comes to its group with a new session now and then.
        for id in ["member-0", "member-1", SWAPPER] {
            let filters = vec![("$share/members/jobs/#", QoS::AtLeastOnce)];
            clients.push(Client { id: id.into(), filters, ..Client::default() });
        }
        // One that comes and goes: its session may end with its connection, soon after, or begin
        // anew.
        let filters = vec![("jobs/#", QoS::ExactlyOnce)];
        clients.push(Client { id: LEAVER.into(), filters, ..Client::default() });
        // Some whose sessions end with their connections: groups that keep nothing, with homes and
        // members on any shards, so that mail is under way about which nobody asks.
        for (number, id) in PASSERS.into_iter().enumerate() {
            let both = ["$share/one/news/#", "$share/two/news/#"].map(|it| (it, QoS::AtLeastOnce));
            let filters = both.get(number..=number).unwrap_or(&both).to_vec();
            clients.push(Client { id: id.into(), filters, ..Client::default() });
        }
        let mut placing = Random(seed ^ 0x5A5A);
        Self {
            dice: Random(seed ^ 0xD1CE),
            disk: SimulatedDisk::default(),
            broker: None,
            is_disk_good: false,
            shards: crate::shards(&mut placing),
            homes: vec![0; clients.len()],
            clients,
            placing,
            ledger: Ledger::default(),
            now: 1_000_000,
            started: 1_000_000,
            seed,
            sequence: 0,
            recalled: 0,
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
        if let Some(broker) = &self.broker {
            broker.committer.pretend(self.now);
        }
        match random.below(100) {
            0..=24 => self.publish(random),
            25..=34 => {
                for _ in 0..=random.below(6) {
                    let waiting = self.pairs();
                    if !waiting.is_empty() {
                        self.deliver(waiting[random.below(waiting.len() as u64) as usize]);
                    }
                }
            }
            35..=64 => {
                let index = random.below(self.clients.len() as u64) as usize;
                for _ in 0..=random.below(4) {
                    self.read(index);
                }
            }
            65..=84 => self.commit(&mut || random.once_in(4)),
            85..=89 => {
                let index = random.below(self.clients.len() as u64) as usize;
                self.lose(index);
            }
            90..=95 => {
                let index = random.below(self.clients.len() as u64) as usize;
                self.connect(index);
            }
            96..=98 if self.is_calm() => {}
            96 | 97 => {
                if random.once_in(3) {
                    self.check_that_nothing_waits();
                }
                let is_power_cut = random.once_in(2);
                self.crash(is_power_cut, random);
            }
            98 => {
                let fault = match random.below(4) {
                    0 => Fault::Sync(ErrorKind::Other),
                    1 => Fault::Write(ErrorKind::StorageFull),
                    2 => Fault::HalfWrite(ErrorKind::StorageFull),
                    _ => Fault::Create(ErrorKind::StorageFull),
                };
                self.disk.plan(random.below(6), fault);
                self.is_disk_good = false;
            }
            _ => {
                if let Some(broker) = &mut self.broker {
                    broker.committer.look_again();
                }
            }
        }
        self.tick();
    }

    /// In some worlds nothing fails, so that what waits for something has long to wait.
    fn is_calm(&self) -> bool {
        self.seed.is_multiple_of(4)
    }

    /// Faults end, everybody comes back, and everything is delivered.
    pub(crate) fn heal(&mut self) {
        self.check_that_nothing_waits();
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

    /// With a disk that works everybody gets an answer without coming back for it.
    fn check_that_nothing_waits(&mut self) {
        if self.is_disk_good {
            self.settle();
            for client in self.clients.iter().filter(|it| it.is_connected) {
                assert!(client.is_accepted, "{} waits for its CONNACK", client.id);
                let open: Vec<u16> = client.open.keys().copied().collect();
                assert!(open.is_empty(), "{} waits for answers to {open:?}", client.id);
            }
        }
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
        let (subscribers, members) = self.clients[PUBLISHERS..].split_at(SUBSCRIBERS);
        for client in subscribers {
            self.ledger.check_subscriber(client);
        }
        self.ledger.check_group(&members[..MEMBERS]);
    }

    /// Messages that were read back from the log.
    pub(crate) fn recalled(&self) -> u64 {
        let routers = self.broker.iter().flat_map(|it| &it.routers);
        self.recalled + routers.map(|it| it.counters().recalled).sum::<u64>()
    }

    fn clock(&self) -> Time {
        Time::from_millis(self.now - self.started)
    }

    /// The process is gone, with everything that it had not given to the disk; if the power fails,
    /// with what the disk had not written.
    fn crash(&mut self, power: bool, random: &mut Random) {
        self.recalled = self.recalled();
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
        self.pass_by();
    }

    /// Those come back at once who keep nothing: there are few steps between two crashes.
    fn pass_by(&mut self) {
        for index in 0..self.clients.len() {
            if PASSERS.contains(&&*self.clients[index].id) {
                self.connect(index);
                while !self.clients[index].inbox.is_empty() {
                    self.read(index);
                }
            }
        }
    }

    fn connect(&mut self, index: usize) {
        if self.broker.is_none() {
            return;
        }
        if self.clients[index].is_connected {
            self.lose(index);
        }
        let (mut clean_start, mut expiry) = (false, 100_000);
        if self.clients[index].id == LEAVER {
            clean_start = !self.clients[index].has_session || self.dice.once_in(5);
            expiry = [0, SHORT, expiry][self.dice.below(3) as usize];
        } else if self.clients[index].id == SWAPPER {
            clean_start = self.dice.once_in(3);
        } else if PASSERS.contains(&&*self.clients[index].id) {
            (clean_start, expiry) = (true, 0);
        }
        let will = WillTerms {
            qos: if self.dice.once_in(3) { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
            delay: if self.dice.once_in(3) { 1 } else { 0 },
        };
        let id = &self.clients[index].id;
        if clean_start {
            self.ledger.session_ended(id);
        }
        self.ledger.came_back(id, clean_start);
        if let Some(broker) = &self.broker {
            let id = &self.clients[index].id;
            let home = broker.routers.iter().position(|router| router.has_session(id));
            let new = self.placing.below(u64::from(self.shards));
            self.homes[index] = home.map_or(new as u8, |home| home as u8);
        }
        let bytes = self.clients[index].connect(clean_start, expiry, will);
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
            let router = &mut broker.routers[usize::from(self.homes[index])];
            router.closed(ConnectionId(index as u32), now);
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
        let is_news = !retain && random.once_in(if self.is_calm() { 2 } else { 4 });
        let is_exact = random.once_in(2) && !is_news;
        let qos = if is_exact { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let topic = match retain {
            // One writer and one QoS for each topic, so that there is an order.
            true => format!("state/{index}/{}", qos as u8),
            false if is_news => "news/1".into(),
            false => format!("jobs/{}", random.below(3)),
        };
        let mut payload = format!("{index} {} {} ", self.sequence, qos as u8).into_bytes();
        payload.extend(std::iter::repeat_n(b'.', random.below(400) as usize));
        let publication = Publication { topic, payload, qos, retain, is_received: false };
        let ready = self.clients.iter().filter(|it| it.is_subscribed && it.must_exist);
        let ready: Vec<&str> = ready.map(|it| it.id.as_str()).collect();
        if !is_news {
            self.ledger.attempted(&publication, &ready);
        }
        let bytes = self.clients[index].publish(publication);
        self.send(index, &bytes);
    }

    /// The client reads one packet and answers.
    fn read(&mut self, index: usize) {
        let Some(packet) = self.clients[index].inbox.pop_front() else { return };
        let (answer, event) = self.clients[index].read(&packet);
        if let Event::Acknowledged(payload) = event {
            self.ledger.acknowledged(&payload);
        }
        if self.clients[index].is_will_safe {
            self.ledger.session_is_safe(&self.clients[index].id);
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
            let router = &mut broker.routers[usize::from(self.homes[index])];
            if router.is_closing(id) && first >> 4 != 1 {
                break;
            }
            let before = router.counters().publish_refused;
            router.packet(id, first, &body, now);
            if router.counters().publish_refused > before {
                // The answer may never leave, and then it is sent again.
                let open = self.clients[index].open.values();
                let refused = open.filter(|it| body.ends_with(&it.payload));
                refused.for_each(|it| self.ledger.refused(&it.payload));
            }
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
            let mailed = self.deliver_all();
            self.commit(&mut || false);
            let after: usize = self.clients.iter().map(|it| it.inbox.len()).sum();
            if before + after == 0 && !mailed && self.pairs().is_empty() {
                return;
            }
        }
        panic!("the world does not settle");
    }
}

const PUBLISHERS: usize = 3;
const LEAVER: &str = "leaver";
const SUBSCRIBERS: usize = 3;
const PASSERS: [&str; 3] = ["passer-0", "passer-1", "passer-2"];
const SWAPPER: &str = "swapper";
const MEMBERS: usize = 3;
