//! A disk whose room runs out: nothing new is kept a little before nothing fits any more, what
//! makes room goes on, and everything does once there is some.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

use std::path::PathBuf;

use agentmq_codec::{Properties, ProtocolVersion, QoS};
use agentmq_log::SimulatedDisk;
use agentmq_session::{
    Change, CommitEngine, Condition, Durable, Recipient, RecordedMessage, Session, SessionKey,
    StoreStatistics, Ticket, Time,
};
use agentmq_store::{Clocks, Committer, DiskEngine, OpenedStore, Settings, Watermarks};

/// A shard with one session, on a disk of a certain size.
struct Shard {
    disk: SimulatedDisk,
    committer: Committer<SimulatedDisk>,
    engine: DiskEngine,
    session: SessionKey,
    ordinal: u64,
}

impl Shard {
    fn new(capacity: u64) -> Self {
        Self::with_segments(capacity, 64 * KIB)
    }

    fn with_segments(capacity: u64, segment_bytes: u64) -> Self {
        let disk = SimulatedDisk::default();
        disk.set_capacity(Some(capacity));
        let settings = Settings {
            folder: PathBuf::new(),
            syncs: true,
            segment_bytes,
            seed: 1,
            watermarks: Watermarks::default(),
        };
        let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
        let opened = OpenedStore::open(disk.clone(), &settings, clocks).unwrap();
        let (committer, mut engines) = opened.by_hand(vec![Box::new(|| {})]);
        let mut engine = engines.remove(0);
        let key = engine.new_key();
        let mut session = Session::new("worker".into(), 0, ProtocolVersion::V5);
        session.expiry = u32::MAX;
        let (next_ordinal, exchanges) = (0, Ticket::default());
        session.durable = Some(Box::new(Durable { key, next_ordinal, exchanges }));
        engine.record(Change::Session(&session));
        let mut shard = Self { disk, committer, engine, session: key, ordinal: 0 };
        shard.turn();
        shard
    }

    /// One more message waits.
    fn enqueue(&mut self) -> Ticket {
        self.ordinal += 1;
        let recipient = Recipient {
            session: self.session,
            ordinal: self.ordinal,
            packet_id: 0,
            qos: QoS::AtLeastOnce,
            retain: false,
            ids: None,
            group: None,
        };
        self.engine.record(Change::Message(&RecordedMessage {
            topic: "jobs",
            payload: &[7; 4096],
            properties: Properties::EMPTY,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
            recipients: &[recipient],
            is_retained: false,
            arrived: None,
            will_of: SessionKey::NONE,
        }))
    }

    fn drop(&mut self, ordinal: u64) -> Ticket {
        self.engine.record(Change::Dropped { session: self.session, ordinal })
    }

    /// A turn of the shard, a commit, and a look at the disk.
    fn turn(&mut self) {
        self.engine.submit(Time::ZERO);
        self.committer.step();
        self.committer.look_again();
    }

    fn fill(&mut self) {
        let most = 10_000;
        while self.engine.condition() == Condition::Good && self.ordinal < most {
            self.enqueue();
            self.turn();
        }
        assert_eq!(self.engine.condition(), Condition::Full, "{:?}", self.statistics());
    }

    fn statistics(&self) -> StoreStatistics {
        self.engine.statistics().unwrap()
    }
}

#[test]
fn nothing_new_is_kept_before_nothing_fits_any_more() {
    let mut shard = Shard::new(CAPACITY);
    assert_eq!(shard.statistics().condition_name(), "good");
    shard.fill();
    let full = shard.statistics();
    assert_eq!(full.condition_name(), "full");
    assert!(full.free.unwrap() < CAPACITY / 16, "{full:?}");
    assert!(full.bytes > CAPACITY / 2 && full.segments > 1, "{full:?}");
    // Everything that was accepted is safe, and so is what makes room.
    let ticket = shard.drop(1);
    shard.turn();
    assert_eq!(shard.engine.completed(), ticket);
}

#[test]
fn it_is_told_before_it_comes_to_that() {
    let mut shard = Shard::new(CAPACITY);
    while shard.statistics().condition_name() == "good" {
        shard.enqueue();
        shard.turn();
    }
    let low = shard.statistics();
    assert_eq!((low.condition_name(), low.condition), ("low", Condition::Good));
    assert!(low.free.unwrap() >= CAPACITY / 16, "{low:?}");
}

#[test]
fn acknowledgements_make_room_by_themselves() {
    // Files that are small on this disk, and such that there is room for few.
    for segment_bytes in [64 * KIB, CAPACITY / 100 * 32] {
        let mut shard = Shard::with_segments(CAPACITY, segment_bytes);
        shard.enqueue(); // stands in the oldest file, and stays
        shard.turn();
        shard.fill();
        for ordinal in 2..=shard.ordinal {
            shard.drop(ordinal);
            shard.turn();
        }
        for _ in 0..100 {
            shard.turn();
        }
        let after = shard.statistics();
        assert_eq!(after.condition, Condition::Good, "{after:?}");
        let ticket = shard.enqueue();
        shard.turn();
        assert_eq!(shard.engine.completed(), ticket);
    }
}

#[test]
fn room_that_somebody_else_makes_is_noticed() {
    let mut shard = Shard::new(CAPACITY);
    shard.fill();
    shard.disk.set_capacity(Some(2 * CAPACITY));
    shard.turn();
    assert_eq!(shard.engine.condition(), Condition::Good);
}

const KIB: u64 = 1024;
/// Bytes of the disk.
const CAPACITY: u64 = 2048 * KIB;
