//! `[shared]`: strategies of shared subscriptions, by default and by group (MQTT 5 §4.8.2).

use std::collections::BTreeMap;

use agentmq_router::ShareStrategy;

use crate::value::{Setting, Value};

/// `[shared]`: how a message for a shared subscription (MQTT 5 §4.8.2) finds its receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedConfig {
    /// For groups that are not listed.
    pub strategy: ShareStrategy,
    /// By ShareName.
    pub groups: BTreeMap<String, ShareStrategy>,
}

impl SharedConfig {
    /// The strategy of the group with this ShareName.
    #[must_use]
    pub fn strategy_of(&self, share_name: &str) -> ShareStrategy {
        self.groups.get(share_name).copied().unwrap_or(self.strategy)
    }
}

/// The names that the configuration knows.
pub(crate) const STRATEGIES: &[&str] = &{
    let mut names = [""; ShareStrategy::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ShareStrategy::ALL[at].name();
        at += 1;
    }
    names
};

impl Setting for ShareStrategy {
    fn to_value(&self) -> Value {
        Value::Text(self.name().to_owned())
    }

    fn from_value(value: Value) -> Option<Self> {
        let Value::Text(name) = value else { return None };
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

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
            strategy: ShareStrategy::Random,
            groups: BTreeMap::from([("workers".to_owned(), ShareStrategy::Sticky)]),
        };
        assert_eq!(shared.strategy_of("workers"), ShareStrategy::Sticky);
        assert_eq!(shared.strategy_of("others"), ShareStrategy::Random);
    }

    #[test]
    fn share_names() {
        assert_eq!(share_name_problem("workers"), None);
        for wrong in ["", "a/b", "+", "#", "a\0"] {
            assert!(share_name_problem(wrong).is_some(), "{wrong:?}");
        }
    }
}
