//! Reply topics: `$reply/CLIENT/TOKEN`, at which one client expects answers to what it has asked.

/// A reply topic taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTopic<'a> {
    /// The client identifier of who expects the answer.
    pub client_id: &'a str,
    /// What the request is told by: one level or several.
    pub token: &'a str,
}

impl<'a> ReplyTopic<'a> {
    /// The first level of all of them.
    pub const PREFIX: &'static str = "$reply";

    /// Takes a topic name apart; `None` when it is no reply topic.
    pub fn parse(topic: &'a str) -> Option<Self> {
        let (client_id, token) = below(topic)?.split_once('/')?;
        (!client_id.is_empty() && !token.is_empty()).then_some(Self { client_id, token })
    }

    /// Whether a name, or a filter, is about topics with this first level.
    pub fn is_meant(text: &str) -> bool {
        // Most texts begin otherwise, and are told by that.
        text.starts_with('$') && (text == Self::PREFIX || below(text).is_some())
    }

    /// Whether all that a name or filter means is a reply topic of this client.
    pub fn is_own(text: &str, client_id: &str) -> bool {
        let rest = below(text).and_then(|rest| rest.strip_prefix(client_id)?.strip_prefix('/'));
        is_level(client_id) && rest.is_some_and(|token| !token.is_empty())
    }

    /// What the reply topics of a client begin with; `None` for one that has none, since its
    /// identifier is not one level.
    pub fn beginning(client_id: &str) -> Option<String> {
        is_level(client_id).then(|| format!("{}/{client_id}/", Self::PREFIX))
    }
}

fn below(text: &str) -> Option<&str> {
    text.strip_prefix(ReplyTopic::PREFIX)?.strip_prefix('/')
}

fn is_level(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '+', '#'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matches;

    #[test]
    fn a_name_is_taken_apart() {
        let parse = |topic| ReplyTopic::parse(topic).map(|it| (it.client_id, it.token));
        assert_eq!(parse("$reply/a/t"), Some(("a", "t")));
        assert_eq!(parse("$reply/a/t/u"), Some(("a", "t/u")));
        assert_eq!(parse("$reply/a//"), Some(("a", "/")));
        for topic in ["$reply", "$reply/", "$reply/a", "$reply/a/", "$reply//t", "reply/a/t"] {
            assert_eq!(parse(topic), None, "{topic}");
        }
        assert!(ReplyTopic::is_meant("$reply") && ReplyTopic::is_meant("$reply/#"));
        assert!(!ReplyTopic::is_meant("$replya/b") && !ReplyTopic::is_meant("#"));
    }

    #[test]
    fn what_is_one_s_own_is_below_one_s_own_level() {
        for own in ["$reply/a/t", "$reply/a/#", "$reply/a/+", "$reply/a/+/#", "$reply/a//"] {
            assert!(ReplyTopic::is_own(own, "a"), "{own}");
        }
        for other in ["$reply/#", "$reply/+/t", "$reply/ab/t", "$reply/a", "$reply/a/", "a/t", "#"]
        {
            assert!(!ReplyTopic::is_own(other, "a"), "{other}");
        }
        for client_id in ["", "+", "#", "a/b", "a+", "/"] {
            assert!(!ReplyTopic::is_own(&format!("$reply/{client_id}/t"), client_id));
            assert_eq!(ReplyTopic::beginning(client_id), None);
        }
        assert_eq!(ReplyTopic::beginning("a").as_deref(), Some("$reply/a/"));
    }

    proptest! {
        /// Whatever one may ask for brings one's own answers and nobody else's.
        #[test]
        fn an_own_filter_matches_own_topics_alone(
            client_id in "[a-c$+#/]{0,3}",
            rest in "[a-c+#/]{0,6}",
            topic in "(\\$reply|a)/[a-c$/]{0,8}",
        ) {
            let filter = format!("$reply/{rest}");
            if ReplyTopic::is_own(&filter, &client_id) && matches(&filter, &topic) {
                let found = ReplyTopic::parse(&topic);
                // `$reply/a/#` matches `$reply/a` too, to which nobody may publish.
                let is_own = found.is_some_and(|it| it.client_id == client_id);
                prop_assert!(is_own || found.is_none(), "{} {} {}", client_id, filter, topic);
            }
        }
    }
}
