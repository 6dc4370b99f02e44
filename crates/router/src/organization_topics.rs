//! What organisations use, under `$SYS/organizations/NAME/`: those that have a plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentmq_codec::QoS;
use agentmq_quota::{Account, Quantity};
use agentmq_session::{Message, Time};

use crate::router::Router;

impl Router {
    /// Publishes the numbers that have changed, as retained messages, and clears those of
    /// organisations that are not counted any more.
    pub(crate) fn publish_organizations(&mut self, now: Time) {
        let day = self.quotas.accounts.moment(now.as_millis()).day();
        let accounts = self.quotas.accounts.first(SHOWN);
        let shown: BTreeSet<Arc<str>> = accounts
            .iter()
            .map(|account| Arc::clone(account.organization()))
            .filter(|name| is_level(name))
            .collect();
        for gone in self.shown_organizations.difference(&shown).cloned().collect::<Vec<_>>() {
            for name in NAMES {
                self.publish_number(&gone, name, None, now);
            }
        }
        for account in accounts.iter().filter(|account| shown.contains(account.organization())) {
            for (name, value) in NAMES.into_iter().zip(values(account, day)) {
                self.publish_number(account.organization(), name, value, now);
            }
        }
        self.shown_organizations = shown;
    }

    /// One that is not known, or has no bound, has no topic.
    fn publish_number(&mut self, organization: &str, name: &str, value: Option<String>, now: Time) {
        let topic = format!("$SYS/organizations/{organization}/{name}");
        let payload = value.as_deref().unwrap_or_default().as_bytes();
        let is_known = match value {
            Some(_) => self.retained.holds(&topic, payload),
            None => !self.retained.may_match(&topic),
        };
        if !is_known {
            self.publish_message(Message::plain(&topic, payload, QoS::AtMostOnce, true), now);
        }
    }
}

/// A name that is more or less than one level would be told to somebody else.
fn is_level(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '+', '#'])
}

const NAMES: [&str; 11] = [
    "plan",
    "messages/today",
    "messages/day/limit",
    "bytes/today",
    "bytes/day/limit",
    "connections",
    "sessions",
    "subscriptions",
    "retained/messages",
    "queues/bytes",
    "refused",
];

/// In the order of the names.
fn values(account: &Account, day: u64) -> [Option<String>; NAMES.len()] {
    let (messages, bytes) = account.of_day(day);
    let number = |number: u64| Some(number.to_string());
    let held = |quantity| number(account.held(quantity));
    let bound = |quantity| account.bound(quantity).and_then(number);
    [
        Some(account.plan().to_string()),
        number(messages),
        bound(Quantity::MessagesPerDay),
        number(bytes),
        bound(Quantity::BytesPerDay),
        held(Quantity::Connections),
        held(Quantity::Sessions),
        held(Quantity::Subscriptions),
        held(Quantity::RetainedMessages),
        held(Quantity::QueueBytes),
        number(account.refused()),
    ]
}

/// Organisations that are shown, by name; there may be more.
const SHOWN: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_levels_is_not_shown_below_another_one() {
        for (name, expected) in
            [("acme", true), ("", false), ("acme/x", false), ("+", false), ("a#", false)]
        {
            assert_eq!(is_level(name), expected, "{name}");
        }
    }
}
