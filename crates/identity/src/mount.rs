//! Where the topics of an organisation are, when organisations are kept apart: below a level of
//! its own, so that two of them may use the same names and never meet. Its clients do not see that
//! level. Their identifiers are there, too.
//!
//! `a/b` of acme is `$org/acme/a/b`, and `$a2a/x`, which `#` must not match, is
//! `$org$/acme/$a2a/x`. Its client `scout` is `$org/acme/scout`.

use std::borrow::Cow;

use agentmq_topic::contains;

use crate::rule::is_level;

/// The topics of one organisation, as one of its clients has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    ordinary: String,
    reserved: String,
    /// What it may see of the broker's own topics.
    statistics: String,
    /// What its client may see of those about clients.
    client: Option<String>,
}

impl Mount {
    /// Those of `org`, for a client; `None`: the name of the organisation is no level of a topic.
    pub(crate) fn of(org: &str, client_id: &str) -> Option<Self> {
        if !is_level(org) || org.len() > LONGEST {
            return None;
        }
        Some(Self {
            ordinary: format!("{ORDINARY}{org}/"),
            reserved: format!("{RESERVED}{org}/"),
            statistics: format!("$SYS/organizations/{org}/#"),
            client: is_level(client_id).then(|| format!("{CLIENTS}{client_id}/#")),
        })
    }

    /// What one of its clients is called.
    pub(crate) fn client_id(&self, own: &str) -> String {
        format!("{}{own}", self.ordinary)
    }

    /// Where a topic or filter of its clients is.
    pub(crate) fn mounted<'t>(&self, topic: &'t str) -> Cow<'t, str> {
        if is_everybody_s(topic) {
            return topic.into();
        }
        let place = if topic.starts_with('$') { &self.reserved } else { &self.ordinary };
        format!("{place}{topic}").into()
    }

    /// What its clients call a topic or filter; `None`: it is none of theirs.
    pub(crate) fn seen<'t>(&self, topic: &'t str) -> Option<&'t str> {
        if is_everybody_s(topic) {
            return contains(&self.statistics, topic).then_some(topic);
        }
        let ordinary = topic.strip_prefix(&*self.ordinary).filter(|it| !it.starts_with('$'));
        let reserved = || topic.strip_prefix(&*self.reserved).filter(|it| it.starts_with('$'));
        ordinary.or_else(reserved).filter(|it| {
            let is_client_s = || self.client.as_ref().is_some_and(|own| contains(own, it));
            !it.is_empty() && (!is_system(it) || is_client_s())
        })
    }
}

/// What the clients of whose it is call a topic.
#[must_use]
pub fn seen_by_its_own(topic: &str) -> &str {
    let below = [ORDINARY, RESERVED].into_iter().find_map(|place| topic.strip_prefix(place));
    below.and_then(|rest| rest.split_once('/')).map_or(topic, |(_, own)| own)
}

/// What a client calls itself that is called so.
#[must_use]
pub fn own_client_id(client_id: &str) -> &str {
    let below = client_id.strip_prefix(ORDINARY).and_then(|rest| rest.split_once('/'));
    below.map_or(client_id, |(_, own)| own)
}

/// What the client is called that calls itself so and is of the organisation whose topic this is;
/// of none, if it is the topic of none.
#[must_use]
pub fn client_id_beside<'c>(topic: &str, own: &'c str) -> Cow<'c, str> {
    let below = [ORDINARY, RESERVED].into_iter().find_map(|place| topic.strip_prefix(place));
    match below.and_then(|rest| rest.split_once('/')) {
        Some((org, _)) => format!("{ORDINARY}{org}/{own}").into(),
        None => own.into(),
    }
}

/// Whether a client is called so that calls itself `own` and is of this organisation.
pub(crate) fn is_client_of(client_id: &str, org: &str, own: &str) -> bool {
    let below = client_id.strip_prefix(ORDINARY).and_then(|rest| rest.strip_prefix(org));
    below.and_then(|rest| rest.strip_prefix('/')) == Some(own)
}

/// Whether a client identifier looks like those of an organisation's clients.
pub(crate) fn is_called_as_of_an_organization(client_id: &str) -> bool {
    client_id.starts_with(ORDINARY)
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

/// Whether a topic or filter is where it is whoever names it. Those about clients are not: two
/// organisations may have a client of the same name.
fn is_everybody_s(topic: &str) -> bool {
    is_system(topic) && !topic.starts_with(CLIENTS)
}

const CLIENTS: &str = "$SYS/clients/";
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
    fn a_client_is_beside_its_organization_s_topics() {
        for own in ["scout", "a/b", "$org/other/a", "/", " "] {
            let client_id = mount().client_id(own);
            assert_eq!(own_client_id(&client_id), own, "{client_id}");
            assert!(is_client_of(&client_id, "acme", own) && !is_client_of(&client_id, "acm", own));
            for topic in ["a/b", "$reply/scout/t"] {
                assert_eq!(client_id_beside(&mount().mounted(topic), own), client_id);
            }
            assert_eq!(client_id_beside("a/b", own), own);
        }
        assert_eq!(own_client_id("scout"), "scout");
    }

    #[test]
    fn a_name_that_is_no_level_has_no_topics() {
        for name in ["", "a/b", "+", "#", "a\0", &"x".repeat(LONGEST + 1)] {
            assert_eq!(Mount::of(name, "c"), None, "{name}");
        }
    }
}
