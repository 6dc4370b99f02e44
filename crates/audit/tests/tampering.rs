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
fn what_lies_behind_the_last_row_takes_no_row_with_it() {
    let (folder, file, head) = log();
    let text = fs::read_to_string(&file).unwrap();
    // Of a write that was torn, and of somebody's.
    for garbage in ["\0".repeat(700_000), format!("{}\n", "x".repeat(700_000))] {
        fs::write(&file, format!("{text}{garbage}")).unwrap();
        let log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
        assert!(log.head().row >= head.row);
        assert!(fs::read_to_string(&file).unwrap().starts_with(&text));
    }
}

#[test]
fn what_is_no_file_of_the_log_is_left_alone() {
    let (folder, _, head) = log();
    for name in ["20261127.jsonl", "9.jsonl", "notes.txt"] {
        fs::write(folder.path().join(name), "my notes\n").unwrap();
    }
    fs::create_dir(folder.path().join("00000000000000000099.jsonl")).unwrap();
    let stranger = folder.path().join("18446744073709551615.jsonl");
    fs::write(&stranger, "my notes\n").unwrap();
    assert!(Appender::join(folder.path()).is_err(), "a command puts nothing aside");
    assert_eq!(Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap().head(), head);
    assert_eq!(check(folder.path()).unwrap().head, head);
    assert_eq!(fs::read_to_string(stranger.with_extension("cut")).unwrap(), "my notes\n");
}

#[test]
fn a_file_that_could_not_be_begun_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { all: 100_000, file: 2_000 };
    let mut log = Appender::open(folder.path(), bounds).unwrap();
    // In the way of the next one, whichever it is.
    for row in 2..40_u64 {
        fs::create_dir(folder.path().join(format!("{row:020}.new"))).unwrap();
    }
    append(&mut log, 0..20);
    append(&mut log, 20..21);
    assert_eq!(files(folder.path()).len(), 1);
    for row in 2..40_u64 {
        fs::remove_dir(folder.path().join(format!("{row:020}.new"))).unwrap();
    }
    append(&mut log, 21..60);
    assert_eq!(files(folder.path()).len(), 2);
    assert_eq!(check(folder.path()).unwrap().head, log.head());
}

#[test]
fn a_log_written_anew_does_not_hide_behind_what_it_says_to_have_removed() {
    let (folder, file, head) = log();
    let forged = tempfile::tempdir().unwrap();
    fs::write(forged.path().join("head"), fs::read(folder.path().join("head")).unwrap()).unwrap();
    let mut log = Appender::open(forged.path(), Bounds::of(1 << 20)).unwrap();
    let told = json!({ "through": head.row, "through_hash": head.hash.to_string() });
    let prune = Row::new("prune", told.as_object().cloned().unwrap());
    log.append([(0, &prune)].into_iter(), true).unwrap();
    let verified = check(forged.path()).unwrap();
    assert!(verified.to_string().contains("has removed those before"), "{verified}");
    let early: Head = fs::read_to_string(&file)
        .unwrap()
        .lines()
        .nth(4)
        .map(|line| format!("5:{}", &line[line.len() - 66..line.len() - 2]).parse().unwrap())
        .unwrap();
    assert!(verify(folder.path(), &[early]).unwrap().is_ok());
    let broken = verify(forged.path(), &[early]).unwrap().expect_err("it is not there");
    assert!(broken.what.contains("row 5, of --head, is not there any more"), "{broken}");
    assert!(verify(forged.path(), &[head]).unwrap().is_ok(), "that is what it follows");
    let other = format!("{}:{}", head.row, "0".repeat(64)).parse().unwrap();
    assert!(verify(forged.path(), &[other]).unwrap().is_err());
}

#[test]
fn a_row_that_tells_of_a_cut_does_not_hide_what_comes_behind_it() {
    let (folder, file, _) = log();
    edit(&file, |lines| lines.truncate(6));
    let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
    append(&mut log, 0..3);
    edit(&file, |lines| lines[8] = lines[8].replace("test", "toast"));
    assert_eq!(check(folder.path()).expect_err("changed").row, 9);
}

#[test]
fn who_has_stopped_in_his_turn_holds_nobody_up_for_ever() {
    let (folder, _, _) = log();
    let mut log = Appender::open(folder.path(), Bounds::of(1 << 20)).unwrap();
    let lock = fs::File::open(folder.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let row = row(1);
    let error = log.append([(0, &row)].into_iter(), true).expect_err("somebody has it");
    assert!(error.to_string().contains("`lock`"), "{error}");
    lock.unlock().unwrap();
    log.append([(0, &row)].into_iter(), true).unwrap();
    assert_eq!(check(folder.path()).unwrap().head, log.head());
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
