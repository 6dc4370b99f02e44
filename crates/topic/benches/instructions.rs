//! The instructions of checking and matching one topic. `agentmq_testkit::instructions` says how
//! they are counted.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::hint::black_box;
use std::ops::ControlFlow;

use agentmq_testkit::{Case, instructions};
use agentmq_topic::{FilterTrie, TopicLimits, TopicTree, check_filter, check_name, matches};

fn main() {
    instructions(&[
        Case::new("check-name", |n| {
            for _ in 0..n {
                assert!(black_box(check_name(black_box(TOPIC), &LIMITS)).is_ok());
            }
        }),
        Case::new("check-filter", |n| {
            for _ in 0..n {
                assert!(
                    black_box(check_filter(black_box("sensors/+/temperature/#"), &LIMITS)).is_ok()
                );
            }
        }),
        Case::new("matches-hit", |n| pair("sensors/+/temperature", true, n)),
        Case::new("matches-miss", |n| pair("sensors/+/humidity", false, n)),
        Case::new("trie-1-hit", |n| find(1, TOPIC, 1, n)),
        Case::new("trie-1-miss", |n| find(1, MISS, 0, n)),
        Case::new("trie-1000-hit", |n| find(1_000, TOPIC, 2, n)),
        Case::new("trie-1000-miss", |n| find(1_000, MISS, 0, n)),
        // The set-up is dear.
        Case::new("trie-100000-hit", |n| find(100_000, TOPIC, 2, n)),
        Case::new("trie-100000-miss", |n| find(100_000, MISS, 0, n)),
        Case::new("trie-wildcards", wildcards),
        Case::new("trie-insert-remove", insert_remove),
        Case::repeated("tree-walk-1000", 50, walk),
    ]);
}

fn pair(filter: &str, expected: bool, repeat: usize) {
    for _ in 0..repeat {
        assert_eq!(matches(black_box(filter), black_box(TOPIC)), expected);
    }
}

/// `count` filters of a building: a name of its own for each room, `+` for one in twenty, `#` for
/// another.
fn building(count: usize) -> FilterTrie<usize, SameEveryTime> {
    let mut trie = FilterTrie::with_hasher(SameEveryTime::default());
    for room in 0..count {
        let filter = match room % 20 {
            18 => format!("sensors/+/kind-{room}"),
            19 => format!("sensors/room-{room}/#"),
            _ => format!("sensors/room-{room}/temperature"),
        };
        trie.insert(&filter, room);
    }
    if count > 1 {
        trie.insert("sensors/+/temperature", count);
    }
    trie
}

fn find(count: usize, topic: &str, expected: usize, repeat: usize) {
    let trie = building(count);
    for _ in 0..repeat {
        let mut found = 0;
        trie.for_each_match(black_box(topic), |value| {
            black_box(value);
            found += 1;
        });
        assert_eq!(found, expected);
    }
}

/// Every level is `+` or a word, and `#` may end it anywhere: all 126 filters match.
fn wildcards(repeat: usize) {
    let words = ["a", "b", "c", "d", "e", "f"];
    let mut trie = FilterTrie::with_hasher(SameEveryTime::default());
    for depth in 1..=words.len() {
        for plus in 0..1usize << depth {
            let level = |(at, word): (usize, &&'static str)| -> &str {
                if plus >> at & 1 == 1 { "+" } else { word }
            };
            let levels: Vec<&str> = words.iter().take(depth).enumerate().map(level).collect();
            let end = if depth == words.len() { "" } else { "/#" };
            trie.insert(&format!("{}{end}", levels.join("/")), ());
        }
    }
    for _ in 0..repeat {
        let mut found = 0;
        trie.for_each_match(black_box("a/b/c/d/e/f"), |()| found += 1);
        assert_eq!(found, 126);
    }
}

fn insert_remove(repeat: usize) {
    let mut trie = building(1_000);
    for _ in 0..repeat {
        trie.insert(black_box("sensors/room-new/temperature"), 0);
        assert_eq!(trie.remove(black_box("sensors/room-new/temperature")), Some(0));
    }
}

/// What a subscription to `#` asks of the retained messages.
fn walk(repeat: usize) {
    let mut tree = TopicTree::new();
    for room in 0..1_000 {
        tree.insert(&format!("sensors/room-{room}/temperature"), room);
    }
    for _ in 0..repeat {
        let mut found = 0;
        tree.for_each_match_after(black_box("#"), None, |_, _| {
            found += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(found, 1_000);
    }
}

/// The hasher of the standard library without its random keys: those would make a different table
/// in each run.
type SameEveryTime = BuildHasherDefault<DefaultHasher>;

const TOPIC: &str = "sensors/room-0/temperature";
const MISS: &str = "sensors/room-0/humidity";
const LIMITS: TopicLimits = TopicLimits { max_levels: 64, max_bytes: 512 };
