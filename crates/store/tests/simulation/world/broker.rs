//! The broker in the world: its start on what the disk has, the mail between its shards, its turns
//! and commits.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use agentmq_identity::Open;
use agentmq_log::SimulatedDisk;
use agentmq_router::{GroupHomes, Mail, Neighborhood, PORTION_BYTES, Place, PlaceSet, Router};
use agentmq_session::Time;
use agentmq_store::{Clocks, Committer, DiskEngine, OpenedStore, Settings, Waker, Watermarks};

use super::World;
use crate::client::packets;

/// One run of it.
pub(super) struct Broker {
    pub(super) routers: Vec<Router>,
    pub(super) mail: BTreeMap<(u8, u8), VecDeque<Mail>>,
    pub(super) committer: Committer<SimulatedDisk>,
}

impl World {
    pub(super) fn start(&mut self) {
        self.started = self.now;
        let settings = Settings {
            folder: PathBuf::new(),
            syncs: true,
            segment_bytes: 4096,
            seed: self.seed ^ self.now,
            watermarks: Watermarks::default(),
        };
        let clocks = Clocks { now: Time::ZERO, wall: self.now };
        let Ok(opened) = OpenedStore::open(self.disk.clone(), &settings, clocks) else { return };
        assert_eq!(opened.damage, [], "a crash is no damage");
        assert_eq!(opened.unknown, 0);
        let mut opened = opened;
        let mut restored = std::mem::take(&mut opened.restored);
        // The store knows no order among them; a seed needs one.
        restored.sessions.sort_by(|a, b| a.session.client_id.cmp(&b.session.client_id));
        restored.retained.sort_by(|a, b| a.message.topic().cmp(b.message.topic()));
        let wakers = (0..self.shards).map(|_| -> Waker { Box::new(|| {}) });
        let (committer, engines) = opened.by_hand(wakers.collect());
        let settings = agentmq_router::Settings {
            retained_gap_ms: 0,
            limits: crate::budget::limits(self.seed),
            ..agentmq_router::Settings::default()
        };
        committer.pretend(self.now);
        let settings = Arc::new(settings);
        let (retained_order, homes) = (Arc::default(), Arc::new(Homes::default()));
        let router = |(number, engine): (u8, DiskEngine)| {
            let (settings, engine) = (Arc::clone(&settings), Box::new(engine));
            let mut router = Router::new(settings, Arc::new(Open), engine, self.seed);
            if self.shards > 1 {
                router = router.among(Neighborhood {
                    own: Place(number),
                    retained_order: Arc::clone(&retained_order),
                    group_homes: Arc::<Homes>::clone(&homes),
                    flapping: Arc::default(),
                    replicas: Arc::default(),
                });
            }
            router.submit(Time::ZERO);
            router
        };
        let routers: Vec<Router> = (0..).zip(engines).map(router).collect();
        self.broker = Some(Broker { routers, mail: BTreeMap::new(), committer });
        self.is_disk_good = true;
        let Some(broker) = &mut self.broker else { return };
        restored.retained.into_iter().for_each(|it| broker.routers[0].restore_retained(it));
        let mut older = PlaceSet::NONE.with(Place(0));
        for number in 1..self.shards {
            let Some(broker) = &mut self.broker else { return };
            broker.routers[usize::from(number)].activate(older);
            older = older.with(Place(number));
            self.deliver_all();
        }
        // The broker gives them all to its first shard. Here they are spread before anybody can
        // come in, so that there is mail after a crash as there was before it.
        for session in restored.sessions {
            let place = self.placing.below(u64::from(self.shards)) as usize;
            let Some(broker) = &mut self.broker else { return };
            broker.routers[place].restore(session, Time::ZERO);
            self.deliver_all();
        }
        for will in restored.wills {
            let place = self.placing.below(u64::from(self.shards)) as usize;
            let Some(broker) = &mut self.broker else { return };
            broker.routers[place].restore_will(will, Time::ZERO);
        }
        self.tick();
    }

    /// One piece of mail arrives.
    pub(super) fn deliver(&mut self, (from, to): (u8, u8)) -> bool {
        let now = self.clock();
        let Some(broker) = &mut self.broker else { return false };
        let Some(mail) = broker.mail.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        broker.routers[usize::from(to)].receive(Place(from), mail, now);
        self.flush();
        true
    }

    pub(super) fn deliver_all(&mut self) -> bool {
        let mut delivered = false;
        self.flush();
        loop {
            if !self.pairs().into_iter().any(|pair| self.deliver(pair)) {
                return delivered;
            }
            delivered = true;
        }
    }

    /// From which shard mail waits to which.
    pub(super) fn pairs(&self) -> Vec<(u8, u8)> {
        let mail = self.broker.iter().flat_map(|broker| &broker.mail);
        mail.filter(|(_, mail)| !mail.is_empty()).map(|(pair, _)| *pair).collect()
    }

    /// The end of a turn: mail goes to the other shards, what is recorded to the writer, and what
    /// is written to the clients.
    pub(super) fn flush(&mut self) {
        for number in 0..self.shards {
            self.flush_shard(number);
        }
    }

    fn flush_shard(&mut self, number: u8) {
        let now = self.clock();
        let Some(broker) = &mut self.broker else { return };
        let router = &mut broker.routers[usize::from(number)];
        let (mut dirty, mut mail) = (Vec::new(), Vec::new());
        loop {
            router.submit(now);
            router.take_mail(&mut mail);
            for (to, mail) in mail.drain(..) {
                broker.mail.entry((number, to.0)).or_default().push_back(mail);
            }
            router.dirty(&mut dirty);
            if dirty.is_empty() {
                return;
            }
            for id in dirty.drain(..) {
                let Some(outbox) = router.outbox(id) else { continue };
                let mut bytes = Vec::new();
                while !outbox.is_empty() {
                    let mut slices = [IoSlice::new(&[]); 16];
                    let used = outbox.slices(&mut slices);
                    let part: Vec<u8> =
                        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
                    outbox.consume(part.len());
                    bytes.extend(part);
                }
                if router.flushed(id, bytes.len()) {
                    router.resume_queue(id, PORTION_BYTES, now);
                }
                let client = &mut self.clients[id.0 as usize];
                if client.is_connected && self.homes[id.0 as usize] == number {
                    client.inbox.extend(packets(&bytes));
                }
                if router.is_closing(id) {
                    router.closed(id, now);
                }
            }
        }
    }

    /// The writer writes; `sleeps` says of each shard whether it does not hear of it yet.
    pub(super) fn commit(&mut self, sleeps: &mut dyn FnMut() -> bool) {
        let now = self.clock();
        let Some(broker) = &mut self.broker else { return };
        broker.committer.step();
        for router in &mut broker.routers {
            if !sleeps() {
                router.committed(now);
            }
        }
        self.flush();
    }

    pub(super) fn tick(&mut self) {
        let now = self.clock();
        if let Some(broker) = &mut self.broker {
            broker.routers.iter_mut().for_each(|router| router.tick(now));
        }
        self.flush();
    }
}

/// Homes of shared groups in a table.
#[derive(Debug, Default)]
struct Homes(Mutex<HashMap<String, (Place, u32)>>);

impl GroupHomes for Homes {
    fn join(&self, text: &str, place: Place) -> Place {
        let mut table = self.0.lock().expect("no panic");
        let home = table.entry(text.to_owned()).or_insert((place, 0));
        home.1 += 1;
        home.0
    }

    fn leave(&self, text: &str) {
        let mut table = self.0.lock().expect("no panic");
        let home = table.get_mut(text).expect("a member leaves a group that has a home");
        home.1 -= 1;
        if home.1 == 0 {
            table.remove(text);
        }
    }
}
