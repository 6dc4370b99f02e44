//! The one question that every delivery path asks.

use agentmq_codec::{QoS, ReasonCode};
use agentmq_topic::ReplyTopic;

use crate::Principal;
use crate::mount::{is_of_an_organization, is_some_client_s, seen_by_its_own};
use crate::policy::OTHERWISE;

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
    fn to_publish(is_retained: bool) -> Self {
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
    /// The highest QoS with which the same would be allowed; `None`: with none, or it is allowed.
    pub lower: Option<QoS>,
}

impl<'a> Decision<'a> {
    /// Yes.
    pub(crate) fn allowed(rule: &'a str) -> Self {
        Self { allowed: true, rule, reason: "", code: ReasonCode::Success, lower: None }
    }

    /// No, and why.
    pub(crate) fn refused(rule: &'a str, reason: &'a str) -> Self {
        Self { allowed: false, rule, reason, code: ReasonCode::NotAuthorized, lower: None }
    }

    /// No, but with this QoS or less.
    pub(crate) fn beyond(rule: &'a str, action: Action, lower: QoS) -> Self {
        let reason = match (action, lower) {
            (Action::Publish, QoS::AtMostOnce) => ONLY_QOS_0,
            (Action::Publish, _) => NO_QOS_2,
            (Action::Retain, QoS::AtMostOnce) => RETAINED_ONLY_QOS_0,
            (Action::Retain, _) => RETAINED_NO_QOS_2,
            (Action::Subscribe | Action::Receive, _) => LOWER_QOS,
        };
        Self { lower: Some(lower), ..Self::refused(rule, reason) }
    }
}

impl Principal {
    /// Whether this principal may do `action` on `topic` (a name to publish, a filter to
    /// subscribe), by the name that it has in the broker: see [`Principal::mounted`]. `$SYS` is the
    /// broker's own: nobody publishes there. Rules speak of topics as clients call them. Reply
    /// topics are allowed where no rule denies them: the request that is answered gives the right
    /// to publish, and [`Self::authorize_as`] says who may subscribe. It is about QoS 0: rules may
    /// allow no more, see [`Self::authorize_message`] and [`Self::grant_as`].
    pub fn authorize(&self, action: Action, topic: &str) -> Decision<'_> {
        self.authorize_with(action, topic, QoS::AtMostOnce)
    }

    /// Whether it may publish a message of this QoS, which is retained or is not.
    pub fn authorize_message(&self, topic: &str, qos: QoS, is_retained: bool) -> Decision<'_> {
        self.authorize_with(Action::to_publish(is_retained), topic, qos)
    }

    fn authorize_with(&self, action: Action, topic: &str, qos: QoS) -> Decision<'_> {
        let topic = match self.mount().map(|mount| mount.seen(topic)) {
            Some(Some(seen)) => seen,
            Some(None) => return Decision::refused("organization", NOT_YOUR_ORGANIZATION),
            None => topic,
        };
        if topic.starts_with('$')
            && let Some(refusal) = self.refuses_reserved(action, topic, qos)
        {
            return refusal;
        }
        match self.rights() {
            Some(rights) => rights.decide(action, topic, qos),
            None => Decision::allowed(OPEN),
        }
    }

    /// What nobody may do with topics that begin with `$`, and what nobody comes upon by default,
    /// because nobody has thought of it.
    #[cold]
    fn refuses_reserved(&self, action: Action, topic: &str, qos: QoS) -> Option<Decision<'_>> {
        let publishes = matches!(action, Action::Publish | Action::Retain);
        if publishes && (topic == "$SYS" || topic.starts_with("$SYS/")) {
            let reason = "topics below $SYS are the broker's own: publish to another one";
            return Some(Decision::refused("$SYS", reason));
        }
        if action == Action::Retain && ReplyTopic::is_meant(seen_by_its_own(topic)) {
            return Some(Decision::refused(ReplyTopic::PREFIX, REPLY_RETAINED));
        }
        if self.is_apart() || !is_of_an_organization(topic) {
            return None;
        }
        let rule = self.rights().map_or(OPEN, |rights| rights.decide(action, topic, qos).rule);
        if [OPEN, OTHERWISE].contains(&rule) {
            let lower = self.rights().and_then(|rights| rights.lower(action, topic, qos));
            return Some(match lower {
                Some(lower) => Decision::beyond("organization", action, lower),
                None => Decision::refused("organization", NO_RULE_NAMES_IT),
            });
        }
        let is_odd = publishes && !is_some_client_s(topic);
        is_odd.then(|| Decision::refused("organization", NO_SUCH_TOPIC))
    }

    /// The same, where it is known which client it is: to the reply topics of a client nobody else
    /// subscribes, whatever rules say.
    pub fn authorize_as(&self, client_id: &str, action: Action, topic: &str) -> Decision<'_> {
        self.authorize_as_with(client_id, action, topic, QoS::AtMostOnce)
    }

    /// The same for a subscription with a QoS, and the QoS that is granted, which may be lower.
    pub fn grant_as(&self, client_id: &str, filter: &str, qos: QoS) -> (Decision<'_>, QoS) {
        let ask = |qos| self.authorize_as_with(client_id, Action::Subscribe, filter, qos);
        let decision = ask(qos);
        match decision.lower {
            Some(lower) => (ask(lower), lower),
            None => (decision, qos),
        }
    }

    fn authorize_as_with(
        &self,
        client_id: &str,
        action: Action,
        topic: &str,
        qos: QoS,
    ) -> Decision<'_> {
        let (is_subscription, own) = (matches!(action, Action::Subscribe), self.seen(topic));
        if is_subscription && ReplyTopic::is_meant(own) && !ReplyTopic::is_own(own, client_id) {
            return Decision::refused(ReplyTopic::PREFIX, REPLY_OF_ANOTHER);
        }
        self.authorize_with(action, topic, qos)
    }
}

/// The rule where there is none.
const OPEN: &str = "open";
const NOT_YOUR_ORGANIZATION: &str = "this topic is none of your organisation: of $SYS it sees \
    $SYS/organizations/ORG_ID/# and what is about its client";
const NO_SUCH_TOPIC: &str = "no client of an organisation has such a topic: $org/ORG_ID/TOPIC, and \
    $org$/ORG_ID/TOPIC for one that begins with $";
const NO_RULE_NAMES_IT: &str = "topics of organisations that are kept apart ($org, $org$) need a \
    rule of the policy that names them";
const ONLY_QOS_0: &str = "no rule allows this topic with QoS 1 or 2: publish with QoS 0";
const NO_QOS_2: &str = "no rule allows this topic with QoS 2: publish with QoS 1 at most";
const RETAINED_ONLY_QOS_0: &str = "no rule allows to retain messages of this topic with QoS 1 or \
    2: publish with QoS 0";
const RETAINED_NO_QOS_2: &str = "no rule allows to retain messages of this topic with QoS 2: \
    publish with QoS 1 at most";
const LOWER_QOS: &str = "no rule allows this filter with this QoS: ask for a lower one";
const REPLY_RETAINED: &str = "answers below $reply/ are not retained: publish without RETAIN";
const REPLY_OF_ANOTHER: &str = "below $reply/ a client has only what begins with \
    $reply/ITS-CLIENT-IDENTIFIER/, if that is one level";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Claims, Effect, Pattern, Policy, Rule};

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
    fn who_is_kept_apart_has_the_topics_of_his_organization() {
        let claims = |org: &str| Claims { org_id: Some(org.into()), ..Claims::default() };
        let scout =
            |org: &str| Principal::verified("scout", claims(org)).apart("c").expect("has topics");
        let (acme, other) = (scout("acme"), scout("other"));
        for topic in ["a", "$a2a/x"] {
            let mounted = acme.mounted(topic);
            assert!(acme.authorize(Action::Publish, &mounted).allowed);
            assert!(!acme.authorize(Action::Publish, topic).allowed, "it is not where it is");
            assert!(!other.authorize(Action::Subscribe, &mounted).allowed);
            assert!(!Principal::ANONYMOUS.authorize(Action::Subscribe, &mounted).allowed);
            assert_eq!((acme.seen(&mounted), other.seen(&mounted)), (topic, &*mounted));
        }
        assert!(!acme.authorize(Action::Subscribe, "$SYS/broker/uptime").allowed);
        assert!(acme.authorize(Action::Subscribe, "$SYS/organizations/acme/#").allowed);
        assert!(scout("acme").among_all().authorize(Action::Publish, "a").allowed);
    }

    #[test]
    fn rules_speak_of_topics_as_clients_call_them() {
        let pattern = |text| Pattern::parse(text).expect("a pattern");
        let (effect, name) = (Effect::Allow, "r".to_owned());
        let rule = |topic| {
            let topics = vec![pattern(topic)];
            Rule { name: name.clone(), effect, topics, ..Rule::default() }
        };
        let claims = Claims { org_id: Some("acme".into()), ..Claims::default() };
        let policy = Policy::new(vec![rule("own/#"), rule("$org/acme/#")], Effect::Deny);
        let operator = Principal::ANONYMOUS.under(&policy, "c");
        let acme = Principal::verified("scout", claims).under(&policy, "c").apart("c");
        let acme = acme.expect("has topics");
        let may = |who: &Principal, topic: &str| who.authorize(Action::Subscribe, topic).allowed;
        assert!(may(&acme, &acme.mounted("own/a")) && !may(&acme, &acme.mounted("a")));
        assert_ne!(acme.mounted("$org/acme/a"), "$org/acme/a", "it cannot name where others are");
        let publishes = |topic: &str| operator.authorize(Action::Publish, topic).allowed;
        assert!(publishes("$org/acme/own/a"));
        for odd in ["$org/acme", "$org/acme/", "$org/acme/$SYS/x", "$org/acme/$a2a/x"] {
            assert!(!publishes(odd), "{odd}");
        }
        assert!(may(&operator, "$org/acme/own/a") && !may(&operator, "$org/other/own/a"));
        let named = Rule { max_qos: QoS::AtLeastOnce, ..rule("$org/acme/#") };
        for otherwise in [Effect::Deny, Effect::Allow] {
            let policy = Policy::new(vec![named.clone()], otherwise);
            let operator = Principal::ANONYMOUS.under(&policy, "c");
            let beyond = operator.authorize_message("$org/acme/a", QoS::ExactlyOnce, false);
            assert_eq!((beyond.allowed, beyond.lower), (false, Some(QoS::AtLeastOnce)));
            assert!(operator.authorize_message("$org/acme/a", QoS::AtLeastOnce, true).allowed);
            let (decision, granted) = operator.grant_as("c", "$org/acme/+", QoS::ExactlyOnce);
            assert_eq!((decision.allowed, granted), (true, QoS::AtLeastOnce));
        }
        let all = Policy::new(Vec::new(), Effect::Allow);
        assert!(!may(&Principal::ANONYMOUS.under(&all, "c"), "$org/acme/own/a"));
        assert!(!may(&Principal::ANONYMOUS.under(&all, "c"), "$org$/#"));
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
