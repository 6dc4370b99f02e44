//! Users with passwords: they log in, guesses are locked out, and no secret is written anywhere.

use std::path::Path;

use agentmq_testkit::Broker;
use agentmq_testkit::codec::{Connect, ProtocolVersion, QoS, ReasonCode};
use rustix::process::Signal;

use crate::program::printed_with_input;

const SETTINGS: &str = "[access]\nusers = \"users.toml\"\npolicy = \"policy.toml\"\n";
const POLICY: &str = "[[rules]]\neffect = \"allow\"\ntopics = [\"agents/{agent_id}/#\"]\n";

fn add(folder: &Path, name: &str, password: &str, claims: &[&str]) {
    let arguments = [&["user", "add", name, "--users", "users.toml"], claims].concat();
    printed_with_input(folder, &arguments, password);
}

fn broker() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    add(folder.path(), "scout", "canary-secret", &["--agent", "scout"]);
    Broker::start_in(crate::BINARY, &format!("{}{SETTINGS}", crate::TCP), folder)
}

fn login(broker: &Broker, version: ProtocolVersion, name: &str, password: &str) -> ReasonCode {
    let mut client = broker.dial();
    client.speak(version);
    let (username, password) = (Some(name), Some(password.as_bytes()));
    let connect = Connect { client_id: "c", username, password, version, ..Connect::default() };
    client.connect_with(Connect { clean_start: true, ..connect }).reason()
}

#[test]
fn a_user_logs_in_and_gets_what_is_claimed_of_it() {
    let broker = broker();
    for version in [ProtocolVersion::V5, ProtocolVersion::V311, ProtocolVersion::V31] {
        assert_eq!(login(&broker, version, "scout", "canary-secret"), ReasonCode::Success);
    }
    let mut client = broker.dial();
    let connack = client.connect_with(Connect {
        client_id: "c",
        version: ProtocolVersion::V5,
        clean_start: true,
        username: Some("scout"),
        password: Some(b"canary-secret"),
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    assert_eq!(client.subscribe("agents/scout/#", QoS::AtMostOnce), ReasonCode::Success);
    assert_eq!(client.subscribe("agents/+/#", QoS::AtMostOnce), ReasonCode::NotAuthorized);
    let refused = client.publish("agents/other/x", b"", QoS::AtLeastOnce);
    assert_eq!(refused, ReasonCode::NotAuthorized);
}

#[test]
fn guesses_are_locked_out_and_nothing_secret_is_written() {
    let broker = broker();
    for _ in 0..5 {
        let guess = login(&broker, ProtocolVersion::V5, "scout", "canary-guess");
        assert_eq!(guess, ReasonCode::BadUserNameOrPassword);
    }
    let locked = login(&broker, ProtocolVersion::V5, "scout", "canary-secret");
    assert_eq!(locked, ReasonCode::QuotaExceeded);
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", 0);
    let locked = login(&broker, ProtocolVersion::V5, "scout", "canary-guess");
    assert_eq!(locked, ReasonCode::QuotaExceeded, "a reload gives no new guesses");
    let nobody = login(&broker, ProtocolVersion::V5, "nobody", "canary-guess");
    assert_eq!(nobody, ReasonCode::BadUserNameOrPassword);
    let folder = broker.folder().to_owned();
    let users = std::fs::read_to_string(folder.join("users.toml")).unwrap();
    assert!(!broker.log().contains("canary") && !users.contains("canary"));
    assert!(users.contains("$argon2id$") && users.contains("SCRAM-SHA-256$"), "{users}");
}

#[test]
fn users_come_and_go_with_a_reload() {
    let broker = broker();
    add(broker.folder(), "late", "secret", &[]);
    let early = login(&broker, ProtocolVersion::V5, "late", "secret");
    assert_eq!(early, ReasonCode::BadUserNameOrPassword);
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", 0);
    assert_eq!(login(&broker, ProtocolVersion::V5, "late", "secret"), ReasonCode::Success);
    let file = ["--users", "users.toml"];
    let change = |arguments: &[&str], line| {
        printed_with_input(broker.folder(), &[arguments, &file].concat(), line)
    };
    change(&["user", "passwd", "late"], "new");
    change(&["user", "rm", "scout"], "");
    assert_eq!(change(&["user", "ls"], ""), "late  {}");
    let seen = broker.log().len();
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", seen);
    assert_eq!(login(&broker, ProtocolVersion::V5, "late", "new"), ReasonCode::Success);
    for (name, password) in [("late", "secret"), ("scout", "canary-secret")] {
        let refused = login(&broker, ProtocolVersion::V5, name, password);
        assert_eq!(refused, ReasonCode::BadUserNameOrPassword, "{name}");
    }
}
