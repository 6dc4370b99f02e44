//! Whether one filter allows no more than another: what an access rule asks of a subscription.

use crate::filter::{FilterLevel, FilterLevels};
use crate::matching::is_dollar;

/// Whether `outer` matches every topic that `inner` matches.
///
/// The answer is exact: it accounts for `$` topics, which a leading wildcard does not match
/// [MQTT-4.7.2-1], and for `#`, which matches its parent. So `#` does not contain `$SYS/a`,
/// `a/#` contains `a`, `a/+/#` does not contain `a/#`, and `+/#` contains `#`, as no topic has
/// fewer levels than one.
///
/// Both are valid by [`check_filter`](crate::check_filter), without `$share/NAME/`. Other texts
/// give an answer without meaning, but no panic.
#[must_use]
pub fn contains(outer: &str, inner: &str) -> bool {
    let mut outer_levels = FilterLevels::new(outer);
    let mut inner_levels = FilterLevels::new(inner);
    let mut first = true;
    loop {
        let (outer_level, inner_level) = (outer_levels.next(), inner_levels.next());
        let proceed = match (outer_level, inner_level) {
            (None, None) => return true,
            // Whatever `inner` goes on with, even nothing, ends under this `#`.
            (Some(FilterLevel::Multi), _) => return !(first && is_dollar(inner_level)),
            // `inner` matches topics of any depth, and the parent of its `#`. An `outer` with a
            // level here asks for more than the parent, which matters unless the parent is the
            // empty text, no topic name [MQTT-4.7.3-1]: `+/#` is another way to write `#`.
            (Some(FilterLevel::Single), Some(FilterLevel::Multi)) => {
                let parent_is_name = !matches!(inner, "#" | "/#");
                return !parent_is_name && outer_levels.next() == Some(FilterLevel::Multi);
            }
            (_, Some(FilterLevel::Multi)) | (None, _) | (_, None) => return false,
            (Some(FilterLevel::Single), Some(_)) => !(first && is_dollar(inner_level)),
            (Some(literal), Some(level)) => literal == level,
        };
        if !proceed {
            return false;
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outer: &str, inside: &[&str], outside: &[&str]) {
        for inner in inside {
            assert!(contains(outer, inner), "{outer} contains {inner}");
        }
        for inner in outside {
            assert!(!contains(outer, inner), "{outer} does not contain {inner}");
        }
    }

    #[test]
    fn literals_and_single_levels() {
        check("a/b", &["a/b"], &["a", "a/+", "a/b/#", "a/b/c", "a/#", "+/b", "#"]);
        check("a/+", &["a/b", "a/+", "a/", "a/$b"], &["a", "a/#", "a/b/#", "a/+/+", "+/a"]);
        check("+", &["a", "+"], &["$a", "#", "/", "a/#", "+/#"]);
        check("+/b", &["a/b", "/b", "+/b"], &["$a/b", "+/+", "+/#"]);
    }

    #[test]
    fn multi_levels() {
        let under = ["a", "a/", "a/#", "a/+", "a/+/#", "a/b/c", "a/$b"];
        check("a/#", &under, &["#", "+", "ab", "+/#", "+/b"]);
        check("a/+/#", &["a/+", "a/b", "a/b/#", "a/+/#", "a/+/+"], &["a/#", "a"]);
        check("#", &["a", "#", "+", "+/#", "+/+/#", "/"], &["$a", "$a/#", "$SYS/+"]);
        check("+/#", &["#", "+", "a", "a/#", "+/#"], &["$a", "$a/#"]);
        check("+/+/#", &["+/+", "a/+/#", "/#", "//#"], &["#", "+/#", "+", "a/#", "$a/+"]);
        // The parent of `/#` would be the empty text, which is no topic.
        check("/+/#", &["/#", "/+/#", "/+", "/"], &["#", "+/#", "a/#"]);
    }

    #[test]
    fn dollar_topics() {
        check("$SYS/#", &["$SYS", "$SYS/a", "$SYS/+", "$SYS/#"], &["#", "+/a", "$sys/a"]);
        check("$SYS/+", &["$SYS/a", "$SYS/+"], &["$SYS", "$SYS/#", "+/+"]);
    }

    #[test]
    fn depth_costs_no_stack() {
        let wild = "+/".repeat(32_000) + "#";
        check(&wild, &[&wild, &"/".repeat(32_000)], &["#"]);
    }
}
