//! No room, and errors: nothing is acknowledged that is not safe, and what can go on does.

use std::io::ErrorKind;

use agentmq_log::{Disk, Fault, Log, LogError, Settings, SimulatedDisk};

use crate::harness::{open, settings};

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = SimulatedDisk::default();
    disk.set_capacity(Some(3 << 20));
    let settings = Settings { segment_bytes: 1 << 20, reserve_bytes: 1 << 20, seed: 1 };
    let (mut log, ..) = open(disk.clone(), settings);
    let mut records = 0;
    let refused = loop {
        log.append(&[7; 10_000]).expect("small");
        match log.commit(true, false) {
            Ok(_) => records += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LogError::Full { .. }), "{refused}");
    assert_eq!(log.pending(), 1, "it still waits");
    log.commit(true, true).expect("there is room aside for what cannot wait");
    assert!(!log.has_reserve());
    records += 1;
    disk.set_capacity(None);
    log.append(&[8; 10_000]).expect("small");
    log.commit(true, false).expect("there is room again");
    log.refill_reserve();
    assert!(log.has_reserve());
    drop(log);
    let (_, recovered, shown) = open(disk, settings);
    assert_eq!((recovered.damage.len(), shown.len()), (0, records + 1));
}

/// Each operation in turn fails for want of room; the next attempt succeeds.
#[test]
fn a_failure_for_want_of_room_at_any_operation_loses_nothing() {
    for fault in [
        Fault::Write(ErrorKind::StorageFull),
        Fault::HalfWrite(ErrorKind::StorageFull),
        Fault::Create(ErrorKind::StorageFull),
    ] {
        for after in 0..40 {
            let disk = SimulatedDisk::default();
            let (mut log, ..) = open(disk.clone(), settings(after));
            disk.plan(after, fault);
            for number in 0..40u64 {
                log.append(&[number as u8; 700]).expect("small");
                while let Err(error) = log.commit(true, false) {
                    assert!(matches!(error, LogError::Full { .. }), "{error}");
                }
            }
            let (_, recovered, shown) = open(disk, settings(99));
            assert_eq!((recovered.damage.len(), shown.len()), (0, 40), "{fault:?} after {after}");
        }
    }
}

/// What a killed run had written without a sync is written again at the start, over itself. A disk
/// without room even for that is full, and has not failed.
#[test]
fn what_a_start_has_no_room_to_make_durable_waits_for_room() {
    for fault in [Fault::Write(ErrorKind::StorageFull), Fault::HalfWrite(ErrorKind::StorageFull)] {
        let disk = SimulatedDisk::default();
        let (mut log, ..) = open(disk.clone(), settings(1));
        log.append(&[1; 700]).expect("small");
        log.commit(true, false).expect("room");
        log.append(&[2; 700]).expect("small");
        log.commit(false, false).expect("written");
        drop(log);
        (0..3).for_each(|_| disk.plan(0, fault));
        let (mut log, _, shown) = open(disk.clone(), settings(2));
        assert_eq!((log.failed(), shown.len()), (None, 2));
        let refused = log.sync().expect_err("no room");
        assert!(matches!(refused, LogError::Full { .. }), "{refused}");
        log.append(&[3; 700]).expect("small");
        let refused = log.commit(true, false).expect_err("no room");
        assert!(matches!(refused, LogError::Full { .. }), "{refused}");
        log.commit(true, false).expect("there is room now");
        // Everything that was not synced is lost: nothing of this was.
        disk.crash(&mut || 0);
        let (_, recovered, shown) = open(disk, settings(3));
        assert_eq!((recovered.damage.len(), shown.len()), (0, 3), "{fault:?}");
    }
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync() {
    for after in 0..30 {
        let disk = SimulatedDisk::default();
        let (mut log, ..) = open(disk.clone(), settings(after));
        disk.plan(after, Fault::Sync(ErrorKind::Other));
        let (mut acknowledged, mut has_failed) = (0, false);
        for number in 0..40u8 {
            log.append(&[number; 700]).expect("small");
            match log.commit(true, false) {
                Ok(_) => {
                    assert!(!has_failed, "acknowledged after a failure");
                    acknowledged += 1;
                }
                // Beginning a file may fail and be tried again: nothing was in it.
                Err(LogError::Full { .. }) => {}
                Err(error) => {
                    assert!(matches!(error, LogError::Failed { .. }), "{error}");
                    has_failed = true;
                }
            }
        }
        let mut seed = after;
        disk.crash(&mut || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        });
        let (_, recovered, shown) = open(disk, settings(99));
        assert!(shown.len() >= acknowledged, "{} of {acknowledged}", shown.len());
        assert_eq!(recovered.damage, []);
    }
}

#[test]
fn a_newer_format_is_refused_with_its_number() {
    let mut disk = SimulatedDisk::default();
    let (mut log, ..) = open(disk.clone(), settings(1));
    log.append(b"x").expect("small");
    log.commit(true, false).expect("works");
    drop(log);
    let name = disk.list().expect("a list").remove(0);
    // A header of format 2, with the checksum that belongs to it.
    let mut header = disk.content(&name).expect("there")[..512].to_vec();
    header[12] = 2;
    let crc = crc32c::crc32c(&header[12..40]);
    header[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.damage(&name, |bytes| bytes[..512].copy_from_slice(&header));
    let error = Log::open(disk.clone(), settings(2), |_, _| {}).expect_err("refused");
    assert!(error.to_string().contains("format 2"), "{error}");
    disk.sync_folder().expect("untouched");
}

#[test]
fn what_keeps_a_file_from_being_made_is_told_as_it_is() {
    for (kind, says) in [
        (ErrorKind::StorageFull, "free some"),
        (ErrorKind::PermissionDenied, "let this process create files there"),
    ] {
        let disk = SimulatedDisk::default();
        let (mut log, ..) = open(disk.clone(), settings(1));
        disk.plan(0, Fault::Create(kind));
        log.append(b"x").expect("small");
        let error = log.commit(true, false).expect_err("planned");
        assert!(matches!(error, LogError::Full { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        log.commit(true, false).expect("it goes on by itself");
    }
}

#[test]
fn a_small_disk_has_small_segments() {
    let disk = SimulatedDisk::default();
    disk.set_capacity(Some(64 << 20));
    let settings = Settings { segment_bytes: 32 << 20, reserve_bytes: 0, seed: 1 };
    let (mut log, ..) = open(disk, settings);
    for _ in 0..300 {
        log.append(&[7; 100_000]).expect("small");
        log.commit(true, false).expect("there is room");
    }
    let largest = log.segments().map(|it| it.size).max();
    assert!(largest <= Some(8 << 20), "an eighth of the disk at most, not {largest:?}");
}
