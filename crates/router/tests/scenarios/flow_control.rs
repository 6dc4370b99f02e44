//! Receive Maximum in both directions (§4.9), and clients that do not read.

use agentmq_codec::PropertyId as P;

use crate::harness::{Broker, DelayedEngine, Got};

#[test]
fn never_more_than_the_client_accepts() {
    // [MQTT-3.3.4-9]
    let broker = Broker::new();
    let client = broker.client("c").by_hand().receive_maximum(2).connect();
    client.subscribe("t", 2);
    let publisher = broker.connect("p");
    for (payload, level) in [("1", 1), ("2", 2), ("3", 1), ("4", 1)] {
        publisher.publish("t", payload, level);
    }
    let first = client.messages();
    assert_eq!(first.len(), 2);
    client.puback(first[0].id);
    assert_eq!(client.payloads(), ["3"]);
    client.pubrec(first[1].id);
    assert!(client.payloads().is_empty());
    client.pubcomp(first[1].id);
    assert_eq!(client.payloads(), ["4"]);
}

#[test]
fn qos_0_does_not_count_and_does_not_wait() {
    // [MQTT-4.9.0-3]
    let broker = Broker::new();
    let client = broker.client("c").by_hand().receive_maximum(1).connect();
    client.subscribe("t", 1);
    let publisher = broker.connect("p");
    for (payload, level) in [("1", 1), ("2", 1), ("zero", 0), ("3", 1), ("nil", 0)] {
        publisher.publish("t", payload, level);
    }
    assert_eq!(client.payloads(), ["1", "zero", "nil"]);
}

#[test]
fn a_lower_receive_maximum_holds_for_what_is_sent_again() {
    // [MQTT-3.3.4-9], §4.9: the quota begins anew with each connection
    let broker = Broker::new();
    let client = broker.returning("c").by_hand().connect();
    client.subscribe("t", 1);
    let publisher = broker.connect("p");
    for payload in ["1", "2", "3", "4"] {
        publisher.publish("t", payload, 1);
    }
    client.vanish();
    publisher.publish("t", "5", 1);
    let client = broker.returning("c").by_hand().receive_maximum(1).connect();
    let mut seen = Vec::new();
    loop {
        let messages = client.messages();
        assert!(messages.len() <= 1);
        let Some(message) = messages.into_iter().next() else { break };
        client.puback(message.id);
        seen.push((message.payload, message.dup));
    }
    let expected = [("1", true), ("2", true), ("3", true), ("4", true), ("5", false)];
    assert_eq!(seen, expected.map(|(payload, dup)| (payload.to_string(), dup)));
    assert_eq!(broker.memory_of("c"), Some((0, 0, 0)));
}

#[test]
fn a_client_that_exceeds_ours_is_closed_with_0x93() {
    // [MQTT-3.3.4-7]
    let broker = Broker::with(|settings| settings.limits.receive_maximum = 2);
    let client = broker.client("c").by_hand().attempt();
    let Some(Got::ConnAck { properties, .. }) = client.next() else { panic!("CONNACK expected") };
    assert_eq!(properties.view().u16(P::ReceiveMaximum), Some(2));
    for id in 1..=2 {
        client.publishing("t", "x").qos(2).id(id).send();
    }
    client.publishing("t", "x").qos(2).id(2).dup().send();
    client.publishing("t", "x").send();
    assert!(!client.is_closed(), "a repetition and QoS 0 do not count");
    client.publishing("t", "x").qos(1).id(3).send();
    assert_eq!(client.closed_with(), 0x93);
}

#[test]
fn acknowledgements_that_wait_for_a_commit_count_once() {
    // [MQTT-3.3.4-7]: an exchange of QoS 2 is one, whatever waits for it
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let client = broker.client("c").by_hand().connect();
    client.send_subscribe(&[("t", Default::default())], None);
    for id in 1..=1024 {
        client.publishing("u", "x").qos(2).id(id).send();
    }
    assert!(!client.is_closed(), "1024 is our Receive Maximum");
    client.publishing("u", "x").qos(1).id(2000).send();
    assert_eq!(client.closed_with(), 0x93);
}

#[test]
fn a_completed_exchange_makes_room_in_ours() {
    let broker = Broker::with(|settings| settings.limits.receive_maximum = 1);
    let client = broker.connect("c");
    for _ in 0..5 {
        assert_eq!(client.publish("t", "x", 2), 0x10);
        assert_eq!(client.publish("t", "x", 1), 0x10);
    }
}

#[test]
fn what_connack_told_holds_after_a_reload() {
    let broker = Broker::new();
    let client = broker.client("c").by_hand().connect();
    broker.reconfigure(|settings| settings.limits.receive_maximum = 1);
    for id in 1..=5 {
        client.publishing("t", "x").qos(2).id(id).send();
    }
    assert!(!client.is_closed());
}

#[test]
fn a_3_1_1_client_has_no_receive_maximum() {
    let broker = Broker::with(|settings| settings.limits.receive_maximum = 1);
    let client = broker.client("c").v311().by_hand().connect();
    for id in 1..=5 {
        client.publishing("t", "x").qos(2).id(id).send();
    }
    assert_eq!(client.packets().len(), 5);
}

#[test]
fn a_reader_that_stops_gets_the_rest_later() {
    let broker = Broker::with(|settings| {
        settings.limits.outbox_bytes = 10_000;
        settings.limits.in_flight = 10_000;
    });
    let client = broker.connect("c");
    client.subscribe("t", 1);
    client.stall();
    let publisher = broker.connect("p");
    let payload = "x".repeat(1000);
    for level in [1, 0].repeat(100) {
        publisher.publish("t", &payload, level);
    }
    assert!(broker.counters().dropped_slow_consumer > 0, "QoS 0 is dropped");
    client.unstall();
    let messages = client.messages();
    assert_eq!(messages.iter().filter(|it| it.qos == 1).count(), 100);
    assert_eq!(broker.memory_of("c"), Some((0, 0, 0)));
}

#[test]
fn a_long_queue_comes_in_portions_and_whole() {
    let broker = Broker::with(|settings| settings.limits.in_flight = 10_000);
    let client = broker.returning("c").connect();
    client.subscribe("t", 1);
    client.disconnect();
    let publisher = broker.connect("p");
    let payload = "x".repeat(3000);
    for _ in 0..500 {
        publisher.publish("t", &payload, 1);
    }
    let client = broker.returning("c").by_hand().connect();
    assert_eq!(client.messages().len(), 500, "1.5 MB, with no acknowledgement to drive it");
}

#[test]
fn one_that_is_never_acknowledged_holds_the_others_up_only_far_ahead() {
    // As `Limits::in_flight` says.
    let broker = Broker::with(|settings| settings.limits.queue_messages = 5_000);
    let client = broker.client("c").by_hand().receive_maximum(2).connect();
    client.subscribe("t", 1);
    let publisher = broker.connect("p");
    for number in 0..1_500 {
        publisher.publish("t", &number.to_string(), 1);
    }
    let (mut seen, mut stuck) = (Vec::new(), None);
    loop {
        let messages = client.messages();
        if messages.is_empty() {
            match stuck.take() {
                Some(id) => client.puback(id),
                None => break,
            }
            assert_eq!(seen.len(), 1_024);
        }
        for message in messages {
            if seen.is_empty() {
                stuck = Some(message.id);
            } else {
                client.puback(message.id);
            }
            seen.push(message.payload);
        }
    }
    assert!(seen.into_iter().eq((0..1_500).map(|number| number.to_string())), "all, in order");
}
