//! What comes before what (§4.6).

use crate::harness::{Broker, DelayedEngine, Got};

fn kinds(packets: &[Got]) -> Vec<String> {
    packets
        .iter()
        .map(|got| match got {
            Got::SubAck(..) => "suback".into(),
            Got::Publish(it) if it.retain => format!("retained {}", it.payload),
            Got::Publish(it) => it.payload.clone(),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn suback_then_retained_then_live() {
    for gap in [0, 10] {
        let broker = Broker::with(|settings| settings.retained_gap_ms = gap);
        let publisher = broker.connect("p");
        publisher.retain("t", "old");
        let client = broker.connect("c");
        client.stall();
        client.send_subscribe(&[("t", agentmq_codec::SubscriptionOptions::default())], None);
        publisher.publish("t", "live", 0);
        client.unstall();
        broker.wait(1);
        assert_eq!(kinds(&client.packets()), ["suback", "retained old", "live"], "gap {gap}");
    }
}

#[test]
fn a_retained_message_replaced_meanwhile_comes_once() {
    let broker = Broker::with(|settings| settings.retained_gap_ms = 10);
    let publisher = broker.connect("p");
    publisher.retain("t", "old");
    let client = broker.connect("c");
    client.subscribe("t", 1);
    publisher.retain("t", "new");
    broker.wait(1);
    assert_eq!(client.payloads(), ["new"]);
}

#[test]
fn the_gap_passes_before_the_first_retained_message() {
    let broker = Broker::with(|settings| settings.retained_gap_ms = 10);
    broker.connect("p").retain("t", "old");
    let client = broker.connect("c");
    client.subscribe("t", 0);
    broker.wait_ms(9);
    assert!(client.messages().is_empty());
    broker.wait_ms(1);
    assert_eq!(client.payloads(), ["old"]);
}

#[test]
fn retained_messages_wait_for_a_suback_that_waits_for_its_commit() {
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let publisher = broker.connect("p");
    publisher.retain("t", "old");
    let client = broker.connect("c");
    client.send_subscribe(&[("t", agentmq_codec::SubscriptionOptions::default())], None);
    publisher.publish("t", "live", 0);
    broker.wait(1);
    assert!(client.packets().is_empty());
    engine.complete_all();
    broker.committed();
    assert_eq!(kinds(&client.packets()), ["suback", "retained old", "live"]);
}

#[test]
fn messages_of_one_topic_and_qos_keep_their_order() {
    // [MQTT-4.6.0-5, -6], with a window that is mostly full
    let broker = Broker::new();
    let client = broker.client("c").receive_maximum(2).connect();
    client.subscribe("t", 2);
    let publisher = broker.connect("p");
    for number in 0..60 {
        publisher.publish("t", &format!("{}/{number}", number % 3), (number % 3) as u8);
    }
    let seen = client.payloads();
    assert_eq!(seen.len(), 60);
    for level in 0..3 {
        let prefix = format!("{level}/");
        let numbers: Vec<u32> = seen
            .iter()
            .filter_map(|it| it.strip_prefix(&prefix))
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
}

#[test]
fn qos_0_behind_retained_messages_is_not_overtaken_by_later_qos_0() {
    // [MQTT-4.6.0-6]
    let broker = Broker::with(|settings| settings.retained_gap_ms = 10);
    let publisher = broker.connect("p");
    publisher.retain("a", "retained");
    let client = broker.client("c").by_hand().receive_maximum(1).connect();
    client.subscribe("+", 1);
    publisher.publish("a", "1", 1);
    publisher.publish("a", "zero", 0);
    broker.wait(1); // the retained message fills the window, "1" waits for it
    publisher.publish("a", "one", 0);
    assert_eq!(client.payloads(), ["retained", "zero", "one"]);
}

#[test]
fn qos_0_behind_a_full_outbox_is_not_overtaken_by_later_qos_0() {
    // [MQTT-4.6.0-6]
    let broker = Broker::with(|settings| settings.retained_gap_ms = 10);
    let publisher = broker.connect("p");
    publisher.retain("t", "retained");
    let client = broker.connect("c");
    client.subscribe("t", 0);
    for _ in 0..200 {
        publisher.publish("t", &"x".repeat(3000), 0);
    }
    client.stall();
    broker.wait(1); // the outbox takes a part of them
    publisher.publish("t", "last", 0);
    client.unstall();
    let payloads = client.payloads();
    assert_eq!(payloads.len(), 202);
    assert_eq!(payloads.last().map(String::as_str), Some("last"));
}

#[test]
fn a_hold_on_resume_lets_nothing_through_and_then_everything_in_order() {
    let broker = Broker::with(|settings| settings.hold_on_resume_ms = 100);
    let client = broker.returning("c").by_hand().connect();
    client.subscribe("t", 1);
    let publisher = broker.connect("p");
    publisher.publish("t", "sent", 1);
    client.vanish();
    publisher.publish("t", "queued", 1);
    let client = broker.returning("c").by_hand().connect();
    publisher.publish("t", "live 1", 1);
    publisher.publish("t", "live 0", 0);
    broker.wait_ms(99);
    assert!(client.messages().is_empty());
    broker.wait_ms(1);
    assert_eq!(client.payloads(), ["sent", "queued", "live 1", "live 0"]);
}

#[test]
fn a_hold_ends_also_when_nothing_waited_at_its_beginning() {
    let broker = Broker::with(|settings| settings.hold_on_resume_ms = 100);
    let client = broker.returning("c").connect();
    client.subscribe("t", 1);
    client.disconnect();
    let client = broker.returning("c").connect();
    broker.connect("p").publish("t", "x", 1);
    assert!(client.messages().is_empty());
    broker.wait_ms(100);
    assert_eq!(client.payloads(), ["x"]);
}

#[test]
fn a_new_session_is_not_held() {
    let broker = Broker::with(|settings| settings.hold_on_resume_ms = 100);
    let client = broker.returning("c").connect();
    client.subscribe("t", 1);
    client.publish("t", "x", 1);
    assert_eq!(client.payloads(), ["x"]);
}

#[test]
fn acknowledgements_keep_the_order_of_what_they_acknowledge() {
    // [MQTT-4.6.0-2, -3]
    let client = Broker::new().client("c").by_hand().connect();
    for id in [5, 3, 9] {
        client.publishing("t", "x").qos(1).id(id).send();
    }
    for id in [6, 4] {
        client.publishing("t", "x").qos(2).id(id).send();
    }
    let expected = [
        Got::PubAck(5, 0x10),
        Got::PubAck(3, 0x10),
        Got::PubAck(9, 0x10),
        Got::PubRec(6, 0x10),
        Got::PubRec(4, 0x10),
    ];
    assert_eq!(client.packets(), expected);
}
