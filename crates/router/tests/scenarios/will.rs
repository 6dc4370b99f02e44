//! The will (§3.1.2.5, §3.1.3.2.2).

use agentmq_codec::{PropertiesBuf, Property, PropertyId as P, ReasonCode};

use crate::harness::{Broker, Client, Riddle};

/// A broker, and somebody who watches the topic `will`.
fn watched() -> (Broker, Client) {
    let broker = Broker::new();
    let watcher = broker.connect("watcher");
    watcher.subscribe("will", 2);
    (broker, watcher)
}

#[test]
fn a_broken_connection_sends_it() {
    // [MQTT-3.1.2-8]
    let (broker, watcher) = watched();
    broker.client("a").will("will", "gone").connect().vanish();
    let will = watcher.message();
    assert_eq!((will.payload.as_str(), will.qos, will.retain), ("gone", 0, false));
}

#[test]
fn a_normal_disconnect_takes_it_back() {
    // [MQTT-3.1.2-10], also in 3.1.1
    let (broker, watcher) = watched();
    broker.client("a").will("will", "gone").connect().disconnect();
    broker.client("b").v311().will("will", "gone").connect().disconnect();
    assert!(watcher.messages().is_empty());
}

#[test]
fn a_disconnect_with_0x04_or_an_error_sends_it() {
    // [MQTT-3.14.4-3]
    let (broker, watcher) = watched();
    for reason in [ReasonCode::DisconnectWithWill, ReasonCode::UnspecifiedError] {
        let client = broker.client("a").will("will", "gone").connect();
        client.disconnect_as(reason, &PropertiesBuf::new());
        assert_eq!(watcher.payloads(), ["gone"], "{reason}");
    }
}

#[test]
fn a_protocol_error_sends_it() {
    // [MQTT-3.1.2-8]
    let (broker, watcher) = watched();
    let client = broker.client("a").will("will", "gone").connect();
    client.send(&[0x20, 3, 0, 0, 0]);
    assert_eq!(client.closed_with(), 0x82);
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn a_keep_alive_timeout_sends_it() {
    // [MQTT-3.1.2-8, 3.1.2-22]
    let (broker, watcher) = watched();
    let client = broker.client("a").keep_alive(10).will("will", "gone").connect();
    broker.wait(15);
    assert_eq!(client.closed_with(), 0x8D);
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn the_broker_shutting_a_connection_sends_it() {
    let (broker, watcher) = watched();
    let client = broker.client("a").will("will", "gone").connect();
    client.evict(ReasonCode::ServerShuttingDown);
    assert_eq!(client.closed_with(), 0x8B);
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn it_is_sent_once() {
    // [MQTT-3.1.2-10]: removed from the session once sent
    let (broker, watcher) = watched();
    broker.returning("a").will("will", "gone").connect().vanish();
    broker.sleep(10_000);
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn its_delay_passes_first() {
    // [MQTT-3.1.3-9]
    let (broker, watcher) = watched();
    broker.returning("a").will("will", "gone").will_delay(30).connect().vanish();
    broker.wait_ms(29_999);
    assert!(watcher.messages().is_empty());
    broker.wait_ms(1);
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn coming_back_in_time_cancels_it() {
    // [MQTT-3.1.3-9]
    let (broker, watcher) = watched();
    broker.returning("a").will("will", "gone").will_delay(30).connect().vanish();
    broker.wait(29);
    broker.returning("a").connect();
    broker.wait(100);
    assert!(watcher.messages().is_empty());
}

#[test]
fn coming_back_with_a_clean_start_ends_the_session_and_sends_it() {
    // [MQTT-3.1.3-9]: the session ends before the delay does
    let (broker, watcher) = watched();
    broker.returning("a").will("will", "gone").will_delay(30).connect().vanish();
    broker.connect("a");
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn the_end_of_the_session_comes_before_a_longer_delay() {
    // [MQTT-3.1.3-9]: the earlier of the two
    let (broker, watcher) = watched();
    broker.client("a").expiry(10).will("will", "gone").will_delay(30).connect().vanish();
    broker.wait_ms(9_999);
    assert!(watcher.messages().is_empty());
    broker.wait_ms(1);
    assert_eq!(watcher.payloads(), ["gone"]);
    broker.wait(100);
    assert!(watcher.messages().is_empty());
}

#[test]
fn without_a_session_to_wait_in_the_delay_is_nothing() {
    let (broker, watcher) = watched();
    broker.client("a").will("will", "gone").will_delay(30).connect().vanish();
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn a_disconnect_that_ends_the_session_does_not_wait_for_the_delay() {
    let (broker, watcher) = watched();
    let client = broker.returning("a").will("will", "gone").will_delay(30).connect();
    let expiry = PropertiesBuf::new().with(Property::U32(P::SessionExpiryInterval, 0));
    client.disconnect_as(ReasonCode::DisconnectWithWill, &expiry);
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn its_properties_go_along_and_its_expiry_counts_from_publication() {
    // [MQTT-3.1.2-25 ff.], §3.1.3.2.4
    let (broker, watcher) = watched();
    broker
        .returning("a")
        .will("will", "gone")
        .will_qos(1)
        .will_delay(30)
        .will_with(Property::U32(P::MessageExpiryInterval, 60))
        .will_with(Property::Text(P::ContentType, "text/plain"))
        .will_with(Property::Pair("k", "v"))
        .connect()
        .vanish();
    broker.wait(30);
    let will = watcher.message();
    assert_eq!((will.qos, will.expiry()), (1, Some(60)));
    let properties = will.properties.view();
    assert_eq!(properties.text(P::ContentType), Some("text/plain"));
    assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("k", "v")]);
    assert!(!properties.has(P::WillDelayInterval));
}

#[test]
fn a_retained_will_is_retained() {
    // [MQTT-3.1.2-15], [MQTT-3.1.2-14]
    let broker = Broker::new();
    broker.client("a").will("will", "gone").will_retain().connect().vanish();
    broker.client("b").will("other", "gone").connect().vanish();
    let late = broker.connect("late");
    late.subscribe("#", 1);
    let will = late.message();
    assert_eq!((will.topic.as_str(), will.retain), ("will", true));
}

#[test]
fn who_is_refused_has_no_will() {
    let broker = Broker::guarded(Riddle);
    let watcher = broker.connect("watcher");
    watcher.subscribe("will", 0);
    let client = broker.client("a").username("nobody").will("will", "gone").attempt();
    assert!(client.is_closed());
    let client = broker.client("b").method("riddle", "").will("will", "gone").attempt();
    client.vanish();
    assert!(watcher.messages().is_empty());
}

#[test]
fn a_will_that_may_not_be_published_is_refused_at_connect() {
    let broker = Broker::new();
    assert_eq!(broker.client("a").will("$SYS/broker/uptime", "0").refused(), 0x87);
    let deep = "a/".repeat(100);
    assert_eq!(broker.client("a").will(&deep, "0").refused(), 0x90);
}

#[test]
fn it_does_not_come_back_to_its_own_session_with_no_local() {
    // [MQTT-3.8.3-3]: No Local compares client identifiers, not connections
    let broker = Broker::new();
    let client = broker.returning("a").will("will", "gone").will_qos(1).connect();
    let options = agentmq_codec::SubscriptionOptions {
        no_local: true,
        ..agentmq_codec::SubscriptionOptions::at(agentmq_codec::QoS::AtLeastOnce)
    };
    client.subscribe_as("will", options, None);
    client.vanish();
    let client = broker.returning("a").connect();
    assert!(client.messages().is_empty());
}
