//! Subscription Identifiers (§3.8.2.1.2, §3.3.2.3.8).

use agentmq_codec::{Property, PropertyId as P, QoS, SubscriptionOptions};

use crate::harness::Broker;

fn plain() -> SubscriptionOptions {
    SubscriptionOptions::at(QoS::AtLeastOnce)
}

#[test]
fn one_publish_carries_those_of_all_overlapping_subscriptions() {
    // [MQTT-3.3.4-3, -4]; QoS is the highest of them [MQTT-3.3.4-2]
    let broker = Broker::new();
    let client = broker.connect("a");
    client.subscribe_as("t/#", SubscriptionOptions::at(QoS::ExactlyOnce), Some(1));
    client.subscribe_as("t/+", plain(), Some(268_435_455));
    client.subscribe_as("t/x", plain(), None);
    client.subscribe_as("u", plain(), Some(3));
    broker.connect("b").publish("t/x", "x", 2);
    let message = client.message();
    assert_eq!((message.qos, message.identifiers()), (2, vec![1, 268_435_455]));
}

#[test]
fn the_same_filter_again_replaces_it_or_takes_it_away() {
    // [MQTT-3.8.4-3]
    let broker = Broker::new();
    let (client, publisher) = (broker.connect("a"), broker.connect("b"));
    for (identifier, expected) in [(Some(1), vec![1]), (Some(2), vec![2]), (None, vec![])] {
        client.subscribe_as("t", plain(), identifier);
        publisher.publish("t", "x", 1);
        assert_eq!(client.message().identifiers(), expected);
    }
}

#[test]
fn they_wait_with_the_message_for_an_absent_client() {
    let broker = Broker::new();
    let client = broker.returning("a").connect();
    client.subscribe_as("t", plain(), Some(5));
    client.disconnect();
    broker.connect("b").publish("t", "x", 1);
    assert_eq!(broker.returning("a").connect().message().identifiers(), [5]);
}

#[test]
fn a_client_may_not_send_one_in_publish() {
    // [MQTT-3.3.4-6]
    let client = Broker::new().connect("a");
    client.publishing("t", "x").with(Property::VarInt(P::SubscriptionIdentifier, 1)).send();
    assert_eq!(client.closed_with(), 0x82);
}

#[test]
fn zero_or_two_of_them_are_a_protocol_error() {
    // §3.8.2.1.2
    let broker = Broker::new();
    let client = broker.connect("a");
    client.send(&[0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, b't', 0]);
    assert_eq!(client.closed_with(), 0x82);
    let client = broker.connect("a");
    client.send(&[0x82, 11, 0, 1, 4, 0x0B, 1, 0x0B, 2, 0, 1, b't', 0]);
    assert_eq!(client.closed_with(), 0x82);
}

#[test]
fn a_server_without_them_says_0xa1() {
    let broker = Broker::with(|settings| settings.subscription_identifiers = false);
    let client = broker.connect("a");
    client.send_subscribe(&[("t", plain())], Some(1));
    assert_eq!(client.closed_with(), 0xA1);
}
