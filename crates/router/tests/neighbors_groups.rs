//! Shared groups whose members live on several shards.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod neighbors;

use std::collections::{BTreeMap, BTreeSet};

use agentmq_codec::{AckKind, QoS};
use agentmq_router::{Settings, ShareStrategy};
use neighbors::{Neighbors, Received};
use proptest::prelude::*;

const SHARDS: u8 = 3;
const GROUP: &str = "$share/g/jobs/+";

#[derive(Debug, Clone)]
enum Step {
    Deliver(u8, u8),
    Publish(u8),
    Acknowledge(u8, u32),
    Join(u8, u32),
    Leave(u8, u32),
    Close(u8, u32),
    Return(u8, u32),
}

fn steps(with_absence: bool) -> impl Strategy<Value = Vec<Step>> {
    let client = || (0..SHARDS, 0..2u32);
    let absence = u32::from(with_absence);
    // Without absence, clients acknowledge instead of going and coming.
    let absent = move |step, s, c| if with_absence { step } else { Step::Acknowledge(s, c) };
    prop::collection::vec(
        prop_oneof![
            8 => (0..SHARDS, 0..SHARDS).prop_map(|(from, to)| Step::Deliver(from, to)),
            5 => (0..SHARDS).prop_map(Step::Publish),
            5 => client().prop_map(|(s, c)| Step::Acknowledge(s, c)),
            2 => client().prop_map(|(s, c)| Step::Join(s, c)),
            1 => client().prop_map(|(s, c)| Step::Leave(s, c)),
            absence.max(1) => client().prop_map(move |(s, c)| absent(Step::Close(s, c), s, c)),
            2 * absence.max(1) => client().prop_map(move |(s, c)| absent(Step::Return(s, c), s, c)),
        ],
        1..150,
    )
}

struct Run {
    neighbors: Neighbors,
    here: BTreeSet<(u8, u32)>,
    joined: BTreeSet<(u8, u32)>,
    /// Publications to acknowledge: packet identifiers.
    open: BTreeMap<(u8, u32), Vec<u16>>,
    got: BTreeMap<String, Vec<(u8, u32)>>,
    published: Vec<String>,
    next: u16,
}

impl Run {
    /// A broker with one member that stays.
    fn new(strategy: ShareStrategy, first: u8) -> Self {
        Self::with_windows(strategy, first, Settings::default().limits.in_flight)
    }

    /// One whose clients have windows of this size.
    fn with_windows(strategy: ShareStrategy, first: u8, in_flight: u16) -> Self {
        let mut settings = Settings { share_strategy: strategy, ..Settings::default() };
        settings.limits.in_flight = in_flight;
        let mut neighbors = Neighbors::all_active(SHARDS, settings);
        let here = (0..SHARDS).flat_map(|shard| [(shard, 0), (shard, 1)]).collect();
        for &at in &here {
            neighbors.connect(at, &format!("c-{}-{}", at.0, at.1), true);
        }
        for shard in 0..SHARDS {
            neighbors.connect((shard, 8), &format!("publisher-{shard}"), false);
        }
        neighbors.connect((first, 9), "first", true);
        neighbors.subscribe((first, 9), 1, GROUP, 1);
        neighbors.settle();
        Self {
            neighbors,
            here,
            joined: BTreeSet::new(),
            open: BTreeMap::new(),
            got: BTreeMap::new(),
            published: Vec::new(),
            next: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        self.next += 1;
        match *step {
            Step::Deliver(from, to) => {
                self.neighbors.deliver(from, to);
            }
            Step::Publish(shard) => {
                let payload = format!("m{}", self.next);
                let qos = QoS::AtLeastOnce;
                self.neighbors.publish((shard, 8), "jobs/a", &payload, qos, false);
                self.published.push(payload);
            }
            Step::Acknowledge(shard, client) => self.acknowledge((shard, client)),
            Step::Join(shard, client) => {
                let at = (shard, client);
                if self.here.contains(&at) {
                    self.neighbors.subscribe(at, self.next, GROUP, 1);
                    self.joined.insert(at);
                }
            }
            Step::Leave(shard, client) => {
                let at = (shard, client);
                if self.here.contains(&at) && self.joined.remove(&at) {
                    self.neighbors.unsubscribe(at, self.next, GROUP);
                }
            }
            Step::Close(shard, client) => {
                let at = (shard, client);
                if self.here.remove(&at) {
                    self.collect();
                    self.open.remove(&at);
                    self.neighbors.close(at);
                }
            }
            Step::Return(shard, client) => self.come_back((shard, client)),
        }
        self.collect();
    }

    fn come_back(&mut self, at: (u8, u32)) {
        if self.here.insert(at) {
            self.neighbors.connect(at, &format!("c-{}-{}", at.0, at.1), true);
        }
    }

    fn acknowledge(&mut self, at: (u8, u32)) {
        for id in self.open.remove(&at).unwrap_or_default() {
            self.neighbors.acknowledge(at, AckKind::PubAck, id);
        }
    }

    fn collect(&mut self) {
        for (&at, packets) in &mut self.neighbors.clients {
            for packet in packets.drain(..) {
                if let Received::Publish { payload, id, .. } = packet {
                    self.got.entry(payload).or_default().push(at);
                    self.open.entry(at).or_default().push(id);
                }
            }
        }
    }

    /// Lets everybody come back and acknowledge until nothing moves any more.
    fn finish(&mut self) {
        for at in (0..SHARDS).flat_map(|shard| [(shard, 0), (shard, 1)]) {
            self.come_back(at);
        }
        loop {
            self.neighbors.settle();
            self.collect();
            if self.open.values().all(Vec::is_empty) {
                return;
            }
            for at in self.open.keys().copied().collect::<Vec<_>>() {
                self.acknowledge(at);
            }
        }
    }
}

fn strategy() -> impl Strategy<Value = ShareStrategy> {
    prop::sample::select(ShareStrategy::ALL.to_vec())
}

fn windows() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![1, 2, 1_024])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, ..ProptestConfig::default() })]

    /// Members join and leave on all shards while messages are under way: each message reaches
    /// exactly one of them.
    #[test]
    fn each_message_reaches_one_member(
        strategy in strategy(), first in 0..SHARDS, in_flight in windows(), steps in steps(false),
    ) {
        let mut run = Run::with_windows(strategy, first, in_flight);
        for step in &steps {
            run.step(step);
        }
        run.finish();
        for payload in &run.published {
            let got = run.got.get(payload).map_or(0, Vec::len);
            prop_assert_eq!(got, 1, "{} reached {:?}", payload, run.got.get(payload));
        }
    }

    /// Clients vanish and come back too: no message is lost.
    #[test]
    fn no_message_is_lost_when_members_vanish(
        strategy in strategy(), first in 0..SHARDS, in_flight in windows(), steps in steps(true),
    ) {
        let mut run = Run::with_windows(strategy, first, in_flight);
        for step in &steps {
            run.step(step);
        }
        run.finish();
        let lost: Vec<_> = run.published.iter().filter(|it| !run.got.contains_key(*it)).collect();
        prop_assert!(lost.is_empty(), "lost {:?}", lost);
    }
}

#[test]
fn members_of_all_shards_take_turns() {
    let mut run = Run::new(ShareStrategy::RoundRobin, 1);
    for shard in [0, 2] {
        run.step(&Step::Join(shard, 0));
        run.neighbors.settle();
    }
    for _ in 0..6 {
        run.step(&Step::Publish(2));
        run.neighbors.settle();
    }
    run.finish();
    let mut shares = BTreeMap::new();
    for at in run.got.values().flatten() {
        *shares.entry(*at).or_insert(0) += 1;
    }
    assert_eq!(shares, BTreeMap::from([((0, 0), 2), ((1, 9), 2), ((2, 0), 2)]));
}

#[test]
fn a_member_of_another_shard_with_a_full_window_is_passed_over() {
    let mut run = Run::with_windows(ShareStrategy::RoundRobin, 0, 1);
    let slow = (1, 0);
    run.step(&Step::Join(slow.0, slow.1));
    run.neighbors.settle();
    let publish = |run: &mut Run, count| {
        for _ in 0..count {
            run.step(&Step::Publish(2));
            run.neighbors.settle();
            run.collect();
            run.acknowledge((0, 9));
        }
        let got = |at| run.got.values().flatten().filter(|it| **it == at).count();
        (got((0, 9)), got(slow))
    };
    assert_eq!(publish(&mut run, 6), (5, 1));
    let waiting = |run: &Run| run.neighbors.routers[1].session("c-1-0").unwrap().queue.len();
    assert_eq!(waiting(&run), 0, "nothing waits behind its window");
    run.acknowledge(slow);
    run.neighbors.settle();
    assert_eq!(publish(&mut run, 2), (6, 2), "its turn is back");
    // Nobody else: it waits there after all.
    run.neighbors.unsubscribe((0, 9), 7, GROUP);
    run.neighbors.settle();
    assert_eq!(publish(&mut run, 2), (6, 2));
    assert_eq!(waiting(&run), 2);
}

#[test]
fn a_group_moves_when_its_last_member_was_elsewhere() {
    let mut run = Run::new(ShareStrategy::RoundRobin, 0);
    run.step(&Step::Join(1, 0));
    run.neighbors.settle();
    run.neighbors.unsubscribe((0, 9), 7, GROUP);
    run.neighbors.settle();
    run.step(&Step::Publish(2));
    run.finish();
    assert_eq!(run.got["m2"], [(1, 0)]);
    run.step(&Step::Leave(1, 0));
    run.step(&Step::Join(2, 1));
    run.neighbors.settle();
    run.step(&Step::Publish(0));
    run.finish();
    assert_eq!(run.got["m5"], [(2, 1)]);
}

/// Two shards whose clients join each other's groups at the same moment: neither waits for the
/// other to answer first.
#[test]
fn joins_that_cross_are_both_acknowledged() {
    let mut neighbors = Neighbors::all_active(2, Settings::default());
    for shard in [0, 1] {
        neighbors.connect((shard, 0), &format!("first-{shard}"), false);
        neighbors.connect((shard, 1), &format!("second-{shard}"), false);
        neighbors.subscribe((shard, 0), 1, &format!("$share/g/{shard}"), 1);
    }
    neighbors.settle();
    neighbors.subscribe((0, 1), 2, "$share/g/1", 1);
    neighbors.subscribe((1, 1), 2, "$share/g/0", 1);
    neighbors.settle();
    assert!(neighbors.has_suback((0, 1), 2));
    assert!(neighbors.has_suback((1, 1), 2));
}
