//! Data directories that cannot be used, and what is said of them: cause, fix and place.

use std::fs;
use std::path::Path;

use agentmq_session::Time;
use agentmq_store::{Clocks, OpenError, Settings, open};
use tempfile::tempdir;

fn error_of(folder: &Path) -> OpenError {
    opened(folder).expect_err("it cannot be used")
}

fn opened(folder: &Path) -> Result<agentmq_store::OpenedStore<agentmq_log::RealDisk>, OpenError> {
    let settings = Settings {
        folder: folder.into(),
        syncs: true,
        segment_bytes: 1 << 16,
        seed: 1,
        watermarks: agentmq_store::Watermarks::default(),
    };
    open(&settings, Clocks { now: Time::ZERO, wall: 0 })
}

#[test]
fn a_directory_is_made_with_all_above_it_and_serves_one_process() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("some/where/data");
    let first = opened(&path).expect("a new one");
    assert_eq!(fs::read_to_string(path.join("format")).expect("written"), "1");
    let error = error_of(&path);
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("some/where/data is in use"), "{error}");
    drop(first);
    opened(&path).expect("free again");
}

#[test]
fn a_link_to_a_directory_is_the_directory() {
    let folder = tempdir().expect("a folder");
    let (path, link) = (folder.path().join("data"), folder.path().join("link"));
    let first = opened(&path).expect("a new one");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    assert!(matches!(error_of(&link), OpenError::InUse { .. }));
    drop(first);
    opened(&link).expect("the same");
}

#[test]
fn a_name_that_is_no_text_is_a_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempdir().expect("a folder");
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"data-\xFF"));
    opened(&path).expect("a new one");
}

#[test]
fn what_cannot_be_used_is_named_with_the_reason_and_what_to_do() {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").expect("written");
    let text = error_of(&file).to_string();
    assert!(text.contains("/file/log: ") && text.contains("(data_dir)"), "{text}");

    for content in [&b"\xFF\xFE"[..], b"one", b"1 2"] {
        let path = folder.path().join("damaged");
        fs::create_dir_all(&path).expect("made");
        fs::write(path.join("format"), content).expect("written");
        let text = error_of(&path).to_string();
        assert!(text.contains("/damaged/format: ") && text.contains("by a number"), "{text}");
    }
    let path = folder.path().join("newer");
    fs::create_dir_all(&path).expect("made");
    fs::write(path.join("format"), "2\n").expect("written");
    let text = error_of(&path).to_string();
    assert!(text.contains("format 2") && text.contains("start that version"), "{text}");

    let path = folder.path().join("locked");
    fs::create_dir_all(path.join("lock")).expect("made");
    let text = error_of(&path).to_string();
    assert!(text.contains("/locked/lock: "), "{text}");
}
