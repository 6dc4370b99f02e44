//! `[shared]`: strategies of shared subscriptions, by default and by group (MQTT 5 §4.8.2).

use std::collections::BTreeMap;

use crate::value::choices;

/// `[shared]`: how a message for a shared subscription (MQTT 5 §4.8.2) finds its receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedConfig {
    /// For groups that are not listed.
    pub strategy: Strategy,
    /// By ShareName.
    pub groups: BTreeMap<String, Strategy>,
}

impl SharedConfig {
    /// The strategy of the group with this ShareName.
    #[must_use]
    pub fn strategy_of(&self, share_name: &str) -> Strategy {
        self.groups.get(share_name).copied().unwrap_or(self.strategy)
    }
}

/// Which member of a shared subscription gets the next message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The one with the fewest unacknowledged messages.
    LeastInflight,
    /// The same one until it leaves.
    Sticky,
    /// By the publisher's client identifier.
    HashClient,
    /// By the topic name.
    HashTopic,
}

choices!(Strategy {
    "round_robin" => RoundRobin,
    "random" => Random,
    "least_inflight" => LeastInflight,
    "sticky" => Sticky,
    "hash_client" => HashClient,
    "hash_topic" => HashTopic,
});

/// What is wrong with a ShareName, if anything is [MQTT-4.8.2-1] [MQTT-4.8.2-2].
pub(crate) fn share_name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("a group's name has at least one letter");
    }
    if name.contains(['/', '+', '#', '\0']) {
        return Some("a group's name holds no /, + or #, nor U+0000");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_strategy_has_the_default_one() {
        let shared = SharedConfig {
            strategy: Strategy::Random,
            groups: BTreeMap::from([("workers".to_owned(), Strategy::Sticky)]),
        };
        assert_eq!(shared.strategy_of("workers"), Strategy::Sticky);
        assert_eq!(shared.strategy_of("others"), Strategy::Random);
    }

    #[test]
    fn share_names() {
        assert_eq!(share_name_problem("workers"), None);
        for wrong in ["", "a/b", "+", "#", "a\0"] {
            assert!(share_name_problem(wrong).is_some(), "{wrong:?}");
        }
    }
}
