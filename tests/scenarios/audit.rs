//! The audit log of a running broker, as `agentmq audit` reads it.

use std::path::{Path, PathBuf};

use agentmq_testkit::Broker;
use agentmq_testkit::codec::{Connect, ProtocolVersion, QoS, ReasonCode};
use rustix::process::Signal;
use serde_json::Value;

use crate::program::{printed, printed_with_input, run};

const POLICY: &str = "[[rules]]\neffect = \"allow\"\ntopics = [\"calls/{user}/#\", \"$SYS/#\"]\n";

fn broker(more: &str) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    std::fs::write(folder.path().join("users.toml"), "").unwrap();
    let add = ["user", "add", "scout", "--users", "users.toml", "--org", "acme"];
    printed_with_input(folder.path(), &add, "canary-right");
    let config = format!(
        "{}[access]\npolicy = \"policy.toml\"\nusers = \"users.toml\"\n\
         revocations = \"revocations.toml\"\n[audit]\ntopics = [\"calls/#\"]\n{more}",
        crate::TCP
    );
    Broker::start_in(crate::BINARY, &config, folder)
}

fn connect(client_id: &'static str, password: &'static [u8]) -> Connect<'static> {
    let (version, username) = (ProtocolVersion::V5, Some("scout"));
    Connect { client_id, version, username, password: Some(password), ..Connect::default() }
}

/// Rows that fit, as JSON.
fn rows(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let all = printed(folder, &[&["--json", "audit", "search"], arguments].concat());
    all.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn log_files(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder.join("agentmq-data/audit")).unwrap();
    let all = all.map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|it| it == "jsonl")).collect()
}

#[test]
fn who_did_what() {
    let broker = broker("");
    let folder = broker.folder();
    let mut client = broker.dial();
    assert_eq!(client.connect_with(connect("c1", b"canary-right")).reason(), ReasonCode::Success);
    assert!(!client.subscribe("calls/scout/#", QoS::AtMostOnce).is_error());
    assert!(client.subscribe("calls/#", QoS::AtMostOnce).is_error());
    assert!(!client.publish("calls/scout/1", b"canary-payload", QoS::AtLeastOnce).is_error());
    assert!(client.publish("calls/other/1", b"canary-payload", QoS::AtLeastOnce).is_error());
    let mut guess = broker.dial();
    assert!(guess.connect_with(connect("c2", b"canary-wrong")).reason().is_error());

    let row = &rows(folder, &["--kind", "connect"])[0];
    assert_eq!((&row["client_id"], &row["who"]["name"]), (&"c1".into(), &"scout".into()));
    assert_eq!((&row["who"]["org_id"], &row["source"]), (&"acme".into(), &"127.0.0.1".into()));
    assert_eq!(row["who"]["by"], "password");
    assert_eq!(rows(folder, &["--kind", "subscribe", "--org", "acme"]).len(), 1);
    let row = &rows(folder, &["--kind", "publish", "--topic", "calls/+/1"])[0];
    assert_eq!((&row["topic"], &row["bytes"]), (&"calls/scout/1".into(), &14.into()));
    let refused: Vec<_> = rows(folder, &["--kind", "refuse"])
        .into_iter()
        .map(|row| (row["attempt"].to_string(), row["reason"].to_string()))
        .collect();
    let of = |attempt: &str, reason: &str| (format!("\"{attempt}\""), format!("\"{reason}\""));
    assert_eq!(
        refused,
        [
            of("subscribe", "0x87 Not authorized"),
            of("publish", "0x87 Not authorized"),
            of("connect", "0x86 Bad User Name or Password"),
        ]
    );
    let row = &rows(folder, &["--kind", "refuse", "--user", "scout", "--client-id", "c2"])[0];
    assert_eq!(row["who"]["verified"], false, "it says that it is scout");
    assert_eq!(rows(folder, &["--since", "2h", "--until", "1h"]).len(), 0);
    let all = printed(folder, &["audit", "tail", "-n", "1000"]);
    assert!(!all.contains("canary"), "{all}");
    for file in log_files(folder) {
        assert!(!std::fs::read_to_string(file).unwrap().contains("canary"));
    }
}

#[test]
fn who_changed_what_others_may_do() {
    let broker = broker("");
    let folder = broker.folder();
    printed(folder, &["revoke", "--name", "scout"]);
    printed_with_input(folder, &["user", "add", "second"], "canary");
    std::fs::write(folder.join("policy.toml"), format!("{POLICY}# edited by hand\n")).unwrap();
    let seen = broker.log().len();
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", seen);
    let changes = rows(folder, &["--kind", "change"]);
    assert_eq!(
        (&changes[0]["command"], &changes[0]["done"]),
        (&"revoke".into(), &"revoked".into())
    );
    assert_eq!(
        (&changes[1]["command"], &changes[1]["name"]),
        (&"user add".into(), &"second".into())
    );
    let (start, reload) =
        (&rows(folder, &["--kind", "start"])[0], &rows(folder, &["--kind", "reload"])[0]);
    for file in ["policy.toml", "users.toml"] {
        assert_ne!(start["files"][file], reload["files"][file], "{file}");
        assert_eq!(reload["files"][file].as_str().map(str::len), Some(64));
    }
    let mut broker = broker;
    broker.terminate();
    assert!(broker.wait().success());
    assert_eq!(rows(broker.folder(), &["--kind", "stop"]).len(), 1);
    printed(broker.folder(), &["audit", "verify"]);
}

#[test]
fn what_was_answered_is_there_after_kill_nine() {
    let mut broker = broker("");
    for round in 0..5 {
        let mut client = broker.dial();
        let connack = client.connect_with(connect("c", b"canary-right"));
        assert_eq!(connack.reason(), ReasonCode::Success);
        assert!(!client.publish("calls/scout/1", b"x", QoS::AtLeastOnce).is_error());
        broker = broker.restart();
        let counts =
            ["connect", "publish"].map(|kind| rows(broker.folder(), &["--kind", kind]).len());
        assert_eq!(counts, [round + 1; 2]);
        printed(broker.folder(), &["audit", "verify"]);
    }
}

#[test]
fn who_changes_it_is_found_out() {
    let broker = broker("[sys]\ninterval_secs = 1\n");
    let mut client = broker.dial();
    client.connect_with(connect("c", b"canary-right"));
    assert!(!client.subscribe("$SYS/audit/head", QoS::AtMostOnce).is_error());
    let head = loop {
        let received = client.receive_publish();
        let head = String::from_utf8(received.publish().payload.to_vec()).unwrap();
        if head.split(':').next().and_then(|row| row.parse::<u64>().ok()) >= Some(3) {
            break head;
        }
    };
    client.disconnect();
    let folder = broker.folder();
    let verify = |head: &str| run(folder, &["audit", "verify", "--head", head]);
    assert!(verify(&head).status.success());
    let (row, hash) = head.split_once(':').unwrap();
    let other = format!("{row}:{}", hash.chars().rev().collect::<String>());
    assert_eq!(verify(&other).status.code(), Some(1));

    let folder = broker.kill(); // which writes no more
    let verify = |head: &str| run(folder.path(), &["audit", "verify", "--head", head]);
    let file = &log_files(folder.path())[0];
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replacen("127.0.0.1", "127.0.0.2", 1)).unwrap();
    let output = verify(&head);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("row 3 was changed") && error.contains("line 3"), "{error}");
}

/// What cannot be put down does not happen.
#[test]
fn a_log_that_cannot_be_used_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("agentmq-data")).unwrap();
    std::fs::write(folder.path().join("agentmq-data/audit"), "no folder").unwrap();
    std::fs::write(folder.path().join("agentmq.toml"), crate::TCP).unwrap();
    let output = run(folder.path(), &["serve"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("audit.enabled = false"), "{error}");
}

/// Who makes up a long name makes no row that others cannot read.
#[test]
fn what_clients_write_does_not_break_it() {
    let broker = Broker::start(crate::BINARY, crate::TCP);
    let name = "\u{1}\u{2028}".repeat(15_000);
    let mut client = broker.dial();
    let connack = client.connect_with(Connect {
        client_id: "x reason=none",
        username: Some(&name),
        ..connect("", b"")
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    let revoke = ["revoke", "--name", "nobody", "--revocations", "r.toml", "--ban"];
    printed(broker.folder(), &revoke);
    drop(client);
    let broker = broker.restart();
    printed(broker.folder(), &["audit", "verify"]);
    assert_eq!(rows(broker.folder(), &["--kind", "change"]).len(), 1);
    let shown = printed(broker.folder(), &["audit", "search", "--kind", "connect"]);
    assert!(shown.contains("client_id=\"x reason=none\"") && !shown.contains('\u{1}'), "{shown}");
}
