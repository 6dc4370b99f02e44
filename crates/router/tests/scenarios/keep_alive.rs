//! Keep Alive (§3.1.2.10).

use agentmq_codec::PropertyId as P;

use crate::harness::{Broker, Got};

#[test]
fn one_and_a_half_times_of_silence_end_the_connection() {
    // [MQTT-3.1.2-22]
    let broker = Broker::new();
    let new = broker.client("a").keep_alive(10).connect();
    let old = broker.client("b").v311().keep_alive(10).connect();
    broker.wait_ms(14_999);
    assert!(!new.is_closed() && !old.is_closed());
    broker.wait_ms(1);
    assert_eq!(new.closed_with(), 0x8D);
    assert!(old.is_closed());
    assert_eq!(broker.counters().keep_alive_timeouts, 2);
}

#[test]
fn any_packet_counts() {
    let broker = Broker::new();
    let client = broker.client("a").keep_alive(10).connect();
    for _ in 0..5 {
        broker.wait(14);
        client.ping();
        broker.wait(14);
        client.publishing("t", "x").send();
    }
    assert!(!client.is_closed());
    broker.wait(15);
    assert!(client.is_closed());
}

#[test]
fn what_the_broker_sends_does_not_count() {
    let broker = Broker::new();
    let client = broker.client("a").by_hand().keep_alive(10).connect();
    client.subscribe("t", 1);
    let publisher = broker.connect("b");
    for _ in 0..3 {
        broker.wait(5);
        publisher.publish("t", "x", 1);
    }
    assert!(client.is_closed());
}

#[test]
fn zero_means_none() {
    let broker = Broker::new();
    let client = broker.client("a").keep_alive(0).connect();
    broker.sleep(1_000_000);
    assert!(!client.is_closed());
}

#[test]
fn the_servers_keep_alive_overrides() {
    // [MQTT-3.1.2-21, 3.2.2-21]
    let broker = Broker::with(|settings| settings.limits.keep_alive_secs = 60);
    for (asked, told) in [(120, Some(60)), (0, Some(60)), (30, None)] {
        let client = broker.client("a").keep_alive(asked).attempt();
        let Some(Got::ConnAck { properties, .. }) = client.next() else { panic!("CONNACK") };
        assert_eq!(properties.view().u16(P::ServerKeepAlive), told);
        let limit = u64::from(told.unwrap_or(asked)) * 1500;
        broker.wait_ms(limit - 1);
        assert!(!client.is_closed());
        broker.wait_ms(1);
        assert_eq!(client.closed_with(), 0x8D);
    }
}

#[test]
fn a_connection_that_ends_leaves_no_deadline() {
    let broker = Broker::new();
    let quiet = broker.deadlines();
    for _ in 0..20 {
        let client = broker.client("a").keep_alive(65_535).connect();
        broker.wait(1);
        client.ping();
        client.disconnect();
    }
    assert_eq!(broker.deadlines(), quiet);
}
