//! Fuzz target: any two texts as filter and topic. Runs as a plain test, or under a fuzzer.

mod naive;

use std::ops::ControlFlow;

use agentmq_topic::{
    FilterTrie, Subscription, TopicLimits, TopicTree, check_filter, check_name, contains, matches,
    overlaps,
};

/// Input bytes choose characters from here: those that the rules are about, and a few others.
const ALPHABET: [char; 16] =
    ['/', '/', '/', '/', '+', '+', '#', '$', 'a', 'a', 'a', 'b', '!', 'é', '\0', '漢'];

#[test]
fn filters_match_as_the_rules_say() {
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().with_iterations(20_000).for_each(
        |(filter, topic)| {
            let (filter, topic) = (text(filter), text(topic));
            check_pair(&filter, &topic);
            // Half of the pairs that random texts make do not even have the same depth.
            check_pair(&filter, &filter.replace(['+', '#'], "a"));
        },
    );
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| ALPHABET[usize::from(byte % 16)]).collect()
}

fn check_pair(filter: &str, topic: &str) {
    let limits = TopicLimits { max_levels: usize::MAX, max_bytes: usize::MAX };
    let valid = check_filter(filter, &limits).is_ok();
    assert_eq!(valid, naive::is_filter(filter), "{filter:?} is a filter");
    let named = check_name(topic, &limits).is_ok();
    assert_eq!(named, naive::is_name(topic), "{topic:?} is a name");
    if let Ok(it) = Subscription::parse(filter, &limits) {
        assert!(naive::is_filter(it.filter), "{filter:?} has a filter");
    }

    // Invalid texts too: they may be anything to the rules, but all parts agree and none panics.
    let matched = matches(filter, topic);
    if valid && named {
        assert_eq!(matched, naive::matches(filter, topic), "{filter:?} matches {topic:?}");
        // A name is a filter that matches nothing else.
        assert_eq!(contains(filter, topic), matched, "{filter:?} contains {topic:?}");
        assert_eq!(overlaps(filter, topic), matched, "{filter:?} overlaps {topic:?}");
    }
    assert!(contains(filter, filter), "{filter:?} contains itself");

    let mut trie = FilterTrie::new();
    trie.insert(filter, ());
    let mut found = false;
    trie.for_each_match(topic, |()| found = true);
    assert_eq!(found, matched, "the trie finds {filter:?} for {topic:?}");
    assert!(trie.iter().map(|(filter, ())| filter).eq([filter.to_owned()]));
    assert_eq!(trie.remove(filter), Some(()));

    let mut tree = TopicTree::new();
    for other in [topic, filter, "", "/", "a", "$a/b"] {
        tree.insert(other, ());
    }
    let mut found = Vec::new();
    tree.for_each_match_after(filter, None, |topic, ()| {
        found.push(topic.to_owned());
        ControlFlow::Continue(())
    });
    let all = tree.iter().map(|(topic, ())| topic);
    assert!(all.filter(|topic| matches(filter, topic)).eq(&found), "the tree walks {filter:?}");
}
