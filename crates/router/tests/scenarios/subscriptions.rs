//! SUBSCRIBE, UNSUBSCRIBE and what matches (§3.8 to §3.11, §4.7).

use agentmq_codec::{Properties, QoS, SubscriptionOptions, Unsubscribe};

use crate::harness::{Broker, Got};

fn at(level: u8) -> SubscriptionOptions {
    SubscriptionOptions::at(QoS::from_bits(level).expect("0, 1 or 2"))
}

#[test]
fn one_code_for_each_filter_in_order() {
    // [MQTT-3.9.3-1], [MQTT-3.8.4-2, -6]
    let client = Broker::new().connect("a");
    let id = client.send_subscribe(
        &[("t", at(2)), ("bad/#/filter", at(0)), ("$share/g/u", at(1)), ("", at(0))],
        None,
    );
    assert_eq!(client.packets(), [Got::SubAck(id, vec![2, 0x8F, 1, 0x8F])]);
}

#[test]
fn a_3_1_1_client_gets_0x80_for_every_failure() {
    let client = Broker::new().client("a").v311().connect();
    let id = client.send_subscribe(&[("t", at(1)), ("t#", at(0))], None);
    assert_eq!(client.packets(), [Got::SubAck(id, vec![1, 0x80])]);
}

#[test]
fn unsuback_has_a_code_for_each_filter_in_order() {
    // [MQTT-3.11.3-1]; none before version 5
    let broker = Broker::new();
    for client in [broker.connect("a"), broker.client("b").v311().connect()] {
        client.subscribe("t", 0);
        let filters = ["u", "t", "bad#"];
        let mut bytes = Vec::new();
        Unsubscribe::encode_parts(9, Properties::EMPTY, filters, client.version(), &mut bytes);
        client.send(&bytes);
        let codes = if client.version().is_v5() { vec![0x11, 0, 0x8F] } else { vec![] };
        assert_eq!(client.packets(), [Got::UnsubAck(9, codes)]);
    }
}

#[test]
fn no_filters_are_a_protocol_error() {
    // [MQTT-3.8.3-2], [MQTT-3.10.3-2]
    let broker = Broker::new();
    for packet in [[0x82, 3, 0, 1, 0], [0xA2, 3, 0, 1, 0]] {
        let client = broker.connect("a");
        client.send(&packet);
        assert_eq!(client.closed_with(), 0x82);
    }
}

#[test]
fn filters_match_by_whole_levels() {
    // [MQTT-4.7.1-1, -2, 4.7.2-1, 4.7.3-4]
    let broker = Broker::new();
    let publisher = broker.connect("p");
    let cases = [
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("+", "a", true),
        ("+", "/a", false),
        ("+/+", "/a", true),
        ("/+", "/a", true),
        ("a//b", "a//b", true),
        ("a/+/b", "a//b", true),
        ("a/", "a", false),
        ("A", "a", false),
        ("#", "$a2a/a", false),
        ("+/a", "$a2a/a", false),
        ("$a2a/+", "$a2a/a", true),
    ];
    for (filter, topic, matches) in cases {
        let client = broker.connect("c");
        client.subscribe(filter, 0);
        publisher.publish(topic, "x", 0);
        assert_eq!(!client.messages().is_empty(), matches, "{filter} {topic}");
    }
}

#[test]
fn unsubscribing_stops_new_messages_and_finishes_those_begun() {
    // [MQTT-3.10.4-2, -3]
    let broker = Broker::new();
    let client = broker.returning("a").by_hand().connect();
    client.subscribe("t", 2);
    let publisher = broker.connect("b");
    publisher.publish("t", "1", 2);
    let id = client.message().id;
    client.unsubscribe("t");
    publisher.publish("t", "2", 2);
    client.pubrec(id);
    assert_eq!(client.packets(), [Got::PubRel(id, 0)]);
}

#[test]
fn a_full_session_gets_0x97() {
    let broker = Broker::with(|settings| settings.limits.subscriptions_per_session = 2);
    let client = broker.connect("a");
    let codes = ["a", "b", "c", "b", "$share/g/d"].map(|filter| client.subscribe(filter, 0));
    assert_eq!(codes, [0, 0, 0x97, 0, 0x97]);
    client.unsubscribe("a");
    assert_eq!(client.subscribe("c", 0), 0);
}

#[test]
fn filters_beyond_a_limit_get_0x8f() {
    // CVE-2019-11779
    let client = Broker::new().connect("a");
    assert_eq!(client.subscribe(&"/".repeat(65_400), 0), 0x8F);
    assert_eq!(client.subscribe(&"x".repeat(513), 0), 0x8F);
    assert_eq!(client.unsubscribe(&"/".repeat(65_400)), 0x8F);
}

#[test]
fn what_the_server_does_not_offer_is_refused() {
    let broker = Broker::with(|settings| {
        settings.wildcard_subscriptions = false;
        settings.shared_subscriptions = false;
    });
    let client = broker.connect("a");
    assert_eq!(client.subscribe("a/#", 0), 0xA2);
    assert_eq!(client.subscribe("$share/g/a", 0), 0x9E);
    assert_eq!(client.subscribe("a", 0), 0);
}

#[test]
fn puback_tells_whether_anybody_subscribes() {
    // §3.4.2.1: 0x10
    let broker = Broker::new();
    let client = broker.connect("a");
    assert_eq!(client.publish("t", "x", 1), 0x10);
    client.subscribe("t", 0);
    assert_eq!(client.publish("t", "x", 1), 0);
    assert_eq!(client.publish("t", "x", 2), 0);
}

#[test]
fn a_route_remembered_follows_every_change() {
    let broker = Broker::new();
    let (client, publisher) = (broker.connect("a"), broker.connect("b"));
    for filter in ["t/x", "t/+", "#", "$share/g/t/x", "+/x"] {
        publisher.publish("t/x", "before", 0);
        client.subscribe(filter, 0);
        publisher.publish("t/x", filter, 0);
        assert_eq!(client.payloads(), [filter]);
        client.unsubscribe(filter);
        publisher.publish("t/x", "after", 0);
        assert!(client.messages().is_empty(), "{filter}");
    }
}

#[test]
fn a_cache_too_small_for_its_routes_still_routes() {
    let broker = Broker::with(|settings| settings.limits.route_cache = 1);
    let clients: Vec<_> = (0..40).map(|at| broker.connect(&format!("c{at}"))).collect();
    for client in &clients {
        client.subscribe("#", 0);
    }
    let publisher = broker.connect("p");
    for round in 0..3 {
        for topic in ["a", "b"] {
            publisher.publish(topic, &format!("{round}{topic}"), 0);
        }
    }
    for client in &clients {
        assert_eq!(client.payloads(), ["0a", "0b", "1a", "1b", "2a", "2b"]);
    }
}
