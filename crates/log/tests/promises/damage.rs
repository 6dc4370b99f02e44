//! Flipped bits, cut files, missing files: what is hit is named, everything else is served.

use agentmq_log::{Disk, Origin};

use crate::harness::{Random, open, settings, written};

fn names(disk: &agentmq_log::SimulatedDisk) -> Vec<String> {
    let mut names = disk.list().expect("a list");
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

/// The numbers that records carry.
fn numbers(shown: &[(agentmq_log::Position, Vec<u8>)]) -> Vec<u64> {
    let number = |content: &[u8]| content[..8].try_into().map(u64::from_le_bytes);
    shown.iter().map(|(_, content)| number(content).expect("eight bytes")).collect()
}

#[test]
fn a_flipped_bit_costs_what_it_hits_and_is_told() {
    let mut random = Random(3);
    for round in 0..1_500 {
        let (disk, records) = written(round % 7, 30);
        let names = names(&disk);
        let name = &names[random.below(names.len() as u64) as usize];
        let is_last = Some(name) == names.last();
        let size = disk.content(name).expect("there").len() as u64;
        let (at, bit) = (random.below(size) as usize, random.below(8));
        disk.damage(name, |bytes| bytes[at] ^= 1 << bit);
        let (_, recovered, shown) = open(disk.clone(), settings(8));
        let numbers = numbers(&shown);
        assert!(numbers.is_sorted(), "in order");
        let lost = records.len() - shown.len();
        let told = recovered.damage.iter().map(|it| it.records).sum::<u64>() as usize;
        if lost > 0 {
            // At the very end nothing tells a flipped bit from a commit that was not finished.
            let at_the_end = is_last && recovered.unfinished > 0;
            assert!(told == lost || at_the_end, "{lost} lost, {told} told, {name} at {at}");
            assert!(lost <= 8, "one block is hit at most: {lost}");
        }
        for damage in &recovered.damage {
            let kept = damage.kept_as.as_deref().expect("kept");
            assert_eq!(disk.content(kept), disk.content(name));
        }
        // And it stays like that.
        let (_, again, second) = open(disk, settings(9));
        assert_eq!((again.damage, second), (recovered.damage, shown));
    }
}

#[test]
fn a_file_cut_off_anywhere_opens_and_keeps_what_is_before_the_cut() {
    let (whole, _) = written(2, 30);
    let name = names(&whole).pop().expect("several");
    let content = whole.content(&name).expect("there");
    let used = content.iter().rposition(|byte| *byte != 0).expect("used") + 1;
    let (_, _, all) = open(whole.clone(), settings(1));
    let in_last: Vec<_> =
        all.iter().filter(|(at, _)| at.segment == all[all.len() - 1].0.segment).collect();
    for cut in 0..used {
        let (disk, _) = written(2, 30);
        disk.damage(&name, |bytes| bytes.truncate(cut));
        let (_, recovered, shown) = open(disk, settings(1));
        let before = all.len() - in_last.len();
        let end = |(at, content): &(agentmq_log::Position, Vec<u8>)| {
            at.offset as usize + agentmq_log::RECORD_OVERHEAD + content.len()
        };
        // A block counts when its header says how long it is and that much is there.
        assert!(shown.len() >= before, "cut at {cut}");
        assert!(shown.iter().zip(&all).all(|(one, other)| one == other));
        let whole_before = in_last.iter().filter(|record| end(record) <= cut).count();
        let missing = before + whole_before - shown.len().min(before + whole_before);
        assert!(missing <= 8, "cut at {cut}: {missing} are missing");
        assert!(recovered.damage.len() <= 1);
    }
}

#[test]
fn a_missing_file_is_noticed_and_the_others_are_served() {
    let (disk, records) = written(4, 120);
    let names = names(&disk);
    assert!(names.len() >= 4);
    let mut folder = disk.clone();
    folder.remove(&names[1]).expect("removed");
    let (_, recovered, shown) = open(disk, settings(1));
    let [damage] = &recovered.damage[..] else { panic!("{:?}", recovered.damage) };
    assert_eq!(damage.records as usize, records.len() - shown.len());
    assert!(damage.records > 0);
    assert_eq!((&damage.file, damage.origin), (&names[1], Origin::Missing));
    assert_eq!(damage.kept_as, None, "there is nothing to keep");
    assert!(!folder.list().expect("a list").iter().any(|name| name.ends_with(".bad")));
}

#[test]
fn a_segment_without_a_header_is_kept_for_inspection() {
    let (disk, records) = written(4, 120);
    let name = names(&disk)[1].clone();
    disk.damage(&name, |bytes| bytes[..1024].fill(0xAA));
    let (_, recovered, shown) = open(disk.clone(), settings(1));
    assert!(recovered.damage.iter().any(|it| it.origin == Origin::Header && it.file == name));
    let lost: u64 = recovered.damage.iter().map(|it| it.records).sum();
    assert_eq!(lost as usize, records.len() - shown.len());
    assert!(disk.content(&format!("{name}.bad")).is_some());
}

#[test]
fn a_file_that_cannot_be_read_everywhere_is_served_where_it_can() {
    let (_, records) = written(4, 120);
    for (file, page) in [(0, 0), (0, 1), (1, 0), (1, 1), (usize::MAX, 0), (usize::MAX, 1)] {
        let (disk, _) = written(4, 120);
        let names = names(&disk);
        let name = &names[file.min(names.len() - 1)];
        let before = disk.content(name);
        disk.make_unreadable(name, page * 4096..page * 4096 + 10);
        let (_, recovered, shown) = open(disk.clone(), settings(1));
        let of_others = shown.iter().filter(|(at, _)| format!("{:010}.log", at.segment) != *name);
        let whole = open(written(4, 120).0, settings(1)).2;
        let expected = whole.iter().filter(|(at, _)| format!("{:010}.log", at.segment) != *name);
        assert!(of_others.eq(expected), "all that is in other files");
        assert!(shown.len() < records.len());
        let told = recovered.damage.iter().any(|it| {
            it.file == *name && matches!(it.origin, Origin::Unreadable(_)) && it.kept_as.is_some()
        });
        assert!(told, "{:?}", recovered.damage);
        assert_eq!(disk.content(name), before, "nothing is written over it, or cut off");
    }
}

#[test]
fn the_highest_number_is_no_panic() {
    let mut disk = agentmq_log::SimulatedDisk::default();
    disk.create("4294967295.log", 0).expect("room");
    let opened = agentmq_log::Log::open(disk, settings(1), |_, _| {});
    assert!(opened.expect_err("no file could follow").to_string().contains("4294967295.log"));
}

/// A kill before the sync leaves what no later sync writes; it counts, so it is written again, even
/// when the file ends within it.
#[test]
fn what_counts_is_made_durable_even_without_its_padding() {
    let disk = agentmq_log::SimulatedDisk::default();
    let (mut log, ..) = open(disk.clone(), settings(1));
    log.append(b"first").expect("small");
    log.commit(true, false).expect("works");
    log.append(b"13 bytes long").expect("small");
    log.commit(false, false).expect("works");
    drop(log);
    // Seen by readers, and not on the disk: as after a kill, on a file system that gave no room.
    let name = names(&disk).remove(0);
    let used = disk.content(&name).expect("there").iter().rposition(|it| *it != 0).expect("used");
    disk.open(&name)
        .and_then(|mut it| agentmq_log::DiskFile::truncate(&mut it, used as u64 + 1))
        .expect("cut off");
    let (_, _, shown) = open(disk.clone(), settings(2));
    assert_eq!(shown.len(), 2);
    disk.crash(&mut || 0);
    let (_, recovered, again) = open(disk, settings(3));
    assert_eq!((recovered.damage.len(), again), (0, shown), "it has counted once");
}
