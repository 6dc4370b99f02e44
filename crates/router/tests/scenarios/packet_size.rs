//! The client's Maximum Packet Size (§3.1.2.11.4).

use agentmq_codec::Property;

use crate::harness::{Broker, Got};

#[test]
fn a_publish_that_is_too_large_is_dropped_as_if_delivered() {
    // [MQTT-3.1.2-24, -25]
    let broker = Broker::new();
    let client = broker.returning("a").maximum_packet_size(60).connect();
    client.subscribe("t", 1);
    let publisher = broker.connect("b");
    publisher.publish("t", &"x".repeat(100), 1);
    publisher.publishing("t", "x").qos(1).with(Property::Pair("key", &"v".repeat(60))).send();
    publisher.publish("t", "fits", 1);
    assert_eq!(client.payloads(), ["fits"]);
    assert_eq!(broker.memory_of("a"), Some((0, 0, 0)));
    assert_eq!(broker.counters().dropped_too_large, 2);
}

#[test]
fn its_publisher_is_told_of_success() {
    // [MQTT-3.1.2-25]: as if it had been delivered, so there was a matching subscriber
    let broker = Broker::new();
    for (client_id, filter) in [("a", "t"), ("b", "$share/g/t")] {
        let client = broker.client(client_id).maximum_packet_size(60).connect();
        client.subscribe(filter, 1);
        let publisher = broker.connect("publisher");
        let before = broker.counters().dropped_too_large;
        assert_eq!(publisher.publish("t", &"x".repeat(100), 1), 0, "{filter}");
        assert_eq!(publisher.publish("t", &"x".repeat(100), 2), 0, "{filter}");
        assert_eq!(broker.counters().dropped_too_large, before + 2, "{filter}");
        client.disconnect();
        assert_eq!(publisher.publish("t", &"x".repeat(100), 1), 0x10);
    }
}

#[test]
fn the_size_of_the_connection_that_takes_it_counts() {
    let broker = Broker::new();
    let client = broker.returning("a").by_hand().connect();
    client.subscribe("t", 2);
    let publisher = broker.connect("b");
    for (payload, level) in [("sent 1", 1), ("sent 2", 2)] {
        publisher.publish("t", &payload.repeat(20), level);
    }
    publisher.publish("t", "small", 1);
    client.vanish();
    publisher.publish("t", &"waited".repeat(20), 1);
    let client = broker.returning("a").by_hand().maximum_packet_size(60).connect();
    let message = client.message();
    assert_eq!(message.payload, "small");
    client.puback(message.id);
    assert_eq!(broker.memory_of("a"), Some((0, 0, 0)), "the others count as delivered");
}

#[test]
fn reason_strings_go_only_where_they_fit() {
    // [MQTT-3.2.2-19], [MQTT-3.14.2-3]
    let broker = Broker::with(|settings| settings.limits.sessions = 1);
    let client = broker.client("a").maximum_packet_size(40).connect();
    client.publishing("", "x").alias(9).send();
    assert_eq!(client.closed_with(), 0x82);
    broker.connect("b");
    let refused = broker.client("c").maximum_packet_size(20).attempt();
    let Some(Got::ConnAck { code: 0x97, properties, .. }) = refused.next() else {
        panic!("CONNACK 0x97 expected");
    };
    assert!(properties.view().is_empty());
}

#[test]
fn a_client_that_cannot_take_a_connack_is_refused() {
    // [MQTT-3.1.2-24]
    let broker = Broker::new();
    assert_eq!(broker.client("a").maximum_packet_size(10).refused(), 0x95);
    assert_eq!(broker.counters().sessions_now, 0);
}

#[test]
fn a_maximum_of_0_is_a_protocol_error() {
    assert_eq!(Broker::new().client("a").maximum_packet_size(0).refused(), 0x82);
}

#[test]
fn a_client_that_cannot_take_any_connack_gets_none() {
    // [MQTT-3.1.2-24]
    let broker = Broker::new();
    let client = broker.client("a").maximum_packet_size(4).attempt();
    assert!(client.is_closed() && client.packets().is_empty());
}
