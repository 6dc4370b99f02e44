//! Retained messages (§3.3.1.3).

use agentmq_codec::{Property, QoS, RetainHandling, SubscriptionOptions};

use crate::harness::{Broker, Got};

fn options(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { retain_handling, ..SubscriptionOptions::at(QoS::AtLeastOnce) }
}

#[test]
fn a_new_subscription_gets_it_with_retain_1() {
    // [MQTT-3.3.1-8, 3.3.1-9]
    let broker = Broker::new();
    let publisher = broker.connect("publisher");
    publisher.retain("a/b", "old");
    publisher.retain("a/b", "new");
    publisher.retain("c", "else");
    let client = broker.connect("client");
    client.subscribe("a/#", 2);
    let message = client.message();
    assert_eq!((message.payload.as_str(), message.retain, message.qos), ("new", true, 1));
}

#[test]
fn an_established_subscription_gets_it_with_retain_0() {
    // [MQTT-3.3.1-12]; with Retain As Published [MQTT-3.3.1-13]
    let broker = Broker::new();
    let (plain, keeps) = (broker.connect("plain"), broker.connect("keeps"));
    plain.subscribe("a", 1);
    let as_published = SubscriptionOptions {
        retain_as_published: true,
        ..SubscriptionOptions::at(QoS::AtLeastOnce)
    };
    keeps.subscribe_as("a", as_published, None);
    let publisher = broker.connect("publisher");
    publisher.retain("a", "x");
    publisher.publish("a", "y", 1);
    assert_eq!(plain.messages().iter().map(|it| it.retain).collect::<Vec<_>>(), [false, false]);
    assert_eq!(keeps.messages().iter().map(|it| it.retain).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn retain_handling_says_when() {
    // [MQTT-3.3.1-9, -10, -11]
    let broker = Broker::new();
    broker.connect("publisher").retain("a", "x");
    let client = broker.connect("client");
    client.subscribe_as("a", options(RetainHandling::DoNotSend), None);
    assert!(client.messages().is_empty());
    client.subscribe_as("a", options(RetainHandling::SendIfNew), None);
    assert!(client.messages().is_empty(), "the filter exists, whatever its options were");
    client.subscribe_as("a", options(RetainHandling::Send), None);
    client.subscribe_as("a", options(RetainHandling::Send), None);
    assert_eq!(client.payloads(), ["x", "x"]);
    client.unsubscribe("a");
    client.subscribe_as("a", options(RetainHandling::SendIfNew), None);
    assert_eq!(client.payloads(), ["x"]);
}

#[test]
fn a_subscription_of_a_resumed_session_is_not_new() {
    // [MQTT-3.3.1-10]
    let broker = Broker::new();
    broker.connect("publisher").retain("a", "x");
    let client = broker.returning("client").connect();
    client.subscribe_as("a", options(RetainHandling::SendIfNew), None);
    assert_eq!(client.payloads(), ["x"]);
    client.disconnect();
    let client = broker.returning("client").connect();
    client.subscribe_as("a", options(RetainHandling::SendIfNew), None);
    assert!(client.messages().is_empty());
}

#[test]
fn an_empty_payload_clears_it_and_is_delivered() {
    // [MQTT-3.3.1-6, -7]
    let broker = Broker::new();
    let (publisher, live) = (broker.connect("publisher"), broker.connect("live"));
    publisher.retain("a", "x");
    live.subscribe("a", 1);
    live.packets();
    publisher.retain("a", "");
    assert_eq!(live.payloads(), [""]);
    let late = broker.connect("late");
    late.subscribe("a", 1);
    assert!(late.messages().is_empty());
    assert_eq!(broker.counters().retained_now, 0);
    assert_eq!(broker.counters().retained_bytes, 0);
}

#[test]
fn qos_0_replaces_it_too() {
    // [MQTT-3.3.1-5]
    let broker = Broker::new();
    let publisher = broker.connect("publisher");
    publisher.retain("a", "old");
    publisher.publishing("a", "new").retain().send();
    let late = broker.connect("late");
    late.subscribe("a", 1);
    let message = late.message();
    assert_eq!((message.payload.as_str(), message.qos), ("new", 0));
}

#[test]
fn a_message_without_retain_leaves_it_alone() {
    // [MQTT-3.3.1-8] of 3.1.1
    let broker = Broker::new();
    let publisher = broker.connect("publisher");
    publisher.retain("a", "kept");
    publisher.publish("a", "passing", 1);
    publisher.publish("a", "", 1);
    let late = broker.connect("late");
    late.subscribe("a", 1);
    assert_eq!(late.payloads(), ["kept"]);
}

#[test]
fn shared_subscriptions_get_none() {
    // §4.8.2
    let broker = Broker::new();
    broker.connect("publisher").retain("a", "x");
    let member = broker.connect("member");
    member.subscribe("$share/g/a", 1);
    assert!(member.messages().is_empty());
}

#[test]
fn it_carries_the_subscription_identifier_and_its_own_properties() {
    // [MQTT-3.3.4-3], [MQTT-3.3.2-17]
    let broker = Broker::new();
    let publisher = broker.connect("publisher");
    publisher.publishing("a", "x").qos(1).retain().with(Property::Pair("k", "v")).send();
    let client = broker.connect("client");
    client.subscribe_as("a", options(RetainHandling::Send), Some(7));
    let message = client.message();
    assert_eq!(message.identifiers(), [7]);
    assert_eq!(message.properties.view().user_properties().collect::<Vec<_>>(), [("k", "v")]);
}

#[test]
fn it_expires() {
    // [MQTT-3.3.2-5, -6]
    let broker = Broker::new();
    let publisher = broker.connect("publisher");
    publisher.publishing("a", "x").qos(1).retain().expiry(10).send();
    broker.wait(4);
    let client = broker.connect("client");
    client.subscribe("a", 1);
    assert_eq!(client.message().expiry(), Some(6));
    broker.wait(6);
    client.subscribe("a", 1);
    assert!(client.messages().is_empty());
    broker.wait(2);
    assert_eq!(broker.counters().retained_now, 0, "swept");
}

#[test]
fn a_leading_wildcard_does_not_find_dollar_topics() {
    // [MQTT-4.7.2-1]
    let broker = Broker::new();
    broker.connect("publisher").retain("$a2a/a", "x");
    let client = broker.connect("client");
    client.subscribe("#", 1);
    client.subscribe("+/a", 1);
    assert!(client.messages().is_empty());
    client.subscribe("$a2a/#", 1);
    assert_eq!(client.payloads(), ["x"]);
}

#[test]
fn what_exceeds_a_limit_is_delivered_and_told_and_replaces_the_old_one() {
    let broker = Broker::with(|settings| settings.limits.retained_bytes = 400);
    let (publisher, live) = (broker.connect("publisher"), broker.connect("live"));
    live.subscribe("a", 2);
    publisher.retain("a", "small");
    publisher.packets();
    let large = "x".repeat(300);
    let id = publisher.publishing("a", &large).qos(1).retain().send();
    assert_eq!(publisher.packets(), [Got::PubAck(id, 0x97)]);
    assert_eq!(live.payloads(), ["small", &large]);
    let late = broker.connect("late");
    late.subscribe("a", 1);
    assert!(late.messages().is_empty(), "the small one is not the newest any more");
}

#[test]
fn more_than_the_window_come_as_acknowledgements_make_room() {
    // [MQTT-3.3.4-9]
    let broker = Broker::new();
    let publisher = broker.connect("publisher");
    for index in 0..500 {
        publisher.retain(&format!("a/{index:03}"), "x");
    }
    let client = broker.client("client").receive_maximum(3).connect();
    client.subscribe("a/#", 1);
    assert_eq!(client.messages().len(), 500);
}

#[test]
fn unsubscribing_stops_those_that_have_not_been_sent() {
    // [MQTT-3.10.4-2]
    let broker = Broker::with(|settings| settings.retained_gap_ms = 10);
    broker.connect("publisher").retain("a", "x");
    let client = broker.connect("client");
    client.subscribe("a", 1);
    client.unsubscribe("a");
    broker.wait(1);
    assert!(client.messages().is_empty());
}

#[test]
fn those_that_the_connection_did_not_carry_come_on_the_next() {
    // [MQTT-4.4.0-1]: SUBACK promised them
    let broker = Broker::with(|settings| settings.retained_gap_ms = 10);
    let publisher = broker.connect("publisher");
    publisher.retain("a", "x");
    let client = broker.returning("client").connect();
    client.subscribe("a", 1);
    client.vanish();
    publisher.publish("a", "live", 1);
    broker.wait(60);
    let client = broker.returning("client").connect();
    assert_eq!(client.payloads(), ["x", "live"]);
}

#[test]
fn asking_again_and_again_without_taking_any_is_bounded() {
    let broker = Broker::with(|settings| settings.limits.subscriptions_per_session = 5);
    broker.connect("publisher").retain("a", "x");
    broker.connect("publisher").retain("b", "x");
    let client = broker.client("client").by_hand().receive_maximum(1).connect();
    client.subscribe("b", 1);
    let codes: Vec<_> = (0..10).map(|_| client.subscribe("a", 1)).collect();
    assert_eq!(codes, [1, 1, 1, 1, 1, 0x97, 0x97, 0x97, 0x97, 0x97]);
}

#[test]
fn asking_many_times_in_one_packet_is_bounded() {
    let broker = Broker::with(|settings| settings.limits.subscriptions_per_session = 2);
    broker.connect("publisher").retain("a", "x");
    let client = broker.connect("client");
    client.send(b"\x82\x0F\0\x01\0\0\x01a\0\0\x01a\0\0\x01a\0");
    assert_eq!(client.next(), Some(Got::SubAck(1, vec![0, 0, 0x97])));
}

#[test]
fn servers_without_retained_messages_refuse_them() {
    // [MQTT-3.2.2-14]
    let broker = Broker::with(|settings| settings.retain_available = false);
    let client = broker.connect("client");
    client.publishing("a", "x").retain().send();
    assert_eq!(client.closed_with(), 0x9A);
    assert_eq!(broker.client("b").will("w", "x").will_retain().refused(), 0x9A);
}

#[test]
fn only_what_expires_keeps_an_idle_broker_awake() {
    let broker = Broker::new();
    assert!(broker.may_sleep());
    let client = broker.connect("a");
    client.retain("stays", "x");
    assert!(broker.may_sleep());
    client.publishing("goes", "x").retain().expiry(30).send();
    client.publishing("replaced", "x").retain().expiry(30).send();
    client.retain("replaced", "y");
    assert!(!broker.may_sleep());
    broker.wait(32);
    assert_eq!(broker.counters().retained_now, 2);
    assert!(broker.may_sleep());
}
