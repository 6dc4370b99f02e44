//! Subscriptions, retained messages and the activation of shards, over all orders in which mail
//! between shards can arrive.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod neighbors;

use std::collections::{BTreeMap, BTreeSet};

use agentmq_codec::QoS;
use agentmq_router::Settings;
use agentmq_topic::matches;
use neighbors::Neighbors;
use proptest::prelude::*;

const SHARDS: u8 = 3;
const CLIENTS: u32 = 2;
const TOPICS: [&str; 3] = ["a/b", "a/c", "d"];
const FILTERS: [&str; 4] = ["a/+", "a/b", "#", "d"];

#[derive(Debug, Clone)]
enum Step {
    Activate(u8),
    Deliver(u8, u8),
    Subscribe(u8, u32, usize),
    Unsubscribe(u8, u32, usize),
    Publish(u8, u32, usize),
    Retain(u8, u32, usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let client = (0..SHARDS, 0..CLIENTS);
    prop_oneof![
        1 => (1..SHARDS).prop_map(Step::Activate),
        8 => (0..SHARDS, 0..SHARDS).prop_map(|(from, to)| Step::Deliver(from, to)),
        3 => (client.clone(), 0..FILTERS.len()).prop_map(|((s, c), f)| Step::Subscribe(s, c, f)),
        1 => (client.clone(), 0..FILTERS.len()).prop_map(|((s, c), f)| Step::Unsubscribe(s, c, f)),
        4 => (client.clone(), 0..TOPICS.len()).prop_map(|((s, c), t)| Step::Publish(s, c, t)),
        3 => (client, 0..TOPICS.len(), prop::bool::weighted(0.3))
            .prop_map(|((s, c), t, clear)| Step::Retain(s, c, t, clear)),
    ]
}

/// What the test knows of one client.
#[derive(Debug, Default)]
struct Known {
    /// Filter → packet identifier of its SUBSCRIBE.
    subscribed: BTreeMap<usize, u16>,
    /// Publications that it must get.
    due: BTreeSet<String>,
}

struct Run {
    neighbors: Neighbors,
    known: BTreeMap<(u8, u32), Known>,
    next: u16,
    retained: BTreeMap<usize, Option<String>>,
}

impl Run {
    fn new() -> Self {
        let neighbors = Neighbors::new(SHARDS, Settings::default());
        Self { neighbors, known: BTreeMap::new(), next: 0, retained: BTreeMap::new() }
    }

    /// Whether the client is there; connects it if its shard can have clients.
    fn is_there(&mut self, at: (u8, u32)) -> bool {
        if !self.neighbors.is_ready(at.0) {
            return false;
        }
        if !self.known.contains_key(&at) {
            self.neighbors.connect(at, &format!("client-{}-{}", at.0, at.1), false);
            self.known.insert(at, Known::default());
        }
        true
    }

    fn step(&mut self, step: &Step) {
        self.next += 1;
        match *step {
            Step::Activate(shard) => {
                if !self.neighbors.active.has(agentmq_router::Place(shard)) {
                    self.neighbors.activate(shard);
                }
            }
            Step::Deliver(from, to) => {
                self.neighbors.deliver(from, to);
            }
            Step::Subscribe(shard, client, filter) => {
                let at = (shard, client);
                if self.is_there(at) {
                    self.neighbors.subscribe(at, self.next, FILTERS[filter], 0);
                    let id = self.next;
                    let known = self.known.get_mut(&at).unwrap();
                    known.subscribed.entry(filter).or_insert(id);
                }
            }
            Step::Unsubscribe(shard, client, filter) => {
                let at = (shard, client);
                if self.is_there(at) {
                    self.neighbors.unsubscribe(at, self.next, FILTERS[filter]);
                    let known = self.known.get_mut(&at).unwrap();
                    known.subscribed.remove(&filter);
                    known.due.clear(); // what was under way then need not arrive
                }
            }
            Step::Publish(shard, client, topic) => self.publish((shard, client), topic, false),
            Step::Retain(shard, client, topic, clear) => {
                if clear && self.is_there((shard, client)) {
                    let at = (shard, client);
                    self.neighbors.publish(at, TOPICS[topic], "", QoS::AtMostOnce, true);
                    self.retained.insert(topic, None);
                } else {
                    self.publish((shard, client), topic, true);
                }
            }
        }
    }

    fn publish(&mut self, at: (u8, u32), topic: usize, retain: bool) {
        if !self.is_there(at) {
            return;
        }
        let payload = format!("m{}", self.next);
        for (&subscriber, known) in &mut self.known {
            let acknowledged = known.subscribed.iter().any(|(&filter, &id)| {
                matches(FILTERS[filter], TOPICS[topic]) && self.neighbors.has_suback(subscriber, id)
            });
            if acknowledged {
                known.due.insert(payload.clone());
            }
        }
        self.neighbors.publish(at, TOPICS[topic], &payload, QoS::AtMostOnce, retain);
        if retain {
            self.retained.insert(topic, Some(payload));
        }
    }

    /// What must hold when all mail has arrived.
    fn check(mut self) -> Result<(), TestCaseError> {
        self.neighbors.settle();
        for (&at, known) in &self.known {
            let got = self.neighbors.payloads(at);
            let missed: Vec<_> = known.due.iter().filter(|it| !got.contains(it)).collect();
            prop_assert!(missed.is_empty(), "{:?} missed {:?} of {:?}", at, missed, got);
            for (filter, id) in &known.subscribed {
                prop_assert!(self.neighbors.has_suback(at, *id), "SUBACK for {}", FILTERS[*filter]);
            }
        }
        let newest: BTreeSet<String> = self.retained.values().flatten().cloned().collect();
        for shard in 0..SHARDS {
            let at = (shard, 90);
            if self.neighbors.is_ready(shard) {
                self.neighbors.connect(at, &format!("reader-{shard}"), false);
                self.neighbors.subscribe(at, 1, "#", 0);
                self.neighbors.settle();
                let got: Vec<_> = self.neighbors.payloads(at);
                prop_assert_eq!(got.len(), newest.len(), "shard {}: {:?}", shard, got);
                let got: BTreeSet<String> = got.into_iter().collect();
                prop_assert_eq!(&got, &newest, "shard {}", shard);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Nothing published after a SUBACK is missed, wherever subscriber and publisher live, and
    /// every shard ends with the newest retained message of each topic, while shards become
    /// active at any time.
    #[test]
    fn nothing_is_missed_and_retained_messages_agree(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        run.check()?;
    }

    /// Each message reaches a subscriber once, whether as a retained message or live.
    #[test]
    fn a_subscriber_gets_each_retained_message_once(
        steps in prop::collection::vec(
            prop_oneof![
                (0..SHARDS, 0..SHARDS).prop_map(|(from, to)| Step::Deliver(from, to)),
                (0..SHARDS, 0..TOPICS.len()).prop_map(|(s, t)| Step::Retain(s, 0, t, false)),
            ],
            1..60,
        ),
        subscribe_at in 0usize..60,
    ) {
        let mut run = Run::new();
        for shard in 1..SHARDS {
            run.neighbors.activate(shard);
            run.neighbors.settle();
        }
        let reader = (2, 7);
        run.neighbors.connect(reader, "reader", false);
        let mut subscribed = false;
        for (at, step) in steps.iter().enumerate() {
            if at >= subscribe_at && !subscribed {
                run.neighbors.subscribe(reader, 5, "#", 0);
                subscribed = true;
            }
            run.step(step);
        }
        if !subscribed {
            run.neighbors.subscribe(reader, 5, "#", 0);
        }
        run.neighbors.settle();
        let got = run.neighbors.payloads(reader);
        let distinct: BTreeSet<_> = got.iter().cloned().collect();
        prop_assert_eq!(got.len(), distinct.len(), "{:?}", got);
        for newest in run.retained.values().flatten() {
            prop_assert!(distinct.contains(newest), "{:?} lacks {}", got, newest);
        }
    }
}

#[test]
fn a_suback_waits_until_all_shards_know() {
    let mut neighbors = Neighbors::all_active(3, Settings::default());
    let (subscriber, publisher) = ((1, 0), (0, 0));
    neighbors.connect(subscriber, "s", false);
    neighbors.connect(publisher, "p", false);
    neighbors.subscribe(subscriber, 3, "t", 0);
    assert!(neighbors.deliver(1, 0) && neighbors.deliver(0, 1));
    assert!(!neighbors.has_suback(subscriber, 3), "shard 2 does not know yet");
    assert!(neighbors.deliver(1, 2) && neighbors.deliver(2, 1));
    assert!(neighbors.has_suback(subscriber, 3));
    neighbors.publish(publisher, "t", "x", QoS::AtMostOnce, false);
    neighbors.settle();
    assert_eq!(neighbors.payloads(subscriber), ["x"]);
}

#[test]
fn without_interest_there_is_no_mail() {
    let mut neighbors = Neighbors::all_active(2, Settings::default());
    neighbors.connect((0, 0), "p", false);
    neighbors.connect((1, 0), "s", false);
    neighbors.subscribe((1, 0), 1, "t", 0);
    neighbors.settle();
    neighbors.unsubscribe((1, 0), 2, "t");
    neighbors.settle();
    neighbors.publish((0, 0), "t", "x", QoS::AtMostOnce, false);
    assert!(neighbors.mail.values().all(|mail| mail.is_empty()));
}

#[test]
fn retained_messages_come_before_live_ones_and_behind_the_suback() {
    let mut neighbors = Neighbors::all_active(2, Settings::default());
    let (subscriber, publisher) = ((1, 0), (0, 0));
    neighbors.connect(publisher, "p", false);
    neighbors.connect(subscriber, "s", false);
    neighbors.publish(publisher, "t", "old", QoS::AtMostOnce, true);
    neighbors.settle();
    neighbors.subscribe(subscriber, 1, "t", 0);
    neighbors.connect((1, 1), "near", false);
    neighbors.publish((1, 1), "t", "live", QoS::AtMostOnce, false);
    assert_eq!(neighbors.payloads(subscriber), [""; 0], "both wait for the SUBACK");
    neighbors.settle();
    assert!(neighbors.has_suback(subscriber, 1));
    assert_eq!(neighbors.payloads(subscriber), ["old", "live"]);
}
