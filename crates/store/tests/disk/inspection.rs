//! Looking at a data directory: it says what a start would find, and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use agentmq_session::Time;
use agentmq_store::{Clocks, OpenError, inspect, open};

use crate::shard::{KIB, Shard, settings};

/// A data directory in which `waiting` messages wait, in files of `segment_bytes`.
fn write(folder: &Path, waiting: u64, segment_bytes: u64) {
    let settings = settings(folder.to_str().unwrap(), segment_bytes);
    let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
    let mut shard = Shard::new(open(&settings, clocks).unwrap());
    for _ in 0..waiting {
        shard.enqueue(1000);
        shard.turn();
    }
}

/// Every file below the folder, with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn it_says_what_is_there_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 100, 16 * KIB);
    let before = files(folder.path());
    let found = inspect(folder.path()).unwrap();
    assert_eq!(files(folder.path()), before);
    assert!(found.is_whole() && found.unfinished == 0, "{found:?}");
    let counts = (found.sessions, found.messages, found.deliveries, found.retained);
    assert_eq!(counts, (1, 100, 100, 0));
    assert!(found.segments.len() > 5, "{found:?}");
    for segment in &found.segments {
        assert!(segment.live <= segment.used && segment.used <= segment.size, "{segment:?}");
        assert!(segment.live > 0, "{segment:?}");
    }
    assert_eq!(found.segments[0].file, "0000000000.log");
}

#[test]
fn damage_is_found_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 10, 64 * KIB);
    let log = folder.path().join("log/0000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(900).position(|window| window == [7; 900]).unwrap();
    bytes[at + 9] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let before = files(folder.path());
    let found = inspect(folder.path()).unwrap();
    assert_eq!((found.is_whole(), found.damage.len(), found.damage[0].records), (false, 1, 1));
    assert_eq!((found.sessions, found.messages), (1, 9));
    assert_eq!(files(folder.path()), before, "a start keeps the file, looking does not");
}

#[test]
fn one_that_is_in_use_or_not_there_is_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().to_str().unwrap(), 64 * KIB);
    let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
    let opened = open(&settings, clocks).unwrap();
    assert!(matches!(inspect(folder.path()), Err(OpenError::InUse { .. })));
    drop(opened);
    assert!(inspect(folder.path()).is_ok());
    let nothing = folder.path().join("nothing");
    assert!(matches!(inspect(&nothing), Err(OpenError::Folder { .. })));
    assert!(!nothing.exists());
}
