//! `agentmq doctor` finds what is open, and nothing where nothing is.

#![allow(clippy::unwrap_used)] // a test may panic

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A folder that `agentmq secure` has filled.
fn secured() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentmq"));
    let made = command.args(["secure", "--folder"]).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
}

/// The advice of all checks that find something.
fn advice(folder: &Path) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentmq"));
    let output = command.current_dir(folder).args(["--json", "doctor"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|finding| finding["advice"].as_str().map(str::to_owned))
        .collect();
    let code = if found.is_empty() { 0 } else { 4 };
    assert_eq!(output.status.code(), Some(code), "{text}");
    found
}

#[track_caller]
fn assert_finds(folder: &Path, expected: &str) {
    let found = advice(folder);
    assert!(matches!(&found[..], [one] if one.contains(expected)), "{expected}: {found:?}");
}

#[test]
fn what_secure_writes_is_well() {
    assert_eq!(advice(secured().path()), [""; 0]);
}

#[test]
fn rules_that_allow_everything_to_everybody_are_found() {
    let folder = secured();
    let rule = "[[rules]]\nname = \"wide\"\neffect = \"allow\"\n";
    let literal = "[[rules]]\neffect = \"deny\"\nliteral = true\ntopics = [\"#\"]\n";
    let write = |text: &str| std::fs::write(folder.path().join("policy.toml"), text).unwrap();
    for (policy, expected) in [
        (format!("{rule}topics = [\"#\"]\n"), "rule `wide` lets everybody subscribe"),
        (format!("{rule}topics = [\"#\"]\n{literal}"), "rule `wide` lets everybody subscribe"),
        (
            format!("{rule}actions = [\"publish\"]\ntopics = [\"#\"]\n"),
            "rule `wide` lets everybody publish to any topic",
        ),
        (
            format!("otherwise = \"allow\"\n{rule}topics = [\"a\"]\n"),
            "rule `otherwise` lets everybody subscribe",
        ),
    ] {
        write(&policy);
        assert_finds(folder.path(), expected);
    }
    for narrow in ["claims = [\"agent_id\"]\ntopics = [\"#\"]\n", "topics = [\"a/#\"]\n"] {
        write(&format!("{rule}{narrow}"));
        assert_eq!(advice(folder.path()), [""; 0], "{narrow}");
    }
}

#[test]
fn files_that_others_may_write_to_are_found() {
    let folder = secured();
    for (name, mode) in [
        ("policy.toml", 0o620),
        ("agentmq.toml", 0o602),
        ("tls/server.pem", 0o660),
        ("tls", 0o775),
        ("", 0o777),
    ] {
        let path = folder.path().join(name);
        let before = std::fs::metadata(&path).unwrap().permissions();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let expected = path.canonicalize().unwrap();
        assert_finds(folder.path(), &format!("others may write to {}", expected.display()));
        std::fs::set_permissions(&path, before).unwrap();
    }
    // Where everybody keeps what is his.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(advice(folder.path()), [""; 0]);
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_found() {
    let other = secured();
    for (name, text) in [
        ("tls/server.pem", Some("nonsense".to_owned())),
        ("tls/server.key", None),
        ("tls/server.key", std::fs::read_to_string(other.path().join("tls/server.key")).ok()),
    ] {
        let folder = secured();
        let path = folder.path().join(name);
        match &text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        assert_finds(folder.path(), name);
    }
    let folder = secured();
    let path = folder.path().join("agentmq.toml");
    let admin = "[admin]\nurl = \"https://127.0.0.1:0\"\ncert = \"tls/server.pem\"\n\
                 key = \"tls/ca.key\"\n";
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + admin).unwrap();
    assert_finds(folder.path(), "tls/ca.key");
}
