//! What `$SYS/broker/…` tells, by the names and meanings of Mosquitto.

use agentmq_codec::ReasonCode;

use crate::harness::{Broker, Client, DelayedEngine, Riddle};

/// The values that a publication of the statistics sends.
fn statistics(broker: &Broker, reader: &Client) -> impl Fn(&str) -> Option<String> {
    reader.packets();
    broker.publish_sys();
    let messages = reader.messages();
    move |name| {
        let topic = format!("$SYS/broker/{name}");
        let found = messages.iter().find(|it| it.topic == topic)?;
        Some(found.payload.clone())
    }
}

/// One of every kind of packet that a broker sends.
fn everything(broker: &Broker) {
    let client = broker.returning("a").method("riddle", "").attempt();
    client.auth(ReasonCode::ContinueAuthentication, "riddle", "1");
    client.auth(ReasonCode::ReAuthenticate, "riddle", "password");
    client.subscribe("t", 2);
    client.unsubscribe("none");
    for level in 0..=2 {
        client.publish("t", "payload", level);
    }
    client.ping();
    client.publish("$SYS/x", "x", 1);
    let by_hand = broker.returning("b").by_hand().connect();
    by_hand.subscribe("t", 2);
    client.publish("t", "again", 2);
    by_hand.pubrec(by_hand.message().id);
    by_hand.vanish();
    broker.returning("b").connect(); // gets PUBREL
    broker.returning("a").connect(); // takes over
    broker.client("").v311().resuming().refused();
    let broken = broker.connect("c");
    broken.send(&[0xC1, 0]);
    assert_eq!(broken.closed_with(), 0x81);
}

#[test]
fn every_packet_and_byte_that_is_sent_is_counted() {
    let broker = Broker::guarded(Riddle);
    everything(&broker);
    let counters = broker.counters();
    assert_eq!((counters.packets_sent, counters.bytes_sent), broker.received());
    assert!(counters.publish_sent < counters.packets_sent);
}

#[test]
fn an_acknowledgement_is_counted_when_it_leaves() {
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let client = broker.connect("a");
    client.publishing("t", "x").qos(1).send();
    client.publishing("t", "x").qos(1).send();
    assert_eq!(broker.counters().packets_sent, broker.received().0);
    engine.complete_all();
    broker.committed();
    assert_eq!(broker.counters().packets_sent, broker.received().0);
    assert_eq!(broker.received().0, 3, "CONNACK and two PUBACKs");
}

#[test]
fn bytes_received_are_whole_packets() {
    let broker = Broker::new();
    let client = broker.connect("a");
    let before = broker.counters().bytes_received;
    // Fixed header of 3 bytes, topic of 3, Property Length.
    client.publishing("t", &"x".repeat(200)).send();
    assert_eq!(broker.counters().bytes_received - before, 3 + 3 + 1 + 200);
    assert_eq!(broker.counters().publish_bytes_received, 200);
}

#[test]
fn the_names_are_those_of_mosquitto() {
    let broker = Broker::new();
    let reader = broker.connect("reader");
    reader.subscribe("$SYS/#", 0);
    reader.subscribe("$share/g/t", 0);
    reader.subscribe("$share/h/t", 0);
    broker.connect("publisher").publish("t", "12345", 0);
    let value = statistics(&broker, &reader);
    assert_eq!(value("subscriptions/count").as_deref(), Some("1"));
    assert_eq!(value("shared_subscriptions/count").as_deref(), Some("2"));
    assert_eq!(value("publish/bytes/received").as_deref(), Some("5"));
    assert_eq!(value("publish/bytes/sent").as_deref(), Some("10"));
    assert_eq!(value("publish/messages/sent").as_deref(), Some("2"));
    assert_eq!(value("messages/sent").as_deref(), Some("7"));
    assert_ne!(value("bytes/sent").as_deref(), Some("0"));
}

#[test]
fn loads_are_per_minute() {
    let broker = Broker::new();
    let reader = broker.connect("reader");
    reader.subscribe("$SYS/broker/load/#", 0);
    let first = statistics(&broker, &reader);
    for load in [
        "messages/received",
        "messages/sent",
        "publish/received",
        "publish/sent",
        "publish/dropped",
        "bytes/received",
        "bytes/sent",
        "connections",
        "sockets",
    ] {
        for window in ["1min", "5min", "15min"] {
            assert_eq!(first(&format!("load/{load}/{window}")).as_deref(), Some("0.00"), "{load}");
        }
    }
    broker.wait(60);
    let publisher = broker.connect("publisher");
    for _ in 0..100 {
        publisher.publish("t", "x", 0);
    }
    let value = statistics(&broker, &reader);
    // 100 in a minute, of which an average that began at 0 has taken in 1 - 1/e.
    assert_eq!(value("load/publish/received/1min").as_deref(), Some("63.21"));
    assert_eq!(value("load/publish/received/15min").as_deref(), Some("6.45"));
    assert_eq!(value("load/connections/1min").as_deref(), Some("0.63"));
    assert_eq!(value("load/publish/dropped/1min"), None, "unchanged");
}

#[test]
fn what_is_too_large_for_its_receiver_is_dropped() {
    let broker = Broker::new();
    let reader = broker.connect("reader");
    reader.subscribe("$SYS/broker/publish/#", 0);
    let small = broker.client("small").maximum_packet_size(60).connect();
    small.subscribe("t", 0);
    small.subscribe("$share/g/t", 0);
    broker.connect("publisher").publish("t", &"x".repeat(100), 0);
    let value = statistics(&broker, &reader);
    assert_eq!(value("publish/messages/dropped").as_deref(), Some("2"));
}

#[test]
fn durability_is_told_and_a_store_only_where_there_is_one() {
    let broker = Broker::with(|settings| settings.durability = "memory");
    let reader = broker.connect("reader");
    reader.subscribe("$SYS/#", 0);
    let value = statistics(&broker, &reader);
    assert_eq!(value("durability").as_deref(), Some("memory"));
    assert_eq!(value("store/condition"), None);
}
