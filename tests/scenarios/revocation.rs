//! Who is revoked is put out where he is, stays out, and leaves no will behind.

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, QoS, ReasonCode, Will,
};
use agentmq_testkit::{Broker, RawClient, Received};
use rustix::process::Signal;

use crate::program::{printed, printed_with_input};

const SETTINGS: &str = "[access]\ntokens.keys = [\"keys.json\"]\nusers = \"users.toml\"\n\
                        revocations = \"revocations.toml\"\n";

fn broker() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    std::fs::write(folder.path().join("users.toml"), "").unwrap();
    Broker::start_in(crate::BINARY, &format!("{}{SETTINGS}", crate::TCP), folder)
}

fn token(broker: &Broker, agent: &str) -> String {
    printed(broker.folder(), &["token", "create", "--agent", agent])
}

/// Connects with a session that lasts and a will.
fn connect(broker: &Broker, client_id: &str, token: &str) -> (RawClient, Received) {
    let mut client = broker.dial();
    let lasting = PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 3600));
    let properties = PropertiesBuf::new();
    let will = Will {
        topic: "will",
        payload: client_id.as_bytes(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: properties.view(),
    };
    let connack = client.connect_with(Connect {
        client_id,
        version: ProtocolVersion::V5,
        password: Some(token.as_bytes()),
        properties: lasting.view(),
        will: Some(will),
        ..Connect::default()
    });
    (client, connack)
}

fn is_let_in(broker: &Broker, client_id: &str, token: &str) -> bool {
    connect(broker, client_id, token).1.reason() == ReasonCode::Success
}

fn revoke(broker: &Broker, arguments: &[&str]) {
    printed(broker.folder(), &[&["revoke"], arguments].concat());
    let seen = broker.log().len();
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", seen);
}

#[test]
fn an_agent_is_put_out_everywhere_and_comes_in_with_a_new_token() {
    let broker = broker();
    let (scout, ranger) = (token(&broker, "scout"), token(&broker, "ranger"));
    let (mut watcher, _) = connect(&broker, "watcher", &ranger);
    watcher.subscribe("will", QoS::AtLeastOnce);
    let (mut here, connack) = connect(&broker, "here", &scout);
    assert_eq!(connack.reason(), ReasonCode::Success);
    let (mut away, _) = connect(&broker, "away", &scout);
    away.disconnect();
    revoke(&broker, &["--agent", "scout"]);
    let end = here.wait_for(|packet| matches!(packet, Packet::Disconnect(_)));
    let Packet::Disconnect(packet) = end.packet() else { panic!("waited for it") };
    assert_eq!(packet.reason, ReasonCode::NotAuthorized);
    let why = packet.properties.text(PropertyId::ReasonString);
    assert_eq!(why, Some("access was revoked: ask who runs this server"));
    for client_id in ["here", "new"] {
        assert!(!is_let_in(&broker, client_id, &scout), "{client_id}");
    }
    // Neither the will nor the sessions are left, here and after a restart.
    watcher.publish("will", b"mine", QoS::AtLeastOnce);
    assert_eq!(watcher.receive_publish().publish().payload, b"mine");
    let broker = broker.restart();
    assert!(!is_let_in(&broker, "here", &scout));
    // The tokens are told apart by the second in which they were made.
    let mut newer = token(&broker, "scout");
    while !is_let_in(&broker, "new", &newer) {
        newer = token(&broker, "scout");
    }
    for client_id in ["here", "away"] {
        let (_, connack) = connect(&broker, client_id, &newer);
        let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
        assert!(!packet.session_present, "{client_id}");
    }
}

#[test]
fn a_ban_holds_whatever_is_shown_until_it_is_lifted() {
    let broker = broker();
    let scout = token(&broker, "scout");
    for arguments in [
        &["--agent", "scout", "--ban"][..],
        &["--client-id", "c"],
        &["--address", "127.0.0.1"],
        &["--name", "scout", "--ban"],
    ] {
        assert!(is_let_in(&broker, "c", &scout));
        revoke(&broker, arguments);
        assert!(!is_let_in(&broker, "c", &scout), "{arguments:?}");
        assert!(!is_let_in(&broker, "c", &token(&broker, "scout")), "a new token");
        revoke(&broker, &[arguments, &["--lift"]].concat());
    }
    let id = printed(broker.folder(), &["token", "inspect", &scout, "--json"]);
    let id: serde_json::Value = serde_json::from_str(&id).unwrap();
    revoke(&broker, &["--token", id["id"].as_str().unwrap()]);
    assert!(!is_let_in(&broker, "c", &scout));
    assert!(is_let_in(&broker, "d", &token(&broker, "scout")), "another token");
}

/// Whose address is banned, or who came without credentials where they are asked for now.
#[test]
fn who_would_not_be_let_in_now_is_put_out() {
    let put_out = |mut client: RawClient| {
        let end = client.wait_for(|packet| matches!(packet, Packet::Disconnect(_)));
        assert_eq!(end.reason(), ReasonCode::NotAuthorized);
    };
    let broker = broker();
    let scout = token(&broker, "scout");
    let (here, _) = connect(&broker, "here", &scout);
    revoke(&broker, &["--address", "127.0.0.1"]);
    put_out(here);
    revoke(&broker, &["--address", "127.0.0.1", "--lift"]);
    let settings = |open: bool| {
        format!("[[listeners]]\nurl = \"mqtt://127.0.0.1:0\"\nallow_anonymous = {open}\n{SETTINGS}")
    };
    broker.reload(&settings(true));
    broker.wait_for_log("allow_anonymous", 0);
    let anonymous = broker.client("anonymous");
    let (mut here, _) = connect(&broker, "here", &scout);
    broker.reload(&settings(false));
    put_out(anonymous);
    here.ping();
}

/// A user who is removed from the file is put out with the reload.
#[test]
fn a_removed_user_is_put_out() {
    let broker = broker();
    let users = broker.folder().join("users.toml");
    printed_with_input(broker.folder(), &["user", "add", "scout"], "secret");
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", 0);
    let mut client = broker.dial();
    let connack = client.connect_with(Connect {
        client_id: "c",
        version: ProtocolVersion::V5,
        clean_start: true,
        username: Some("scout"),
        password: Some(b"secret"),
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    std::fs::write(users, "").unwrap();
    broker.signal(Signal::HUP);
    let end = client.wait_for(|packet| matches!(packet, Packet::Disconnect(_)));
    assert!(matches!(end.packet(), Packet::Disconnect(it) if it.reason.is_error()));
}
