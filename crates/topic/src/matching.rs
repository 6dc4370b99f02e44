//! Whether one filter matches one topic.

use crate::filter::{FilterLevel, FilterLevels};

/// Whether `filter` matches `topic` [MQTT-4.7].
///
/// `filter` is valid by [`check_filter`](crate::check_filter) and `topic` by
/// [`check_name`](crate::check_name). Other texts give an answer without meaning, but no panic.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if hides_from(filter, topic) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for level in FilterLevels::new(filter) {
        match (level, topic_levels.next()) {
            // Also where the topic has just ended: `a/#` matches `a` [MQTT-4.7.1.2].
            (FilterLevel::Multi, _) => return true,
            (_, None) => return false,
            (FilterLevel::Single, Some(_)) => {}
            (FilterLevel::Literal(literal), Some(text)) if literal == text => {}
            (FilterLevel::Literal(_), Some(_)) => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Whether the topic starts with `$`, which a leading wildcard does not match [MQTT-4.7.2-1].
pub(crate) fn hides_from(filter: &str, topic: &str) -> bool {
    topic.starts_with('$') && FilterLevels::new(filter).next().is_some_and(FilterLevel::is_wildcard)
}

/// Whether a first level admits only topics that leading wildcards do not match.
pub(crate) fn is_dollar(level: Option<FilterLevel<'_>>) -> bool {
    matches!(level, Some(FilterLevel::Literal(text)) if text.starts_with('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, matched: &[&str], unmatched: &[&str]) {
        for topic in matched {
            assert!(matches(filter, topic), "{filter} matches {topic}");
        }
        for topic in unmatched {
            assert!(!matches(filter, topic), "{filter} does not match {topic}");
        }
    }

    #[test]
    fn multi_level_wildcard() {
        let players = ["sport/tennis/player1", "sport/tennis/player1/ranking"];
        check("sport/tennis/player1/#", &players, &["sport/tennis", "sport/tennis/player2"]);
        check("sport/tennis/player1/#", &["sport/tennis/player1/score/wimbledon"], &[]);
        check("sport/#", &["sport", "sport/", "sport/a/b"], &["sports", "", "/sport", "Sport"]);
        check("#", &["a", "/", "a/b/c", "/finance"], &["$SYS", "$SYS/a"]);
        check("/#", &["/", "/a", "//"], &["a", "a/b"]);
    }

    #[test]
    fn single_level_wildcard() {
        let players = ["sport/tennis/player1", "sport/tennis/player2", "sport/tennis/"];
        check("sport/tennis/+", &players, &["sport/tennis/player1/ranking", "sport/tennis"]);
        check("sport/+", &["sport/", "sport/a"], &["sport", "sport/a/b"]);
        check("+/+", &["/finance", "/", "a/b"], &["finance", "a/b/c", "$SYS/a"]);
        check("/+", &["/finance", "/"], &["finance", "a/b", "//"]);
        check("+", &["finance", ""], &["/finance", "$SYS"]);
        check("+/tennis/#", &["a/tennis", "/tennis/b"], &["$a/tennis", "tennis"]);
    }

    #[test]
    fn dollar_topics_need_a_literal_first_level() {
        check("+/monitor/Clients", &["a/monitor/Clients"], &["$SYS/monitor/Clients"]);
        check("$SYS/#", &["$SYS", "$SYS/", "$SYS/monitor/Clients"], &["SYS", "$sys/a"]);
        check("$SYS/monitor/+", &["$SYS/monitor/Clients"], &["$SYS/monitor"]);
        check("a/+", &["a/$b"], &[]);
        check("a/#", &["a/$b"], &[]);
    }

    #[test]
    fn nothing_is_normalized() {
        check("ACCOUNTS", &["ACCOUNTS"], &["Accounts", "ACCOUNTS/", "/ACCOUNTS"]);
        check("Accounts payable", &["Accounts payable"], &["Accounts  payable"]);
        check("a/b", &["a/b"], &["a//b", "a/b/", "a"]);
        // One character composed, and two that look the same.
        check("\u{e9}", &["\u{e9}"], &["e\u{301}"]);
    }

    #[test]
    fn depth_costs_no_stack() {
        let slashes = "/".repeat(65_400);
        let wild = "+/".repeat(65_400);
        check(&slashes, &[&slashes], &["/"]);
        check(&(wild.clone() + "#"), &[&slashes], &["/"]);
        check(&(wild + "+"), &[&slashes], &["/"]);
    }
}
