//! Forty clients that do whatever comes to mind, most of it wrong, on two shards. Afterwards the
//! broker serves a newcomer as if nothing had been, and holds nothing of theirs.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use agentmq_testkit::codec::{Packet, QoS, ReasonCode};
use agentmq_testkit::{Broker, RawClient};

use crate::mischief::{CLIENT_IDS, Dice, Rogue, TOPICS};

#[test]
fn rogues_leave_nothing_behind() {
    let seed = match std::env::var("CHAOS_SEED") {
        Ok(text) => text.parse().expect("CHAOS_SEED is a number"),
        Err(_) => RandomState::new().hash_one("chaos"),
    };
    println!("CHAOS_SEED={seed}");
    let mut dice = Dice(seed);
    let mut broker = crate::broker(&format!(
        "[sys]\ninterval_secs = 1\n[session]\nretained_gap_ms = 0\n\
         [threads]\nshards = 2\nplacement = \"spread\"\n\
         [limits]\nflapping_connects = 0\noutbox_bytes = {BOUND}\nqueue_bytes = {BOUND}\n",
    ));
    for number in 0..2 {
        broker.client(&format!("warm-{number}")); // both shards are active
    }
    broker.wait_for_statistic("clients/connected", |count| count == 1);
    let before = broker.gauges();
    let mut rogues: Vec<Option<Rogue>> = (0..ROGUES).map(|_| None).collect();
    let mut most = before.resident_bytes;
    for step in 0..STEPS {
        let slot = &mut rogues[dice.below(ROGUES)];
        let goes_on = match slot {
            None => {
                *slot = Rogue::arrive(broker.port("mqtt"), &mut dice);
                true
            }
            Some(rogue) => rogue.act(&mut dice),
        };
        if !goes_on {
            *slot = None;
        }
        if step % 100 == 0 {
            most = most.max(broker.gauges().resident_bytes);
        }
    }
    drop(rogues);
    broker.assert_alive();
    let mut witness = broker.client("witness");
    // Not files: the log may have begun another one.
    while broker.gauges().sockets > before.sockets + 1 {
        witness.ping(); // until the last word of the last one is read
    }
    drop(witness);
    end_sessions(&broker);
    broker.wait_for_statistic("clients/total", |count| count == 1); // no will is to come
    retained_messages_agree(&broker);
    messages_flow(&broker);

    // Who asks is all there is.
    for name in ["clients/connected", "clients/total", "subscriptions/count"] {
        broker.wait_for_statistic(name, |count| count == 1);
    }
    broker.wait_for_statistic("panics", |count| count == 0);
    let log = broker.log();
    assert!(!log.contains("panic"), "{log}");
    let after = broker.gauges();
    assert!(after.sockets <= before.sockets + 1, "{before:?}, then {after:?}");
    let growth = most - before.resident_bytes;
    println!("{growth} bytes at most for {ROGUES} clients");
    assert!(growth <= (ROGUES as u64) * 2 * BOUND + SLACK, "grew by {growth} bytes");
}

/// Both shards hold the same retained messages.
fn retained_messages_agree(broker: &Broker) {
    let mut sets = (0..2).map(|number| {
        let mut reader = broker.client(&format!("reader-{number}"));
        for topic in TOPICS {
            assert!(!reader.subscribe(topic, QoS::AtMostOnce).is_error());
        }
        reader.send(&Packet::PingReq);
        let mut set = BTreeSet::new();
        loop {
            let received = reader.receive();
            let Packet::Publish(publish) = received.packet() else { break };
            assert!(publish.retain, "somebody still publishes to {}", publish.topic);
            set.insert((publish.topic.to_owned(), publish.payload.to_vec()));
        }
        set
    });
    assert_eq!(sets.next(), sets.next());
}

/// A clean start ends what an identifier has left.
fn end_sessions(broker: &Broker) {
    for client_id in CLIENT_IDS {
        broker.client(client_id).disconnect();
    }
}

/// Messages of every QoS, and those of a group, between clients of both shards.
fn messages_flow(broker: &Broker) {
    let mut clients: Vec<RawClient> =
        (0..4).map(|number| broker.client(&format!("fresh-{number}"))).collect();
    for client in &mut clients {
        assert!(!client.subscribe("fresh/all", QoS::AtLeastOnce).is_error());
        assert!(!client.subscribe("$share/fresh/fresh/job", QoS::AtLeastOnce).is_error());
    }
    for sender in 0..clients.len() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let payload = [sender as u8, qos as u8];
            let reason = clients[sender].publish("fresh/all", &payload, qos);
            assert_eq!(reason, ReasonCode::Success);
            for client in &mut clients {
                assert_eq!(client.receive_publish().publish().payload, payload);
            }
        }
    }
    for number in 0..40 {
        let reason = clients[0].publish("fresh/job", &[number], QoS::AtLeastOnce);
        assert_eq!(reason, ReasonCode::Success);
    }
    let mut jobs = Vec::new();
    for client in &mut clients {
        jobs.extend((0..10).map(|_| client.receive_publish().publish().payload[0]));
    }
    jobs.sort_unstable();
    assert_eq!(jobs, (0..40).collect::<Vec<_>>(), "each job once, an equal share for each");
}

const ROGUES: usize = 40;
const STEPS: usize = 6_000;
/// Bytes of an outbox, and of a queue.
const BOUND: u64 = 64 << 10;
/// What the allocator keeps, and buffers that double.
const SLACK: u64 = 16 << 20;
