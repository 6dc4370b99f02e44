//! Names, filters and the two indexes against the plain rules, on random inputs.

mod naive;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use agentmq_topic::{FilterTrie, TopicLimits, TopicTree, check_filter, check_name, matches};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Names of few and short levels, so that they meet filters often; some sort around `/`.
const TOPIC: &str = "(a|b|ab|a!|a0|a |é|%|\\$|\\$a|)(/(a|b|a |a!|a0|\\$|)){0,4}";
/// Filters of the same levels.
const FILTER: &str = "((a|b|ab|a!|é|\\$|\\$a||\\+)/)?((a|b|a!|\\$||\\+)/){0,3}(a|b|a!||\\+|#)";
/// Anything made of what the rules are about.
const TEXT: &str = "[ab$+#/\0é]{0,10}";

proptest! {
    #[test]
    fn validity_is_as_the_rules_say(text in TEXT) {
        let limits = TopicLimits::default();
        prop_assert_eq!(check_filter(&text, &limits).is_ok(), naive::is_filter(&text));
        prop_assert_eq!(check_name(&text, &limits).is_ok(), naive::is_name(&text));
    }

    #[test]
    fn a_filter_matches_as_the_rules_say(filter in FILTER, topic in TOPIC) {
        prop_assert_eq!(matches(&filter, &topic), naive::matches(&filter, &topic));
    }

    #[test]
    fn the_trie_is_a_map_that_matches_as_the_rules_say(
        steps in vec((FILTER, option::weighted(0.7, any::<u8>())), 0..40),
        topics in vec(TOPIC, 1..20),
    ) {
        let mut trie = FilterTrie::new();
        let mut model = BTreeMap::new();
        for (filter, value) in steps {
            match value {
                // A value that knows its filter, so that a match can tell who matched.
                Some(value) => {
                    let value = (filter.clone(), value);
                    let old = model.insert(filter.clone(), value.clone());
                    prop_assert_eq!(trie.insert(&filter, value), old);
                }
                None => prop_assert_eq!(trie.remove(&filter), model.remove(&filter)),
            }
            prop_assert_eq!(trie.get(&filter), model.get(&filter));
            prop_assert_eq!(trie.len(), model.len());
        }
        let entries: BTreeMap<String, &(String, u8)> = trie.iter().collect();
        prop_assert_eq!(trie.iter().count(), model.len());
        prop_assert!(entries.iter().map(|(filter, value)| (filter, *value)).eq(&model));
        for topic in topics {
            let mut found = Vec::new();
            trie.for_each_match(&topic, |value| found.push(value.clone()));
            found.sort_unstable();
            let matching = model.values().filter(|(filter, _)| naive::matches(filter, &topic));
            prop_assert_eq!(found, matching.cloned().collect::<Vec<_>>(), "{}", topic);
        }
    }

    #[test]
    fn the_tree_walks_in_pages_what_it_walks_at_once(
        topics in vec(TOPIC, 0..40), filter in FILTER,
        page in 1..5_usize, after in option::of(TOPIC),
    ) {
        let mut tree = TopicTree::new();
        for topic in &topics {
            tree.insert(topic, topic.clone());
        }
        let found = walk_in_pages(&mut tree, &filter, after.clone(), page, |_, _| {});
        prop_assert_eq!(found, expected(&topics, &filter, after.as_deref()));
    }

    #[test]
    fn a_walk_goes_on_where_its_looks_were_used_up(
        topics in vec(TOPIC, 0..40), filter in FILTER, looks in 0..6_usize,
    ) {
        let tree = topics.iter().fold(TopicTree::new(), |mut tree, topic| {
            tree.insert(topic, ());
            tree
        });
        let mut found = Vec::new();
        let mut after = None;
        loop {
            after = tree.for_each_match_within(&filter, after.as_deref(), looks, |topic, ()| {
                found.push(topic.to_owned());
                ControlFlow::Continue(())
            });
            if after.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, expected(&topics, &filter, None));
    }

    #[test]
    fn the_cursor_stays_valid_when_entries_come_and_go(
        topics in vec(TOPIC, 0..40), filter in FILTER, page in 1..4_usize,
        changes in vec((TOPIC, any::<bool>()), 0..40),
    ) {
        let mut tree = TopicTree::new();
        for topic in &topics {
            tree.insert(topic, topic.clone());
        }
        let mut pending = changes.iter();
        let found = walk_in_pages(&mut tree, &filter, None, page, |tree, last| {
            // The cursor's own entry goes each time, and something else comes or goes.
            tree.remove(last);
            if let Some((topic, comes)) = pending.next() {
                if *comes { tree.insert(topic, topic.clone()) } else { tree.remove(topic) };
            }
        });
        let ascending = found.windows(2).all(|pair| levels(&pair[0]) < levels(&pair[1]));
        prop_assert!(ascending, "each once and in order: {:?}", found);
        prop_assert!(found.iter().all(|topic| naive::matches(&filter, topic)));
        let steady = topics.iter().filter(|topic| changes.iter().all(|(other, _)| other != *topic));
        for topic in steady.filter(|topic| naive::matches(&filter, topic)) {
            prop_assert!(found.contains(topic), "{} was there all the time", topic);
        }
    }

    #[test]
    fn the_tree_is_a_map(steps in vec((TOPIC, option::weighted(0.7, any::<u8>())), 0..40)) {
        let mut tree = TopicTree::new();
        let mut model = BTreeMap::new();
        for (topic, value) in &steps {
            match value {
                Some(value) => {
                    let old = model.insert(levels(topic), *value);
                    prop_assert_eq!(tree.insert(topic, *value), old);
                }
                None => prop_assert_eq!(tree.remove(topic), model.remove(&levels(topic))),
            }
            prop_assert_eq!(tree.get(topic), model.get(&levels(topic)));
            prop_assert_eq!(tree.len(), model.len());
        }
        prop_assert!(tree.iter().map(|(topic, value)| (levels(topic), value)).eq(model
            .iter()
            .map(|(levels, value)| (levels.clone(), value))));
    }
}

/// Walks with a new call for each page and lets `between` change the tree behind each page, told
/// the last topic of that page.
fn walk_in_pages(
    tree: &mut TopicTree<String>,
    filter: &str,
    mut after: Option<String>,
    page: usize,
    mut between: impl FnMut(&mut TopicTree<String>, &str),
) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let full = found.len() + page;
        tree.for_each_match_after(filter, after.as_deref(), |topic, value| {
            assert_eq!(topic, value);
            found.push(topic.to_owned());
            if found.len() < full { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if found.len() < full {
            return found;
        }
        after = found.last().cloned();
        between(tree, found.last().expect("a full page has a last topic"));
    }
}

/// What a walk finds, from a sorted list.
fn expected(topics: &[String], filter: &str, after: Option<&str>) -> Vec<String> {
    let mut topics: Vec<String> = topics.to_vec();
    topics.sort_by(|left, right| levels(left).cmp(&levels(right)));
    topics.dedup();
    topics.retain(|topic| naive::matches(filter, topic));
    topics.retain(|topic| after.is_none_or(|after| levels(topic) > levels(after)));
    topics
}

fn levels(topic: &str) -> Vec<&str> {
    topic.split('/').collect()
}
