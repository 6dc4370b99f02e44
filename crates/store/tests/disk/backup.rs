//! Copies that are made while the broker writes, and while the log lets go of its oldest files.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agentmq_session::Time;
use agentmq_store::{Clocks, Settings, backup, inspect, open};

use crate::shard::{KIB, Shard, settings};

/// Messages wait, each for as long as so many come behind it.
const WAITING: u64 = 40;

/// Writes until it is told to stop; one message stays from the beginning.
fn write(settings: &Settings, turns: &AtomicU64, is_done: &AtomicBool) {
    let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
    let mut shard = Shard::new(open(settings, clocks).unwrap());
    shard.enqueue(100);
    while !is_done.load(Ordering::Acquire) {
        shard.enqueue(500 + (shard.ordinal % 700) as usize);
        if let Some(oldest) = shard.ordinal.checked_sub(WAITING).filter(|it| *it > 1) {
            shard.drop(oldest);
        }
        shard.turn();
        turns.fetch_add(1, Ordering::Release);
    }
}

/// Ends the writer with the test, however that ends.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_copy_is_what_a_crash_would_have_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut settings = settings(data.to_str().unwrap(), 16 * KIB);
    settings.syncs = false; // more happens meanwhile
    let (turns, is_done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _end = End(&is_done);
        let writer = scope.spawn(|| write(&settings, &turns, &is_done));
        let reach = |wanted: u64| {
            while turns.load(Ordering::Acquire) < wanted && !writer.is_finished() {
                std::thread::yield_now();
            }
        };
        reach(10 * WAITING);
        let mut oldest = std::collections::BTreeSet::new();
        for number in 0..COPIES {
            let copy = folder.path().join(format!("copy-{number}"));
            let before = turns.load(Ordering::Acquire);
            backup(&data, &copy).unwrap();
            let found = inspect(&copy).unwrap();
            assert!(found.is_whole(), "copy {number}: {found:?}");
            // The one that stays, and those that wait; the newest may have come without the
            // leave of the oldest.
            assert_eq!(found.sessions, 1, "copy {number}: {found:?}");
            let waiting = found.deliveries as u64;
            assert!((1 + WAITING..=2 + WAITING).contains(&waiting), "copy {number}: {found:?}");
            oldest.insert(found.segments[0].file.clone());
            assert_starts(&copy);
            std::fs::remove_dir_all(&copy).unwrap();
            reach(before + WAITING);
        }
        assert!(oldest.len() > 1, "the log has let go of files meanwhile: {oldest:?}");
    });
}

/// A broker can go on with the copy.
fn assert_starts(copy: &Path) {
    let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
    let opened = open(&settings(copy.to_str().unwrap(), 16 * KIB), clocks).unwrap();
    assert_eq!((opened.damage.len(), opened.restored.sessions.len()), (0, 1));
}

#[test]
fn a_copy_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
    drop(Shard::new(open(&settings(data.to_str().unwrap(), 16 * KIB), clocks).unwrap()));
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("mine"), "text").unwrap();
    let error = backup(&data, &copy).unwrap_err().to_string();
    assert!(error.contains("/copy exists already") && error.contains("name a folder"), "{error}");
    assert_eq!(std::fs::read_dir(&copy).unwrap().count(), 1);
}

const COPIES: u64 = 40;
