//! SIGHUP: new limits apply, a wrong file changes nothing and its line is named.

use agentmq_testkit::Broker;
use agentmq_testkit::codec::{Packet, PropertyId, QoS, ReasonCode};

#[test]
fn limits_apply_and_nobody_is_disconnected() {
    let broker = crate::broker("[limits]\ntopic_levels = 3\npacket_bytes = 5_000\n");
    let mut client = broker.client("client");
    assert_eq!(client.subscribe("a/b/c/d", QoS::AtMostOnce), ReasonCode::TopicFilterInvalid);
    assert_eq!(packet_bytes(&broker), 5_000);
    broker.reload(&format!("{}[limits]\ntopic_levels = 4\npacket_bytes = 6_000\n", crate::TCP));
    let log = broker.wait_for_log("reload done", 0);
    assert!(log.contains("limits.topic_levels: 3 -> 4"), "{log}");
    assert_eq!(client.subscribe("a/b/c/d", QoS::AtMostOnce), ReasonCode::Success);
    assert_eq!(packet_bytes(&broker), 6_000);
    client.ping();
}

#[test]
fn a_wrong_file_changes_nothing() {
    let broker = crate::broker("[limits]\ntopic_levels = 3\n");
    let mut client = broker.client("client");
    let mut seen = 0;
    for (wrong, place) in [
        ("[limits]\ntopic_levels = \"four\"\n", "agentmq.toml:4:"),
        ("[limits]\ntopic_levels = 4\nno_such_limit = 1\n", "agentmq.toml:5:"),
        ("[limits]\ntopic_levels = 4\n[limits", "agentmq.toml:5:"),
    ] {
        broker.reload(&format!("{}{wrong}", crate::TCP));
        let log = broker.wait_for_log("reload refused", seen);
        assert!(log[seen..].contains(place), "{place} is not in\n{}", &log[seen..]);
        seen = log.len();
        let reason = client.subscribe("a/b/c/d", QoS::AtMostOnce);
        assert_eq!(reason, ReasonCode::TopicFilterInvalid, "{wrong}");
    }
    // A file that is gone is no empty file.
    std::fs::remove_file(broker.config_file()).unwrap();
    broker.signal(agentmq_testkit::Signal::HUP);
    broker.wait_for_log("reload refused", seen);
    client.ping();
}

/// A shorter time counts for those who come later, although others still have the longer one.
#[test]
fn a_shorter_time_for_connect_applies_to_newcomers() {
    let mut broker = crate::broker("[limits]\nconnect_timeout_ms = 3_600_000\n");
    let mut early = broker.dial();
    early.send_bytes(&[0x10]);
    broker.client("client").ping(); // the early one has been accepted before
    broker.reload(&format!("{}[limits]\nconnect_timeout_ms = 1_000\n", crate::TCP));
    broker.wait_for_log("reload done", 0);
    broker.client("client").ping(); // the shard has the new settings
    let mut late = broker.dial();
    late.send_bytes(&[0x10]);
    assert_eq!(late.receive_or_end(), None);
    broker.assert_alive();
    // What the early one began is still to be finished.
    let connect =
        agentmq_testkit::connect_packet(agentmq_testkit::codec::ProtocolVersion::V5, "early");
    early.send_bytes(&connect[1..]);
    assert!(!early.receive().reason().is_error());
}

#[test]
fn what_needs_a_restart_is_said() {
    let broker = crate::broker("");
    broker.reload("[[listeners]]\nurl = \"mqtt://127.0.0.1:1\"\n");
    let log = broker.wait_for_log("reload done", 0);
    assert!(log.contains("waits for a restart"), "{log}");
    broker.client("client").ping();
}

/// What CONNACK says about the largest packet.
fn packet_bytes(broker: &Broker) -> u32 {
    let mut client = broker.dial();
    let connack = client.connect_with(agentmq_testkit::codec::Connect {
        client_id: "asks",
        clean_start: true,
        ..Default::default()
    });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
    packet.properties.integer(PropertyId::MaximumPacketSize).unwrap()
}
