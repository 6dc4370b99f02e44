//! Subscription Options (§3.8.3.1).

use agentmq_codec::{QoS, RetainHandling, SubscriptionOptions};

use crate::harness::Broker;

fn no_local(level: QoS) -> SubscriptionOptions {
    SubscriptionOptions { no_local: true, ..SubscriptionOptions::at(level) }
}

#[test]
fn no_local_keeps_out_the_clients_own_messages() {
    // [MQTT-3.8.3-3]
    let broker = Broker::new();
    let client = broker.connect("a");
    client.subscribe_as("t", no_local(QoS::AtLeastOnce), None);
    client.publish("t", "own", 1);
    broker.connect("b").publish("t", "other", 1);
    assert_eq!(client.payloads(), ["other"]);
}

#[test]
fn no_local_compares_client_identifiers_not_connections() {
    let broker = Broker::new();
    let client = broker.returning("a").connect();
    client.subscribe_as("t", no_local(QoS::AtLeastOnce), None);
    client.disconnect();
    let client = broker.returning("a").connect();
    client.publish("t", "own", 1);
    assert!(client.messages().is_empty());
}

#[test]
fn another_subscription_without_no_local_still_delivers() {
    let broker = Broker::new();
    let client = broker.connect("a");
    client.subscribe_as("t", no_local(QoS::ExactlyOnce), None);
    client.subscribe("+", 1);
    client.publish("t", "x", 2);
    assert_eq!(client.message().qos, 1);
}

#[test]
fn the_same_filter_again_replaces_the_options() {
    // [MQTT-3.8.4-3]
    let broker = Broker::new();
    let client = broker.connect("a");
    client.subscribe_as("t", no_local(QoS::AtMostOnce), None);
    client.subscribe("t", 2);
    client.publish("t", "x", 2);
    assert_eq!(client.message().qos, 2);
    assert_eq!(broker.counters().subscriptions_now, 1);
    assert_eq!(client.unsubscribe("t"), 0);
    assert_eq!(client.unsubscribe("t"), 0x11);
}

#[test]
fn malformed_options_end_the_connection() {
    // [MQTT-3.8.3-5]: reserved bits; QoS 3 and Retain Handling 3 are protocol errors
    let broker = Broker::new();
    for (byte, code) in [(0x40, 0x81), (0x80, 0x81), (0x03, 0x82), (0x30, 0x82)] {
        let client = broker.connect("a");
        client.send(&[0x82, 7, 0, 1, 0, 0, 1, b't', byte]);
        assert_eq!(client.closed_with(), code, "{byte:#x}");
    }
    let old = broker.client("b").v311().connect();
    old.send(&[0x82, 6, 0, 1, 0, 1, b't', 0x04]);
    assert!(old.is_closed(), "version 3.1.1 has no options");
}

#[test]
fn the_maximum_qos_of_the_server_is_granted() {
    let broker = Broker::with(|settings| settings.maximum_qos = QoS::AtLeastOnce);
    let client = broker.connect("a");
    assert_eq!(client.subscribe("t", 2), 1);
    client.publishing("t", "x").qos(2).send();
    assert_eq!(client.closed_with(), 0x9B);
    assert_eq!(broker.client("b").will("w", "x").will_qos(2).refused(), 0x9B);
}

#[test]
fn retain_as_published_is_the_wish_of_any_overlapping_subscription() {
    let broker = Broker::new();
    let client = broker.connect("a");
    let keeps = SubscriptionOptions {
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        ..SubscriptionOptions::default()
    };
    client.subscribe("t", 0);
    client.subscribe_as("+", keeps, None);
    broker.connect("b").retain("t", "x");
    assert!(client.message().retain);
}
