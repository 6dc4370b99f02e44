//! A broker whose first shard is busy takes a second one into use, and nothing is lost by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use agentmq_testkit::codec::{Packet, ProtocolVersion, Publish, QoS, ReasonCode};
use agentmq_testkit::{Broker, PATIENCE, RawClient};

#[test]
fn alone_a_busy_broker_uses_a_second_shard() {
    let broker = crate::broker(
        "[session]\nretained_gap_ms = 0\n[threads]\nshards = 2\n\
         busy_percent = 10\n",
    );
    let mut early = broker.client("early");
    assert!(!early.subscribe("to/early/+", QoS::AtLeastOnce).is_error());
    let kept = Publish { topic: "kept", retain: true, payload: b"k", ..Publish::default() };
    early.send(&Packet::Publish(kept));
    early.ping();
    assert!(!broker.log().contains(ACTIVE), "an idle broker uses one shard");

    let ends = Arc::new(AtomicBool::new(false));
    let floods = [0; 2].map(|_| {
        let (ends, client) = (Arc::clone(&ends), broker.dial());
        thread::spawn(move || flood(client, &ends))
    });
    wait_for_second_shard(&broker);
    let mut newcomers: Vec<RawClient> =
        (0..6).map(|number| broker.client(&format!("newcomer-{number}"))).collect();
    for newcomer in &mut newcomers {
        assert!(!newcomer.subscribe("all", QoS::AtLeastOnce).is_error());
        assert!(!newcomer.subscribe("kept", QoS::AtMostOnce).is_error());
        assert_eq!(newcomer.receive_publish().publish().payload, b"k", "what was there before");
    }
    for (number, newcomer) in newcomers.iter_mut().enumerate() {
        let topic = format!("to/early/{number}");
        assert_eq!(newcomer.publish(&topic, b"", QoS::AtLeastOnce), ReasonCode::Success);
        assert_eq!(early.receive_publish().publish().topic, topic);
    }
    assert_eq!(early.publish("all", b"x", QoS::AtLeastOnce), ReasonCode::Success);
    for newcomer in &mut newcomers {
        assert_eq!(newcomer.receive_publish().publish().payload, b"x");
    }
    // A session stays where it is, although shard 0 is idle again.
    ends.store(true, Ordering::Relaxed);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    let mut again = broker.client("newcomer-0");
    assert_eq!(newcomers[0].reason_of_end(), Some(ReasonCode::SessionTakenOver));
    again.ping();
}

/// Clients come until one of them is placed on the second shard. How busy a shard is, is measured
/// by the processor time it gets, most of which a busy machine may keep from it.
fn wait_for_second_shard(broker: &Broker) {
    let give_up = Instant::now() + PATIENCE;
    let mut number = 0;
    while !broker.log().contains(ACTIVE) {
        assert!(Instant::now() < give_up, "the second shard was not used");
        broker.client(&format!("probe-{number}")).ping();
        number += 1;
    }
}

/// Publishes to nobody as fast as the broker reads.
fn flood(mut client: RawClient, ends: &AtomicBool) {
    client.connect("");
    let mut block = Vec::new();
    for _ in 0..500 {
        let publish = Publish { topic: "flood", payload: b"x", ..Publish::default() };
        publish.encode(ProtocolVersion::V5, &mut block);
    }
    while !ends.load(Ordering::Relaxed) {
        client.send_bytes(&block);
    }
    client.ping();
}

const ACTIVE: &str = "active from now on";
