//! The one question that every delivery path asks.

use agentmq_codec::ReasonCode;
use agentmq_topic::ReplyTopic;

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
    /// subscribe). `$SYS` is the broker's own: nobody publishes there. Reply topics are allowed
    /// where no rule denies them: the request that is answered gives the right to publish, and
    /// [`Self::authorize_as`] says who may subscribe.
    pub fn authorize(&self, action: Action, topic: &str) -> Decision<'_> {
        let system = topic == "$SYS" || topic.starts_with("$SYS/");
        if system && matches!(action, Action::Publish | Action::Retain) {
            let reason = "topics below $SYS are the broker's own: publish to another one";
            return Decision::refused("$SYS", reason);
        }
        if action == Action::Retain && ReplyTopic::is_meant(topic) {
            return Decision::refused(ReplyTopic::PREFIX, REPLY_RETAINED);
        }
        match self.rights() {
            Some(rights) => rights.decide(action, topic),
            None => Decision::allowed("open"),
        }
    }

    /// The same, where it is known which client it is: to the reply topics of a client nobody else
    /// subscribes, whatever rules say.
    pub fn authorize_as(&self, client_id: &str, action: Action, topic: &str) -> Decision<'_> {
        let is_subscription = matches!(action, Action::Subscribe);
        if is_subscription && ReplyTopic::is_meant(topic) && !ReplyTopic::is_own(topic, client_id) {
            return Decision::refused(ReplyTopic::PREFIX, REPLY_OF_ANOTHER);
        }
        self.authorize(action, topic)
    }
}

const REPLY_RETAINED: &str = "answers below $reply/ are not retained: publish without RETAIN";
const REPLY_OF_ANOTHER: &str = "below $reply/ a client has only what begins with \
    $reply/ITS-CLIENT-IDENTIFIER/, if that is one level";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effect, Pattern, Policy, Rule};

    #[test]
    fn only_the_broker_publishes_to_sys() {
        let client = Principal::named("scout");
        for action in [Action::Publish, Action::Retain] {
            assert!(!client.authorize(action, "$SYS/broker/uptime").allowed);
        }
        assert!(client.authorize(Action::Subscribe, "$SYS/#").allowed);
        assert!(client.authorize(Action::Publish, "$SYSTEM/a").allowed);
    }

    #[test]
    fn reply_topics_need_no_rule_and_are_their_client_s_own() {
        let rule = |effect, topics: &str| {
            let topics = vec![Pattern::parse(topics).expect("a pattern")];
            Rule { name: "r".into(), effect, topics, ..Rule::default() }
        };
        let nothing = Policy::new(Vec::new(), Effect::Deny);
        let everything = vec![rule(Effect::Allow, "#"), rule(Effect::Allow, "$reply/#")];
        let everything = Policy::new(everything, Effect::Allow);
        let denying = Policy::new(vec![rule(Effect::Deny, "$reply/+/secret/#")], Effect::Allow);
        let scout = Principal::named("scout");
        let open = scout.clone();
        let may = |of: &Principal, action, topic: &str| of.authorize_as("a", action, topic).allowed;
        for of in [&open, &scout.under(&nothing, "a"), &scout.under(&everything, "a")] {
            assert!(may(of, Action::Publish, "$reply/b/token"));
            assert!(may(of, Action::Receive, "$reply/a/token"));
            assert!(!may(of, Action::Retain, "$reply/b/token"), "never");
            for own in ["$reply/a/token", "$reply/a/#", "$reply/a/+"] {
                assert!(may(of, Action::Subscribe, own), "{own}");
            }
            for other in ["$reply/b/token", "$reply/+/token", "$reply/#", "$reply", "$reply/a"] {
                assert!(!may(of, Action::Subscribe, other), "{other}");
            }
        }
        let denied = scout.under(&denying, "a");
        assert!(!may(&denied, Action::Publish, "$reply/b/secret/token"));
        assert!(!may(&denied, Action::Subscribe, "$reply/a/#"));
        assert!(may(&denied, Action::Subscribe, "$reply/a/public/#"));
    }
}
