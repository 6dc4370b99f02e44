//! Exactly once (§4.3.3).

use agentmq_codec::{AckKind, ReasonCode};

use crate::harness::{Broker, DelayedEngine, Got};

#[test]
fn a_repeated_publish_is_acknowledged_and_not_delivered_again() {
    // [MQTT-4.3.3-10]
    let broker = Broker::new();
    let receiver = broker.connect("r");
    receiver.subscribe("t", 2);
    let sender = broker.client("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).id(7).send();
    sender.publishing("t", "x").qos(2).id(7).dup().send();
    assert_eq!(sender.packets(), [Got::PubRec(7, 0), Got::PubRec(7, 0)]);
    assert_eq!(receiver.payloads(), ["x"]);
    sender.pubrel(7);
    assert_eq!(sender.packets(), [Got::PubComp(7, 0)]);
    sender.publishing("t", "y").qos(2).id(7).send();
    assert_eq!(receiver.payloads(), ["y"], "a released identifier is free");
}

#[test]
fn the_state_of_a_publish_outlives_its_connection() {
    // [MQTT-4.3.3-10], §4.1
    let broker = Broker::new();
    let receiver = broker.connect("r");
    receiver.subscribe("t", 2);
    let sender = broker.returning("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).id(7).send();
    sender.vanish();
    let sender = broker.returning("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).id(7).dup().send();
    assert_eq!(receiver.payloads(), ["x"]);
}

#[test]
fn a_clean_start_forgets_it() {
    let broker = Broker::new();
    let sender = broker.returning("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).id(7).send();
    let sender = broker.returning("s").clean().by_hand().connect();
    sender.pubrel(7);
    assert_eq!(sender.packets(), [Got::PubComp(7, 0x92)]);
}

#[test]
fn an_unknown_pubrel_gets_0x92_or_a_plain_pubcomp() {
    // [MQTT-4.3.3-11], §3.7.2.1
    let broker = Broker::new();
    let new = broker.client("a").by_hand().connect();
    new.pubrel(9);
    assert_eq!(new.packets(), [Got::PubComp(9, 0x92)]);
    let old = broker.client("b").v311().by_hand().connect();
    old.send(&[0x62, 2, 0, 9]);
    assert_eq!(old.packets(), [Got::PubComp(9, 0)]);
}

#[test]
fn an_unknown_pubrec_gets_a_pubrel_that_ends_it() {
    // §3.6.2.1
    let broker = Broker::new();
    let client = broker.client("a").by_hand().connect();
    client.pubrec(9);
    client.ack(AckKind::PubRec, 10, ReasonCode::UnspecifiedError);
    client.pubcomp(11);
    client.puback(12);
    assert_eq!(client.packets(), [Got::PubRel(9, 0x92)]);
}

#[test]
fn a_pubrec_with_an_error_ends_the_exchange_and_frees_its_place() {
    // [MQTT-4.3.3-4, 4.9.0-3]
    let broker = Broker::new();
    let client = broker.client("a").by_hand().receive_maximum(1).connect();
    client.subscribe("t", 2);
    let publisher = broker.connect("p");
    publisher.publish("t", "1", 2);
    publisher.publish("t", "2", 2);
    let first = client.message();
    client.ack(AckKind::PubRec, first.id, ReasonCode::QuotaExceeded);
    assert_eq!(client.payloads(), ["2"]);
}

#[test]
fn a_pubrec_does_not_free_the_place_but_a_pubcomp_does() {
    // [MQTT-4.9.0-1]
    let broker = Broker::new();
    let client = broker.client("a").by_hand().receive_maximum(1).connect();
    client.subscribe("t", 2);
    let publisher = broker.connect("p");
    publisher.publish("t", "1", 2);
    publisher.publish("t", "2", 2);
    let id = client.message().id;
    client.pubrec(id);
    client.pubrec(id);
    assert_eq!(client.packets(), [Got::PubRel(id, 0), Got::PubRel(id, 0)]);
    client.pubcomp(id);
    assert_eq!(client.payloads(), ["2"]);
}

#[test]
fn the_wrong_kind_of_acknowledgement_does_nothing() {
    let broker = Broker::new();
    let client = broker.returning("a").by_hand().connect();
    client.subscribe("t", 2);
    let publisher = broker.connect("p");
    publisher.publish("t", "1", 1);
    publisher.publish("t", "2", 2);
    let ids: Vec<_> = client.messages().iter().map(|it| it.id).collect();
    client.puback(ids[1]);
    client.pubcomp(ids[0]);
    client.pubcomp(ids[1]);
    assert_eq!(broker.memory_of("a"), Some((2, 0, 0)));
}

#[test]
fn qos_is_the_lower_of_published_and_granted() {
    // [MQTT-3.8.4-8]
    let broker = Broker::new();
    let publisher = broker.connect("p");
    for granted in 0..3 {
        let client = broker.connect("c");
        assert_eq!(client.subscribe("t", granted), granted);
        for published in 0..3 {
            publisher.publish("t", "x", published);
        }
        let got: Vec<_> = client.messages().iter().map(|it| it.qos).collect();
        assert_eq!(got, [0, 1.min(granted), granted]);
    }
}

#[test]
fn dup_is_not_forwarded_and_each_receiver_has_its_own_identifier() {
    // [MQTT-3.3.1-1], [MQTT-2.2.1-4]
    let broker = Broker::new();
    let (a, b) = (broker.connect("a"), broker.connect("b"));
    let publisher = broker.connect("p");
    b.subscribe("b", 1);
    publisher.publish("b", "x", 1);
    b.packets();
    a.subscribe("t", 1);
    b.subscribe("t", 1);
    publisher.publishing("t", "x").qos(1).id(999).dup().send();
    let (a, b) = (a.message(), b.message());
    assert_eq!((a.id, a.dup, b.id, b.dup), (1, false, 2, false));
}

#[test]
fn a_publish_that_a_limit_keeps_from_being_retained_is_still_delivered_once() {
    let broker = Broker::with(|settings| settings.limits.retained_messages = 0);
    let receiver = broker.connect("r");
    receiver.subscribe("t", 2);
    let sender = broker.returning("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).retain().id(7).send();
    assert_eq!(sender.packets(), [Got::PubRec(7, 0)], "an error would end the exchange");
    sender.vanish();
    let sender = broker.returning("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).retain().id(7).dup().send();
    assert_eq!(sender.packets(), [Got::PubRec(7, 0)]);
    assert_eq!(receiver.payloads(), ["x"]);
}

#[test]
fn identifiers_that_are_never_released_stay_bounded() {
    // CVE-2023-28366
    let broker = Broker::new();
    let sender = broker.client("s").v311().by_hand().connect();
    for id in 1..=u16::MAX {
        sender.publishing("t", "").qos(2).id(id).send();
    }
    sender.publishing("t", "").qos(2).id(77).send();
    assert_eq!(broker.memory_of("s"), Some((0, 0, 65_535)));
    for id in 1..=u16::MAX {
        sender.pubrel(id);
    }
    assert_eq!(broker.memory_of("s"), Some((0, 0, 0)));
}

#[test]
fn a_repetition_waits_for_the_commit_too() {
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let sender = broker.client("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).id(7).send();
    sender.publishing("t", "x").qos(2).id(7).dup().send();
    assert!(sender.packets().is_empty());
    engine.complete_all();
    broker.committed();
    assert_eq!(sender.packets(), [Got::PubRec(7, 0x10), Got::PubRec(7, 0)]);
}
