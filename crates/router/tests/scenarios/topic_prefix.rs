//! Topics that begin with `$` and mean nothing here (S06).

use agentmq_codec::{Property, PropertyId};

use crate::harness::{Broker, Got};

const INVALID: u8 = 0x90;

#[test]
fn nobody_publishes_below_an_unknown_prefix() {
    let broker = Broker::new();
    let watcher = broker.connect("watcher");
    for filter in ["$x/#", "$delayed/#", "$share/g/$x/#"] {
        assert_eq!(watcher.subscribe(filter, 1), 1, "{filter}: it matches nothing");
    }
    assert_eq!(watcher.subscribe("$a2a/#", 1), 1);
    let client = broker.connect("client");
    for topic in ["$x/a", "$x", "$", "$/a", "$delayed/5/a", "$a2ab/a", "$share/g/a", "$SYSTEM/a"] {
        for level in 1..=2 {
            assert_eq!(client.publish(topic, "x", level), INVALID, "{topic}");
            let why = "of topics that begin with $ only these are known here: $a2a, $mcp-client, \
                       $mcp-rpc, $mcp-server, $reply";
            assert_eq!(client.reason(), why);
        }
        client.publish(topic, "x", 0);
    }
    let id = client.publishing("$x/a", "x").qos(1).retain().send();
    assert!(client.packets().contains(&Got::PubAck(id, INVALID)));
    assert_eq!(broker.counters().publish_refused, 8 * 3 + 1);
    assert_eq!(broker.counters().retained_now, 0);
    assert_eq!(client.publish("$a2a/v1/a", "y", 1), 0);
    assert_eq!(watcher.payloads(), ["y"]);
}

#[test]
fn before_version_5_the_message_is_dropped() {
    let broker = Broker::new();
    let watcher = broker.connect("watcher");
    watcher.subscribe("$x/#", 1);
    let client = broker.client("client").v311().connect();
    for level in 0..=2 {
        assert_eq!(client.publish("$x/a", "x", level), 0);
    }
    assert!(!client.is_closed() && watcher.payloads().is_empty());
    assert_eq!(broker.counters().publish_refused, 3);
}

#[test]
fn an_alias_and_a_will_are_no_way_round() {
    let broker = Broker::new();
    let client = broker.connect("client");
    let alias = || Property::U16(PropertyId::TopicAlias, 1);
    // 0x10: it is routed, and nobody subscribes.
    for (topic, expected) in [("$x/a", INVALID), ("", INVALID), ("t", 0x10), ("", 0x10)] {
        let id = client.publishing(topic, "x").qos(1).with(alias()).send();
        let got = client.packets();
        assert!(got.contains(&Got::PubAck(id, expected)), "{topic:?} {got:?}");
    }
    assert_eq!(broker.client("w").will("$x/will", "x").refused(), INVALID);
    broker.client("w").will("$a2a/will", "x").connect();
}

#[test]
fn the_operator_says_which_there_are() {
    let broker = Broker::new();
    let client = broker.connect("client");
    client.subscribe("$mine/#", 1);
    let known = |prefixes: &[&str]| {
        let prefixes = prefixes.iter().map(|it| (*it).into()).collect();
        broker.reconfigure(|settings| settings.dollar_prefixes = prefixes);
    };
    for (prefixes, expected) in
        [(&["$mine"][..], 0), (&["$a2a"], INVALID), (&["*"], 0), (&[], INVALID), (&["$mine"], 0)]
    {
        known(prefixes);
        assert_eq!(client.publish("$mine/a", "x", 1), expected, "{prefixes:?}");
    }
    assert_eq!(client.payloads(), ["x", "x", "x"], "a route that was known is forgotten");
    known(&["*"]);
    assert_eq!(client.publish("$SYS/a", "x", 1), 0x87, "that is the broker's own in any case");
}
