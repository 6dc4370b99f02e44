//! When a session ends (§3.1.2.11.2).

use agentmq_codec::{PropertiesBuf, Property, PropertyId as P, ReasonCode};

use crate::harness::{Broker, Got};

fn expiry(secs: u32) -> PropertiesBuf {
    PropertiesBuf::new().with(Property::U32(P::SessionExpiryInterval, secs))
}

fn is_present(broker: &Broker, client_id: &str) -> bool {
    broker.client(client_id).resuming().connect_present().1
}

#[test]
fn zero_or_none_ends_it_with_its_connection() {
    let broker = Broker::new();
    broker.connect("a").disconnect();
    broker.client("b").expiry(0).connect().vanish();
    assert!(!is_present(&broker, "a"));
    assert!(!is_present(&broker, "b"));
}

#[test]
fn it_counts_from_the_close() {
    // [MQTT-3.1.2-23]
    let broker = Broker::new();
    let client = broker.client("a").expiry(10).connect();
    broker.wait(100);
    client.vanish();
    broker.wait_ms(9_999);
    let (client, present) = broker.client("a").resuming().expiry(10).connect_present();
    assert!(present);
    client.vanish();
    broker.wait(10);
    assert_eq!(broker.counters().sessions_now, 0);
    assert!(!is_present(&broker, "a"));
}

#[test]
fn the_largest_interval_is_never() {
    let broker = Broker::new();
    broker.client("a").expiry(u32::MAX).connect().vanish();
    broker.sleep(200 * 365 * 24 * 3600);
    assert!(is_present(&broker, "a"));
}

#[test]
fn a_limit_lowers_it_and_connack_says_so() {
    let broker = Broker::with(|settings| settings.limits.session_expiry_secs = 5);
    let client = broker.client("a").expiry(100).attempt();
    let Some(Got::ConnAck { properties, .. }) = client.next() else { panic!("CONNACK expected") };
    assert_eq!(properties.view().integer(P::SessionExpiryInterval), Some(5));
    client.vanish();
    broker.wait(5);
    assert_eq!(broker.counters().sessions_now, 0);
}

#[test]
fn disconnect_may_change_it() {
    // §3.14.2.2.2
    let broker = Broker::new();
    broker.returning("a").connect().disconnect_as(ReasonCode::Success, &expiry(0));
    assert!(!is_present(&broker, "a"));
    broker.returning("b").connect().disconnect_as(ReasonCode::Success, &expiry(7200));
    broker.sleep(7199);
    assert!(is_present(&broker, "b"));
}

#[test]
fn disconnect_may_not_raise_it_from_zero() {
    // §3.14.2.2.2
    let broker = Broker::new();
    let client = broker.connect("a");
    client.disconnect_as(ReasonCode::Success, &expiry(10));
    assert_eq!(client.closed_with(), 0x82);
    assert!(!is_present(&broker, "a"));
}

#[test]
fn before_version_5_a_session_that_is_not_clean_stays() {
    // 3.1.1 [MQTT-3.1.2-4, -5, -6]
    let broker = Broker::new();
    let client = broker.client("a").v311().resuming().connect();
    client.subscribe("t", 1);
    client.disconnect();
    broker.sleep(1_000_000);
    let (client, present) = broker.client("a").v311().resuming().connect_present();
    assert!(present);
    client.disconnect();
    let (client, present) = broker.client("a").v311().connect_present();
    assert!(!present);
    client.disconnect();
    assert!(!is_present(&broker, "a"));
}

#[test]
fn everything_of_it_goes() {
    let broker = Broker::new();
    let quiet = broker.deadlines();
    let client = broker.client("a").expiry(10).will("w", "x").will_delay(5).connect();
    client.subscribe("t", 1);
    client.subscribe("$share/g/t", 1);
    client.vanish();
    let publisher = broker.connect("p");
    assert_eq!(publisher.publish("t", "x", 1), 0);
    broker.wait(10);
    let counters = broker.counters();
    assert_eq!((counters.sessions_now, counters.subscriptions_now), (1, 0));
    assert_eq!((counters.queued_now, counters.sessions_expired), (0, 1));
    assert_eq!(publisher.publish("t", "x", 1), 0x10);
    assert_eq!(broker.deadlines(), quiet);
}

#[test]
fn a_long_lived_session_that_comes_and_goes_keeps_one_deadline() {
    let broker = Broker::new();
    let quiet = broker.deadlines();
    for _ in 0..100 {
        broker.returning("a").keep_alive(60_000).connect().vanish();
        broker.wait(1);
    }
    assert_eq!(broker.deadlines(), quiet + 1);
}

#[test]
fn subscriptions_made_before_a_limit_was_lowered_go_too() {
    let broker = Broker::new();
    let client = broker.connect("a");
    client.subscribe("a/b/c/d", 1);
    client.subscribe("$share/g/a/b/c/d", 1);
    client.subscribe("a/b/c/e", 1);
    broker.reconfigure(|settings| settings.limits.topic_levels = 2);
    assert_eq!(client.unsubscribe("a/b/c/e"), 0);
    client.vanish();
    assert_eq!(broker.counters().subscriptions_now, 0);
}
