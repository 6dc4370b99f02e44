//! The one question that every delivery path asks.

use agentmq_codec::ReasonCode;

use crate::Principal;

/// What a client wants to do with a topic or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Publish to a topic name, a will's topic included.
    Publish,
    /// Publish to a topic name what its future subscribers get too, or take away what they would.
    Retain,
    /// Subscribe to a topic filter; for a shared subscription, its inner filter.
    Subscribe,
    /// Get a message of a topic that was kept: it waited in a queue, or was in flight.
    Receive,
}

impl Action {
    /// To publish a message, which is retained or is not.
    #[must_use]
    pub fn to_publish(is_retained: bool) -> Self {
        if is_retained { Self::Retain } else { Self::Publish }
    }
}

/// The answer, with what led to it. Texts are the rule's own, so that a decision costs no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// The rule that decided, for logs.
    pub rule: &'a str,
    /// What a client whose action is not allowed reads in the Reason String: cause and fix.
    pub reason: &'a str,
    /// Its reason code in PUBACK, PUBREC or SUBACK.
    pub code: ReasonCode,
}

impl<'a> Decision<'a> {
    /// Yes.
    pub(crate) fn allowed(rule: &'a str) -> Self {
        Self { allowed: true, rule, reason: "", code: ReasonCode::Success }
    }

    /// No, and why.
    pub(crate) fn refused(rule: &'a str, reason: &'a str) -> Self {
        Self { allowed: false, rule, reason, code: ReasonCode::NotAuthorized }
    }
}

impl Principal {
    /// Whether this principal may do `action` on `topic` (a name to publish, a filter to
    /// subscribe). `$SYS` is the broker's own: nobody publishes there.
    pub fn authorize(&self, action: Action, topic: &str) -> Decision<'_> {
        let system = topic == "$SYS" || topic.starts_with("$SYS/");
        if system && matches!(action, Action::Publish | Action::Retain) {
            let reason = "topics below $SYS are the broker's own: publish to another one";
            return Decision::refused("$SYS", reason);
        }
        match self.rights() {
            Some(rights) => rights.decide(action, topic),
            None => Decision::allowed("open"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_broker_publishes_to_sys() {
        let client = Principal::named("scout");
        for action in [Action::Publish, Action::Retain] {
            assert!(!client.authorize(action, "$SYS/broker/uptime").allowed);
        }
        assert!(client.authorize(Action::Subscribe, "$SYS/#").allowed);
        assert!(client.authorize(Action::Publish, "$SYSTEM/a").allowed);
    }
}
