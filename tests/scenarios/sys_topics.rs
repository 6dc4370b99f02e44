//! Statistics under `$SYS/broker/`.

use std::collections::BTreeMap;

use agentmq_testkit::codec::{Packet, QoS};

#[test]
fn statistics_are_published_and_true() {
    let broker = crate::broker("[sys]\ninterval_secs = 1\n");
    let mut watcher = broker.client("watcher");
    assert!(!watcher.subscribe("$SYS/#", QoS::AtMostOnce).is_error());
    let mut others: Vec<_> = (0..3).map(|n| broker.client(&format!("other-{n}"))).collect();
    assert!(!others[0].subscribe("a/b", QoS::AtMostOnce).is_error());
    let mut publisher = broker.client("publisher");
    for _ in 0..7 {
        publisher.publish("a/b", b"x", QoS::AtLeastOnce);
    }
    let expected = [
        ("clients/connected", 5),
        ("clients/total", 5),
        ("publish/messages/received", 7),
        ("subscriptions/count", 2),
    ];
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let true_now = |seen: &BTreeMap<String, String>| {
        expected.iter().all(|(name, value)| seen.get(*name) == Some(&value.to_string()))
    };
    while !true_now(&seen) || !seen.contains_key("version") || !seen.contains_key("uptime") {
        let received = watcher.receive_publish();
        let publish = received.publish();
        let Some(name) = publish.topic.strip_prefix("$SYS/broker/") else {
            assert_eq!(publish.topic, "$SYS/audit/head");
            continue;
        };
        let value = std::str::from_utf8(publish.payload).unwrap();
        seen.insert(name.to_owned(), value.to_owned());
    }
    assert!(seen["version"].starts_with("agentmq "), "{}", seen["version"]);
    assert!(seen["uptime"].ends_with(" seconds"), "{}", seen["uptime"]);
}

/// [MQTT-4.7.2-1]
#[test]
fn a_leading_wildcard_does_not_see_them() {
    let broker = crate::broker("[sys]\ninterval_secs = 1\n");
    let mut watcher = broker.client("watcher");
    assert!(!watcher.subscribe("$SYS/broker/uptime", QoS::AtMostOnce).is_error());
    let mut wild = broker.client("wild");
    assert!(!wild.subscribe("#", QoS::AtMostOnce).is_error());
    assert!(!wild.subscribe("+/broker/uptime", QoS::AtMostOnce).is_error());
    for _ in 0..3 {
        watcher.receive_publish(); // statistics do come
    }
    wild.send(&Packet::PingReq);
    let first = wild.receive();
    assert!(matches!(first.packet(), Packet::PingResp), "{first:?}");
}
