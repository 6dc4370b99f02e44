//! Where the topics of an organisation are, when organisations are kept apart: below a level of
//! its own, so that two of them may use the same names and never meet. Its clients do not see that
//! level.
//!
//! `a/b` of acme is `$org/acme/a/b`, and `$a2a/x`, which `#` must not match, is
//! `$org$/acme/$a2a/x`.

use std::borrow::Cow;

use agentmq_topic::contains;

use crate::rule::is_level;

/// The topics of one organisation, as one of its clients has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    ordinary: String,
    reserved: String,
    /// Filters of what it may see of the broker's own topics.
    statistics: Vec<String>,
}

impl Mount {
    /// Those of `org`, for a client; `None`: the name of the organisation is no level of a topic.
    pub(crate) fn of(org: &str, client_id: &str) -> Option<Self> {
        if !is_level(org) || org.len() > LONGEST {
            return None;
        }
        let organization = Some(format!("$SYS/organizations/{org}/#"));
        let client = is_level(client_id).then(|| format!("$SYS/clients/{client_id}/#"));
        Some(Self {
            ordinary: format!("{ORDINARY}{org}/"),
            reserved: format!("{RESERVED}{org}/"),
            statistics: organization.into_iter().chain(client).collect(),
        })
    }

    /// Where a topic or filter of its clients is.
    pub(crate) fn mounted<'t>(&self, topic: &'t str) -> Cow<'t, str> {
        if is_system(topic) {
            return topic.into();
        }
        let place = if topic.starts_with('$') { &self.reserved } else { &self.ordinary };
        format!("{place}{topic}").into()
    }

    /// What its clients call a topic or filter; `None`: it is none of theirs.
    pub(crate) fn seen<'t>(&self, topic: &'t str) -> Option<&'t str> {
        if is_system(topic) {
            return self.statistics.iter().any(|own| contains(own, topic)).then_some(topic);
        }
        let ordinary = topic.strip_prefix(&*self.ordinary).filter(|it| !it.starts_with('$'));
        let reserved = || topic.strip_prefix(&*self.reserved).filter(|it| it.starts_with('$'));
        ordinary.or_else(reserved).filter(|it| !it.is_empty() && !is_system(it))
    }
}

/// What the clients of whose it is call a topic.
#[must_use]
pub fn seen_by_its_own(topic: &str) -> &str {
    let below = [ORDINARY, RESERVED].into_iter().find_map(|place| topic.strip_prefix(place));
    below.and_then(|rest| rest.split_once('/')).map_or(topic, |(_, own)| own)
}

/// Whether a topic or filter is of an organisation that is kept apart, or may be.
pub(crate) fn is_of_an_organization(topic: &str) -> bool {
    [ORDINARY, RESERVED]
        .iter()
        .any(|place| topic.starts_with(place) || topic == &place[..place.len() - 1])
}

/// Whether a topic is one that clients of an organisation could have published to.
pub(crate) fn is_some_client_s(topic: &str) -> bool {
    let own = seen_by_its_own(topic);
    let is_reserved = topic.starts_with(RESERVED);
    own != topic && !own.is_empty() && own.starts_with('$') == is_reserved && !is_system(own)
}

fn is_system(topic: &str) -> bool {
    topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

const ORDINARY: &str = "$org/";
const RESERVED: &str = "$org$/";
/// Bytes of a name, at most: a topic has 65 535, and what clients may use of them is less by that.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use agentmq_topic::matches;

    use super::*;

    fn mount() -> Mount {
        Mount::of("acme", "c").expect("is a level")
    }

    #[test]
    fn what_is_mounted_is_seen_as_it_was() {
        for topic in ["a", "a/b", "/", "$a2a/x", "#", "+/a", "$mcp-server/#", "$", "$org/other/a"] {
            let mounted = mount().mounted(topic);
            assert_eq!(mount().seen(&mounted), Some(topic), "{mounted}");
            assert_eq!(seen_by_its_own(&mounted), topic);
            let other = Mount::of("other", "c").expect("is a level");
            assert_eq!(other.seen(&mounted), None);
            assert!(is_of_an_organization(&mounted));
        }
    }

    #[test]
    fn a_wildcard_does_not_match_reserved_topics_nor_others() {
        let all = mount().mounted("#");
        assert!(matches(&all, &mount().mounted("a/b")));
        assert!(!matches(&all, &mount().mounted("$a2a/x")));
        let other = Mount::of("acme2", "c").expect("is a level");
        assert!(!matches(&all, &other.mounted("a/b")));
    }

    #[test]
    fn of_the_broker_s_own_topics_it_sees_its_own_part() {
        for own in ["$SYS/organizations/acme/#", "$SYS/organizations/acme", "$SYS/clients/c/x"] {
            assert_eq!(mount().seen(&mount().mounted(own)), Some(own));
        }
        for foreign in ["$SYS", "$SYS/#", "$SYS/broker/uptime", "$SYS/organizations/+/x"] {
            assert_eq!(mount().seen(&mount().mounted(foreign)), None, "{foreign}");
        }
        let named = Mount::of("acme", "+").expect("is a level");
        assert_eq!(named.seen("$SYS/clients/other/x"), None);
    }

    #[test]
    fn what_others_put_there_does_not_look_like_something_else() {
        for topic in [
            "$org/acme/$SYS/x",
            "$org/acme/$a2a",
            "$org$/acme/a",
            "$org$/acme/$SYS/x",
            "$org/acme/",
        ] {
            assert_eq!(mount().seen(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_name_that_is_no_level_has_no_topics() {
        for name in ["", "a/b", "+", "#", "a\0", &"x".repeat(LONGEST + 1)] {
            assert_eq!(Mount::of(name, "c"), None, "{name}");
        }
    }
}
