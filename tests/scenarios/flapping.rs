//! A client that connects again and again is turned away once the broker is busy; others are not.

use agentmq_testkit::codec::{Connect, Packet, PropertyId, ProtocolVersion, QoS, ReasonCode};
use agentmq_testkit::{Broker, RawClient, Received};

#[test]
fn a_tight_loop_is_banned_and_nobody_else() {
    bans_who_flaps("");
}

/// Each time the client comes to the next one.
#[test]
fn a_ban_holds_on_every_shard() {
    bans_who_flaps("[threads]\nshards = 3\nplacement = \"spread\"\n");
}

fn bans_who_flaps(threads: &str) {
    let broker = crate::broker(&format!("[sys]\ninterval_secs = 1\n{threads}"));
    let mut established = broker.client("established");
    assert!(!established.subscribe("to/flapper", QoS::AtMostOnce).is_error());

    // All within the broker's first minute. `established` is one of those who count.
    for connect in 2..BUSY + FLAPPING_CONNECTS {
        let (_, connack) = attempt(&broker, "flapper", ProtocolVersion::V5);
        assert_eq!(connack.reason(), ReasonCode::Success, "connect {connect} of a quiet broker");
    }
    let (mut survivor, connack) = attempt(&broker, "flapper", ProtocolVersion::V5);
    assert_eq!(connack.reason(), ReasonCode::Success, "the last one that is allowed");

    for _ in 0..3 {
        let (mut client, connack) = attempt(&broker, "flapper", ProtocolVersion::V5);
        assert_eq!(connack.reason(), ReasonCode::Banned);
        let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
        let why = packet.properties.text(PropertyId::ReasonString).unwrap();
        assert!(why.contains("five minutes"), "{why}");
        assert_eq!(client.receive_or_end(), None, "closed after CONNACK");
    }
    // Before version 5 there is no code for a ban: not authorized.
    let (mut old, connack) = attempt(&broker, "flapper", ProtocolVersion::V311);
    assert_eq!(connack.reason(), ReasonCode::NotAuthorized);
    assert_eq!(old.receive_or_end(), None);

    // Who was refused has taken nothing over, and nobody else is banned.
    survivor.ping();
    assert_eq!(survivor.publish("to/flapper", b"x", QoS::AtLeastOnce), ReasonCode::Success);
    established.receive_publish();
    for _ in 0..FLAPPING_CONNECTS {
        let (_, connack) = attempt(&broker, "newcomer", ProtocolVersion::V5);
        assert_eq!(connack.reason(), ReasonCode::Success);
    }
    assert_eq!(broker.wait_for_statistic("clients/refused", |count| count > 0), 4);
}

#[test]
fn zero_bans_nobody() {
    let broker = crate::broker("[limits]\nflapping_connects = 0\n");
    for _ in 0..BUSY + 2 * FLAPPING_CONNECTS {
        let (_, connack) = attempt(&broker, "flapper", ProtocolVersion::V5);
        assert_eq!(connack.reason(), ReasonCode::Success);
    }
}

/// Anybody can name another's identifier: who is not let in does not count.
#[test]
fn who_is_not_let_in_bans_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let add = ["user", "add", "bob", "--users", "users.toml"];
    crate::program::printed_with_input(folder.path(), &add, "secret");
    let config = format!("{}[access]\nusers = \"users.toml\"\n", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    for _ in 0..BUSY + 2 * FLAPPING_CONNECTS {
        let (_, connack) = attempt(&broker, "victim", ProtocolVersion::V5);
        assert_eq!(connack.reason(), ReasonCode::NotAuthorized);
    }
    let connack = broker.dial().connect_with(Connect {
        client_id: "victim",
        version: ProtocolVersion::V5,
        username: Some("bob"),
        password: Some(b"secret"),
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
}

fn attempt(broker: &Broker, client_id: &str, version: ProtocolVersion) -> (RawClient, Received) {
    let mut client = broker.dial();
    client.speak(version);
    let connect = Connect { client_id, clean_start: true, ..Connect::default() };
    let connack = client.connect_with(connect);
    (client, connack)
}

/// Connects a minute up to which nobody is counted.
const BUSY: u32 = 3_000;
/// The default of the limit.
const FLAPPING_CONNECTS: u32 = 15;
