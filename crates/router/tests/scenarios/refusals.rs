//! What ends a connection, or is not let in (§3.1.4, §4.13).

use agentmq_codec::{Property, PropertyId as P, ProtocolVersion, ReasonCode};

use crate::harness::{Broker, Got, Riddle};

const V5: ProtocolVersion = ProtocolVersion::V5;
const V311: ProtocolVersion = ProtocolVersion::V311;

#[test]
fn the_first_packet_must_be_connect() {
    // [MQTT-3.1.0-1], [MQTT-3.2.0-1]: nothing is sent before CONNACK
    let broker = Broker::new();
    for packet in [&[0xC0, 0][..], &[0x30, 3, 0, 1, b't'], &[0xE0, 0], &[0x20, 2, 0, 0]] {
        let client = broker.dial(V5);
        client.send(packet);
        assert!(client.is_closed());
        assert!(client.packets().is_empty());
    }
}

#[test]
fn a_second_connect_ends_the_connection() {
    // [MQTT-3.1.0-2]
    let broker = Broker::new();
    let connect = broker.client("a").bytes();
    let client = broker.client("a").followed_by(&connect).attempt();
    assert!(matches!(client.next(), Some(Got::ConnAck { code: 0, .. })));
    assert_eq!(client.closed_with(), 0x82);
}

#[test]
fn a_second_connect_is_one_too_many_whatever_is_wrong_with_it() {
    // [MQTT-3.1.0-2]; DISCONNECT has no code for an unknown version (§3.14.2.1)
    let broker = Broker::new();
    let client = broker.connect("a");
    client.send(b"\x10\x07\0\x05MQTT?");
    assert_eq!(client.closed_with(), 0x82);
}

#[test]
fn packets_right_behind_connect_wait_for_the_verdict() {
    // [MQTT-3.1.4-5, -6]
    let broker = Broker::guarded(Riddle);
    let watcher = broker.connect("watcher");
    watcher.subscribe("t", 0);
    let publish = [0x30, 5, 0, 1, b't', 0, b'x'];
    let client = broker.client("a").followed_by(&publish).attempt();
    assert!(matches!(client.next(), Some(Got::ConnAck { code: 0, .. })));
    assert_eq!(watcher.payloads(), ["x"]);
    let client = broker.client("b").username("nobody").followed_by(&publish).attempt();
    assert!(matches!(client.packets()[..], [Got::ConnAck { code: 0x87, .. }]));
    assert!(watcher.messages().is_empty(), "dropped on refusal");
}

#[test]
fn unknown_versions_are_told_so() {
    // [MQTT-3.1.2-2]; 3.1.1: return code 1
    let broker = Broker::new();
    let connect = |level| [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0, 0, 0, 0];
    let client = broker.dial(V311);
    client.send(&connect(3));
    assert!(matches!(client.packets()[..], [Got::ConnAck { code: 1, .. }]));
    let client = broker.dial(V5);
    client.send(&connect(6));
    assert!(matches!(client.packets()[..], [Got::ConnAck { code: 0x84, .. }]));
    assert!(client.is_closed());
}

#[test]
fn another_protocol_is_closed_without_a_word() {
    // [MQTT-3.1.2-1]
    let client = Broker::new().dial(V5);
    client.send(&[0x10, 13, 0, 4, b'H', b'T', b'T', b'P', 5, 2, 0, 0, 0, 0, 0]);
    assert!(client.is_closed() && client.packets().is_empty());
}

#[test]
fn malformed_connects_are_refused() {
    // [MQTT-3.1.2-3, -11, -13]
    let broker = Broker::new();
    for flags in [0x03, 0x0A, 0x22] {
        let client = broker.dial(V5);
        client.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 0, 0, 0, 0]);
        assert!(matches!(client.packets()[..], [Got::ConnAck { code: 0x81, .. }]), "{flags:#x}");
        assert!(client.is_closed());
    }
    let client = broker.dial(V311);
    client.send(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x03, 0, 0, 0, 0]);
    assert!(client.is_closed() && client.packets().is_empty());
    assert_eq!(broker.counters().connections_now, 0);
}

#[test]
fn empty_client_identifiers() {
    // [MQTT-3.2.2-16]; 3.1.1 [MQTT-3.1.3-8]: return code 2
    let broker = Broker::new();
    let client = broker.client("").attempt();
    let Some(Got::ConnAck { code: 0, properties, .. }) = client.next() else { panic!("CONNACK") };
    let assigned = properties.view().text(P::AssignedClientIdentifier).unwrap().to_string();
    let (_again, present) = broker.client(&assigned).resuming().connect_present();
    assert!(!present);
    assert_eq!(client.closed_with(), 0x8E, "the identifier is the session's");
    broker.client("").v311().connect();
    assert_eq!(broker.client("").v311().resuming().refused(), 2);
    assert_eq!(broker.client("").version(ProtocolVersion::V31).refused(), 2);
}

#[test]
fn client_identifiers_of_any_length_and_kind() {
    // [MQTT-3.1.3-5]; `#`, `+`, `/` and `__proto__` mean nothing here
    let broker = Broker::new();
    let long = "x".repeat(512);
    for client_id in ["a", "12345678901234567890123", "123456789012345678901234", &long] {
        broker.connect(client_id);
        broker.client(client_id).v311().connect();
    }
    let too_long = "x".repeat(513);
    assert_eq!(broker.client(&too_long).refused(), 0x85);
    for client_id in ["#", "+/a", "__proto__", "é 漢"] {
        let client = broker.connect(client_id);
        client.subscribe("t", 1);
        client.publish("t", client_id, 1);
        assert_eq!(client.payloads(), [client_id]);
    }
}

#[test]
fn packets_that_only_servers_send_end_the_connection() {
    // CVE-2021-28166
    let broker = Broker::new();
    for packet in
        [&[0x20, 3, 0, 0, 0][..], &[0x90, 4, 0, 1, 0, 0], &[0xB0, 4, 0, 1, 0, 0], &[0xD0, 0]]
    {
        let client = broker.connect("a");
        client.send(packet);
        assert_eq!(client.closed_with(), 0x82);
    }
}

#[test]
fn malformed_packets_end_the_connection_with_0x81() {
    let broker = Broker::new();
    let packets = [
        &[0x36, 3, 0, 1, b't'][..],         // QoS 3 [MQTT-3.3.1-4]
        &[0x38, 4, 0, 1, b't', 0],          // DUP with QoS 0 [MQTT-3.3.1-2]
        &[0x32, 3, 0, 1, b't'],             // ends before its identifier
        &[0x80, 7, 0, 1, 0, 0, 1, b't', 0], // flags [MQTT-3.8.1-1]
        &[0x82, 6, 0, 1, 0, 0, 1, b't'],    // ends before the options
        &[0x60, 2, 0, 1],                   // flags [MQTT-3.6.1-1]
        &[0x30, 5, 0, 2, 0xC3, 0x28, 0],    // not UTF-8 [MQTT-1.5.4-1]
        &[0x30, 4, 0, 1, 0, 0],             // U+0000 [MQTT-1.5.4-2]
        &[0x00, 0],
        &[0xC1, 0],
    ];
    for packet in packets {
        let client = broker.connect("a");
        client.send(packet);
        assert_eq!(client.closed_with(), 0x81, "{packet:x?}");
    }
}

#[test]
fn topic_names_are_checked() {
    // [MQTT-3.3.2-2]; CVE-2021-34432
    let broker = Broker::new();
    for topic in ["a/#", "+", "a/+/b"] {
        let client = broker.connect("a");
        client.publishing(topic, "x").send();
        assert!(matches!(client.closed_with(), 0x81 | 0x90), "{topic}");
    }
    let old = broker.client("b").v311().connect();
    old.publishing("", "x").send();
    assert!(old.is_closed());
    for topic in ["x".repeat(513), "/".repeat(64)] {
        let client = broker.connect("a");
        client.publishing(&topic, "x").send();
        assert_eq!(client.closed_with(), 0x90);
    }
}

#[test]
fn a_topic_beyond_the_limits_costs_its_message_where_it_is_acknowledged() {
    let broker = Broker::new();
    let client = broker.connect("a");
    for topic in ["x".repeat(513), "/".repeat(64)] {
        for level in [1, 2] {
            assert_eq!(client.publish(&topic, "x", level), 0x90);
            assert!(client.reason().contains("topic_levels or topic_bytes"));
        }
    }
    assert_eq!(broker.counters().publish_refused, 4);
    assert_eq!(broker.memory_of("a"), Some((0, 0, 0)), "the exchange is over [MQTT-4.3.3-4]");
    assert_eq!(client.publish("t", "x", 1), 0x10);
    let old = broker.client("b").v311().connect();
    old.publishing(&"x".repeat(513), "x").qos(1).send();
    assert!(old.is_closed(), "it could not be told otherwise");
    // Without the topic that it was set to, the alias would stand for another one.
    client.publishing("t", "x").qos(1).alias(1).send();
    client.publishing(&"x".repeat(513), "x").qos(1).alias(1).send();
    assert_eq!(client.closed_with(), 0x90);
}

#[test]
fn publishing_where_one_may_not_is_told() {
    // §3.4.2.1 0x87; before version 5 a plain acknowledgement
    let broker = Broker::new();
    let client = broker.connect("a");
    assert_eq!(client.publish("$SYS/x", "x", 1), 0x87);
    assert_eq!(client.publish("$SYS/x", "x", 2), 0x87);
    assert_eq!(broker.memory_of("a"), Some((0, 0, 0)));
    let old = broker.client("b").v311().connect();
    assert_eq!(old.publish("$SYS/x", "x", 1), 0);
    assert_eq!(old.publish("$SYS/x", "x", 2), 0);
}

#[test]
fn a_limit_on_sessions_and_connections() {
    let broker = Broker::with(|settings| settings.limits.sessions = 1);
    let client = broker.returning("a").connect();
    assert_eq!(broker.client("b").refused(), 0x97);
    assert_eq!(broker.client("b").v311().refused(), 3);
    client.disconnect();
    assert_eq!(broker.client("b").refused(), 0x97, "the absent one counts");
    broker.returning("a").connect();
    let broker = Broker::with(|settings| settings.limits.connections = 1);
    broker.connect("a");
    assert_eq!(broker.client("b").refused(), 0x97);
}

#[test]
fn a_receive_maximum_of_0_is_a_protocol_error() {
    // §3.1.2.11.3
    assert_eq!(Broker::new().client("a").receive_maximum(0).refused(), 0x82);
}

#[test]
fn the_shard_may_end_a_connection_in_any_phase() {
    let broker = Broker::guarded(Riddle);
    let client = broker.client("a").method("riddle", "").attempt();
    assert_eq!(client.next(), Some(Got::Auth(0x18, b"question 1".to_vec())));
    client.evict(ReasonCode::ServerShuttingDown);
    assert!(client.is_closed());
    assert!(matches!(client.packets()[..], [Got::ConnAck { code: 0x88, .. }]));
}

#[test]
fn what_follows_a_disconnect_is_not_read() {
    // [MQTT-3.14.4-1, -2]
    let broker = Broker::new();
    let watcher = broker.connect("w");
    watcher.subscribe("t", 0);
    let client = broker.connect("a");
    client.send(&[0xE0, 0, 0x30, 5, 0, 1, b't', 0, b'x']);
    assert!(client.is_closed() && client.packets().is_empty());
    assert!(watcher.messages().is_empty());
}

#[test]
fn connect_properties_stand_once() {
    let expiry = Property::U32(P::SessionExpiryInterval, 1);
    assert_eq!(Broker::new().client("a").with(expiry).with(expiry).refused(), 0x82);
}
