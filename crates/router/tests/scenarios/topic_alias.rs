//! Topic aliases (§3.3.2.3.4).

use crate::harness::Broker;

#[test]
fn an_alias_stands_for_the_topic_it_was_set_to() {
    // [MQTT-3.3.2-12]
    let broker = Broker::new();
    let receiver = broker.connect("r");
    receiver.subscribe("#", 1);
    let sender = broker.connect("s");
    sender.publishing("a", "1").alias(1).send();
    sender.publishing("", "2").alias(1).send();
    sender.publishing("b", "3").alias(1).qos(1).send();
    sender.publishing("", "4").alias(1).qos(2).send();
    let seen: Vec<_> = receiver.messages().into_iter().map(|it| (it.topic, it.payload)).collect();
    let expected = [("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")];
    assert_eq!(seen, expected.map(|(topic, payload)| (topic.into(), payload.into())));
}

#[test]
fn bad_aliases_end_the_connection() {
    // [MQTT-3.3.2-8, -9, -10]
    let broker = Broker::with(|settings| settings.limits.topic_aliases_in = 3);
    for (topic, alias, code) in [("a", 0, 0x94), ("a", 4, 0x94), ("", 2, 0x82)] {
        let client = broker.connect("c");
        client.publishing(topic, "x").alias(alias).send();
        assert_eq!(client.closed_with(), code, "{topic:?} {alias}");
    }
    let client = broker.connect("c");
    client.publishing("", "x").send();
    assert_eq!(client.closed_with(), 0x82, "neither topic nor alias");
}

#[test]
fn the_maximum_that_connack_told_holds_after_a_reload() {
    let broker = Broker::new();
    let client = broker.connect("c");
    broker.reconfigure(|settings| settings.limits.topic_aliases_in = 0);
    client.publishing("a", "x").alias(16).send();
    assert!(!client.is_closed());
}

#[test]
fn aliases_belong_to_their_connection() {
    // [MQTT-3.3.2-7]
    let broker = Broker::new();
    let client = broker.returning("c").connect();
    client.publishing("a", "x").alias(1).send();
    let client = broker.returning("c").connect();
    client.publishing("", "x").alias(1).send();
    assert_eq!(client.closed_with(), 0x82);
}

#[test]
fn the_topic_behind_an_alias_keeps_to_the_limits() {
    let broker = Broker::new();
    let client = broker.connect("c");
    client.publishing(&"a/".repeat(70), "x").alias(1).send();
    assert_eq!(client.closed_with(), 0x90);
}

#[test]
fn the_broker_uses_as_many_as_the_client_accepts() {
    // [MQTT-3.1.2-26, -27]
    let broker = Broker::new();
    let client = broker.client("c").topic_alias_maximum(1).connect();
    client.subscribe("#", 1);
    let plain = broker.connect("d");
    plain.subscribe("#", 1);
    let publisher = broker.connect("p");
    for topic in ["long/topic/a", "long/topic/a", "long/topic/b", "long/topic/a"] {
        publisher.publish(topic, "x", 1);
    }
    let seen: Vec<_> = client.messages().into_iter().map(|it| (it.alias(), it.topic)).collect();
    let expected =
        [(Some(1), "long/topic/a"), (Some(1), ""), (None, "long/topic/b"), (Some(1), "")];
    assert_eq!(seen, expected.map(|(alias, topic)| (alias, topic.to_string())));
    assert!(plain.messages().iter().all(|it| it.alias().is_none()));
}

#[test]
fn what_is_sent_again_says_its_topic() {
    // The aliases of the broken connection are gone.
    let broker = Broker::new();
    let client = broker.returning("c").by_hand().topic_alias_maximum(5).connect();
    client.subscribe("topic", 1);
    let publisher = broker.connect("p");
    publisher.publish("topic", "1", 1);
    publisher.publish("topic", "2", 1);
    client.vanish();
    let client = broker.returning("c").by_hand().topic_alias_maximum(5).connect();
    let topics: Vec<_> = client.messages().into_iter().map(|it| it.topic).collect();
    assert_eq!(topics, ["topic", ""]);
}

#[test]
fn an_alias_is_left_out_where_it_would_make_the_packet_too_large() {
    // [MQTT-3.1.2-24]
    let broker = Broker::new();
    let client = broker.client("c").topic_alias_maximum(50).maximum_packet_size(100).connect();
    client.subscribe("#", 0);
    let publisher = broker.connect("p");
    for len in 80..100 {
        publisher.publish(&format!("a{len}"), &"x".repeat(len), 0);
    }
    let messages = client.messages();
    assert_eq!(messages.len(), 13, "2 + 2 + 3 + 1 bytes leave 92 for the payload");
    for message in &messages {
        let alias = if message.alias().is_some() { 3 } else { 0 };
        assert!(2 + 2 + message.topic.len() + 1 + alias + message.payload.len() <= 100);
    }
    assert!(messages[0].alias().is_some() && messages[12].alias().is_none());
}
