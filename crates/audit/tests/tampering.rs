//! Who changes a log is found out, and where.

use std::fs;
use std::path::{Path, PathBuf};

use agentmq_audit::{Appender, Bounds, Broken, Head, Row, Rows, Verified, verify};
use serde_json::{Map, json};
use tempfile::TempDir;

fn row(number: usize) -> Row {
    let says = json!({ "number": number, "text": "some more text, so that files fill" });
    Row::new("test", says.as_object().cloned().expect("works"))
}

fn append(log: &mut Appender, rows: std::ops::Range<usize>) {
    let rows: Vec<_> = rows.map(|number| (1_800_000_000_000, row(number))).collect();
    log.append(rows.iter().map(|(at, row)| (*at, row)), false).expect("works");
}

/// A log of eleven rows: one that begins it, and ten.
fn log() -> (TempDir, PathBuf, Head) {
    let folder = tempfile::tempdir().expect("works");
    let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).expect("works");
    append(&mut log, 0..10);
    log.tell_head().expect("works");
    let file = files(folder.path()).remove(0);
    (folder, file, log.head())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).expect("works").map(|entry| entry.expect("works").path());
    let mut all: Vec<_> = all.filter(|it| it.extension().is_some_and(|it| it == "jsonl")).collect();
    all.sort();
    all
}

fn check(folder: &Path) -> Result<Verified, Broken> {
    verify(folder, &[]).expect("works")
}

fn edit(file: &Path, edit: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> =
        fs::read_to_string(file).expect("works").lines().map(str::to_owned).collect();
    edit(&mut lines);
    fs::write(file, lines.iter().map(|line| format!("{line}\n")).collect::<String>())
        .expect("works");
}

#[test]
fn a_log_is_as_it_was_written() {
    let (folder, _, head) = log();
    let verified = check(folder.path()).unwrap();
    assert_eq!(verified, Verified { first: 1, head, unfinished: 0 });
    assert_eq!(head.row, 11);
}

#[test]
fn the_row_that_was_touched_is_named() {
    type Touch = fn(&mut Vec<String>);
    let touches: [(Touch, u64, &str); 8] = [
        (|lines| lines[4] = lines[4].replace("\"number\":3", "\"number\":9"), 5, "was changed"),
        (|lines| lines[4] = lines[4].replace("\"hash\":\"", "\"hash\":\"0"), 5, "no hash"),
        (|lines| drop(lines.remove(4)), 5, "rows 5 to 5 are missing before row 6"),
        (|lines| drop(lines.drain(4..7)), 5, "rows 5 to 7 are missing before row 8"),
        (|lines| lines.swap(4, 5), 5, "rows 5 to 5 are missing before row 6"),
        (|lines| lines.insert(4, lines[3].clone()), 5, "row 4 stands where row 5 belongs"),
        (|lines| lines.truncate(9), 10, "rows 10 to 11 are missing at its end"),
        (|lines| lines[10] = lines[10].replace("test", "toast"), 11, "was changed"),
    ];
    for (touch, row, what) in touches {
        let (folder, file, _) = log();
        edit(&file, touch);
        let broken = check(folder.path()).expect_err(what);
        assert_eq!((broken.row, broken.what.contains(what)), (row, true), "{broken}");
        assert!(broken.to_string().contains("jsonl"), "{broken}");
    }
}

#[test]
fn a_chain_that_was_written_anew_is_not_the_one_that_was_noted() {
    let (folder, _, head) = log();
    let other = tempfile::tempdir().unwrap();
    let mut forged = Appender::open(other.path(), Bounds::of(1 << 20)).unwrap();
    append(&mut forged, 1..12);
    assert!(check(other.path()).is_ok(), "in itself it is right");
    let broken = verify(other.path(), &[head]).unwrap().expect_err("another");
    assert_eq!((broken.row, broken.what.contains("noted elsewhere")), (11, true), "{broken}");
    assert!(verify(folder.path(), &[head]).unwrap().is_ok());
}

#[test]
fn what_is_cut_off_at_the_end_is_told_also_after_the_next_start() {
    let (folder, file, _) = log();
    edit(&file, |lines| lines.truncate(6));
    let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
    append(&mut log, 0..20);
    log.tell_head().unwrap();
    let broken = check(folder.path()).expect_err("cut");
    assert_eq!((broken.row, broken.what.contains("up to 11 were gone")), (7, true), "{broken}");
}

#[test]
fn a_log_that_was_removed_is_missed() {
    let (folder, file, _) = log();
    fs::remove_file(&file).unwrap();
    assert!(check(folder.path()).is_err());
    let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
    append(&mut log, 0..1);
    let broken = check(folder.path()).expect_err("gone");
    assert!(broken.what.contains("rows 1 to 11 are missing, and no row says why"), "{broken}");
}

#[test]
fn a_row_that_was_not_finished_is_cut_off_and_not_missed() {
    let (folder, file, head) = log();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}{{\"row\":12,\"at")).unwrap();
    assert_eq!(check(folder.path()).unwrap().unfinished, 13);
    let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
    assert_eq!(log.head(), head);
    append(&mut log, 10..12);
    assert_eq!(check(folder.path()).unwrap().head, log.head());
}

#[test]
fn what_is_no_row_is_kept_aside_and_told() {
    let (folder, file, head) = log();
    let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}garbage\n")).unwrap();
    append(&mut log, 10..12); // also while it is open
    assert_eq!(log.head().row, head.row + 3);
    let broken = check(folder.path()).expect_err("told");
    assert_eq!((broken.row, broken.what.contains("was no row")), (12, true), "{broken}");
    assert!(fs::read_to_string(file.with_extension("cut")).unwrap().ends_with("garbage\n"));
}

#[test]
fn the_oldest_files_go_and_the_chain_holds() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { all: 100_000, file: 20_000 };
    let mut log = Appender::open(folder.path(), bounds).unwrap();
    for batch in 0..400 {
        append(&mut log, batch * 10..batch * 10 + 10);
        assert!(log.bytes() <= bounds.all, "{}", log.bytes());
    }
    let verified = check(folder.path()).unwrap();
    assert!(verified.first > 1000, "{verified}");
    assert_eq!(verified.head, log.head());
    // A file more than the log itself has removed is missed.
    fs::remove_file(&files(folder.path())[0]).unwrap();
    let broken = check(folder.path()).expect_err("one too many");
    assert_eq!(broken.row, verified.first, "{broken}");
}

#[test]
fn several_write_to_one_log() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Appender::join(folder.path()).unwrap().is_none(), "nobody has begun it");
    let bounds = Bounds { all: 1 << 20, file: 5_000 };
    let mut broker = Appender::open(folder.path(), bounds).unwrap();
    let mut commands: Vec<_> =
        (0..3).map(|_| Appender::join(folder.path()).unwrap().unwrap()).collect();
    for round in 0..50 {
        append(&mut broker, round..round + 1);
        for command in &mut commands {
            append(command, round..round + 1);
        }
    }
    append(&mut broker, 0..1);
    assert!(files(folder.path()).len() > 3);
    assert_eq!(check(folder.path()).unwrap().head, broker.head());
    let rows = Rows::of(folder.path())
        .unwrap()
        .filter(|row| row.as_ref().unwrap().text.contains("\"kind\":\"test\""));
    assert_eq!(rows.count(), 201);
}

#[test]
fn what_a_client_writes_is_no_row_about_rows() {
    let (folder, _, _) = log();
    let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
    let says = json!({ "topic": "\"kind\":\"cut\"", "why": "\"kind\":\"prune\",\"through\":99" });
    let row = Row::new("test", says.as_object().cloned().unwrap());
    log.append([(0, &row)].into_iter(), true).unwrap();
    assert_eq!(check(folder.path()).unwrap().head, log.head());
    let empty = Row::new("test", Map::new());
    log.append([(0, &empty)].into_iter(), true).unwrap();
    assert_eq!(check(folder.path()).unwrap().head, log.head());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Whatever is written into it, at whatever place: it is found, or nothing was changed.
    #[test]
    fn no_byte_of_it_can_be_another(at: proptest::sample::Index, byte: u8) {
        let (folder, file, _) = log();
        let mut bytes = fs::read(&file).unwrap();
        let at = at.index(bytes.len());
        let is_same = std::mem::replace(&mut bytes[at], byte) == byte;
        fs::write(&file, &bytes).unwrap();
        proptest::prop_assert_eq!(check(folder.path()).is_ok(), is_same);
    }

    /// Whatever stands in its place is told to be no log, and does not hinder the next start.
    #[test]
    fn anything_may_stand_in_its_place(bytes: Vec<u8>, rows in 0_usize..3) {
        let (folder, file, head) = log();
        let text = fs::read(&file).unwrap();
        let lines = text.split_inclusive(|byte| *byte == b'\n').take(rows);
        fs::write(&file, lines.flatten().copied().chain(bytes).collect::<Vec<_>>()).unwrap();
        proptest::prop_assert!(check(folder.path()).is_err());
        let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
        append(&mut log, 0..1);
        proptest::prop_assert!(verify(folder.path(), &[head]).unwrap().is_err());
    }
}
