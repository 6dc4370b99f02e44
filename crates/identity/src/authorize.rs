//! The one question that every delivery path asks.

use crate::Principal;

/// What a client wants to do with a topic or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Publish to a topic name, a will's topic included.
    Publish,
    /// Subscribe to a topic filter; for a shared subscription, its inner filter.
    Subscribe,
}

/// The answer, with what led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// The rule that decided, for logs and reason strings.
    pub rule: &'static str,
}

impl Principal {
    /// Whether this principal may do `action` on `topic` (a name to publish, a filter to
    /// subscribe). `$SYS` is the broker's own: nobody publishes there.
    pub fn authorize(&self, action: Action, topic: &str) -> Decision {
        let system = topic == "$SYS" || topic.starts_with("$SYS/");
        if system && action == Action::Publish {
            return Decision { allowed: false, rule: "only the broker publishes to $SYS" };
        }
        Decision { allowed: true, rule: "open" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_broker_publishes_to_sys() {
        let client = Principal::named("scout");
        assert!(!client.authorize(Action::Publish, "$SYS/broker/uptime").allowed);
        assert!(client.authorize(Action::Subscribe, "$SYS/#").allowed);
        assert!(client.authorize(Action::Publish, "$SYSTEM/a").allowed);
    }
}
