//! A disk whose room runs out: nothing new is kept a little before nothing fits any more, what
//! makes room goes on, and everything does once there is some.

use agentmq_log::SimulatedDisk;
use agentmq_session::{CommitEngine, Condition, Time};
use agentmq_store::{Clocks, OpenedStore, Watermarks};

use crate::shard::{KIB, Shard, settings};

fn shard(disk: &SimulatedDisk, segment_bytes: u64) -> Shard<SimulatedDisk> {
    disk.set_capacity(Some(CAPACITY));
    let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
    Shard::new(OpenedStore::open(disk.clone(), &settings("", segment_bytes), clocks).unwrap())
}

fn fill(shard: &mut Shard<SimulatedDisk>) {
    let most = 10_000;
    while shard.engine.condition() == Condition::Good && shard.ordinal < most {
        shard.enqueue(4096);
        shard.turn();
    }
    assert_eq!(shard.engine.condition(), Condition::Full, "{:?}", shard.statistics());
}

#[test]
fn nothing_new_is_kept_before_nothing_fits_any_more() {
    let mut shard = shard(&SimulatedDisk::default(), 64 * KIB);
    assert_eq!(shard.statistics().condition_name(), "good");
    fill(&mut shard);
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
    let mut shard = shard(&SimulatedDisk::default(), 64 * KIB);
    while shard.statistics().condition_name() == "good" {
        shard.enqueue(4096);
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
        let mut shard = shard(&SimulatedDisk::default(), segment_bytes);
        shard.enqueue(4096); // stands in the oldest file, and stays
        shard.turn();
        fill(&mut shard);
        for ordinal in 2..=shard.ordinal {
            shard.drop(ordinal);
            shard.turn();
        }
        for _ in 0..100 {
            shard.turn();
        }
        let after = shard.statistics();
        assert_eq!(after.condition, Condition::Good, "{after:?}");
        let ticket = shard.enqueue(4096);
        shard.turn();
        assert_eq!(shard.engine.completed(), ticket);
    }
}

#[test]
fn room_that_somebody_else_makes_is_noticed() {
    let disk = SimulatedDisk::default();
    let mut shard = shard(&disk, 64 * KIB);
    fill(&mut shard);
    disk.set_capacity(Some(2 * CAPACITY));
    shard.turn();
    assert_eq!(shard.engine.condition(), Condition::Good);
}

#[test]
fn cleaning_leaves_the_last_room_to_acknowledgements() {
    // A disk that fills up between two looks, and whose oldest file counts as a whole.
    let disk = SimulatedDisk::default();
    disk.set_capacity(Some(64 * MIB));
    let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
    let mut settings = settings("", 16 * MIB);
    settings.watermarks = Watermarks { warn_below: 1, refuse_below: 1 };
    let mut shard = Shard::new(OpenedStore::open(disk, &settings, clocks).unwrap());
    while shard.engine.condition() == Condition::Good && shard.ordinal < 10_000 {
        shard.enqueue(64 * 1024);
        shard.turn();
    }
    assert_eq!(shard.engine.condition(), Condition::Full);
    let in_the_oldest = 250;
    for ordinal in (in_the_oldest + 1..=shard.ordinal).chain(1..=in_the_oldest) {
        let ticket = shard.drop(ordinal);
        shard.turn();
        assert_eq!(shard.engine.completed(), ticket, "acknowledgement {ordinal}");
    }
    shard.turn();
    assert_eq!(shard.engine.condition(), Condition::Good, "{:?}", shard.statistics());
}

const MIB: u64 = 1024 * KIB;
/// Bytes of the disk.
const CAPACITY: u64 = 2048 * KIB;
