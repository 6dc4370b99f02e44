//! Containment and overlap of filters against their definitions, on all filters and topics of a
//! small alphabet.

mod naive;

use agentmq_topic::{contains, overlaps};

/// All sequences of up to `depth` levels, joined.
fn sequences(alphabet: &[&str], depth: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut longest: Vec<String> = alphabet.iter().map(|&level| level.to_owned()).collect();
    for _ in 0..depth {
        all.extend(longest.iter().cloned());
        longest = longest
            .iter()
            .flat_map(|start| alphabet.iter().map(move |level| format!("{start}/{level}")))
            .collect();
    }
    all
}

/// Filters have up to three levels and a `#`. Topics have a level more than any filter, and levels
/// that no filter names, `z` and `$z`: for a `+` or `#`, these stand for all such levels, so what
/// holds for these topics holds for all.
#[test]
fn a_filter_contains_another_if_it_matches_all_its_topics_and_overlaps_if_it_matches_one() {
    let mut filters = sequences(&["a", "", "$", "+"], 3);
    let multi: Vec<String> = filters.iter().map(|filter| format!("{filter}/#")).collect();
    filters.extend(multi);
    filters.push("#".to_owned());
    filters.retain(|filter| naive::is_filter(filter));

    let mut topics = sequences(&["a", "", "$", "z", "$z"], 5);
    topics.retain(|topic| naive::is_name(topic));
    let matched: Vec<Vec<bool>> = filters
        .iter()
        .map(|filter| topics.iter().map(|topic| naive::matches(filter, topic)).collect())
        .collect();

    let (mut contained, mut apart) = (0, 0);
    for (outer, outer_matches) in filters.iter().zip(&matched) {
        for (inner, inner_matches) in filters.iter().zip(&matched) {
            let expected =
                inner_matches.iter().zip(outer_matches).all(|(inner, outer)| !inner || *outer);
            assert_eq!(contains(outer, inner), expected, "{outer} contains {inner}");
            contained += usize::from(expected && outer != inner);
            let common =
                inner_matches.iter().zip(outer_matches).any(|(inner, outer)| *inner && *outer);
            assert_eq!(overlaps(outer, inner), common, "{outer} overlaps {inner}");
            apart += usize::from(!common);
        }
    }
    assert!(contained > 1000, "the alphabet has filters that contain others: {contained}");
    assert!(apart > 1000, "and filters that have nothing in common: {apart}");
}
