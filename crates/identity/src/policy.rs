//! The rules of a broker, and what they come to for one client.

use std::sync::Arc;

use agentmq_agents::mcp;
use agentmq_codec::QoS;
use agentmq_topic::ReplyTopic;

use crate::authorize::{Action, Decision};
use crate::claims::Claims;
use crate::client_ids::{ASSIGNED, ClientIdPattern};
use crate::grants::{Grant, Grants};
use crate::mcp_rights::McpRights;
use crate::mcp_rules::McpRules;
use crate::principal::Principal;
use crate::rule::{Effect, Rule, Subject};

/// Who may do what.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    otherwise: Effect,
    /// What is the same for everybody.
    common: Arc<Grants>,
    /// The rules that are not, by place.
    own: Vec<usize>,
    /// The client identifiers that may be used; `None`: any.
    client_ids: Option<Vec<ClientIdPattern>>,
    /// What servers and clients of MCP over MQTT get; `None`: nobody asks.
    mcp: Option<McpRules>,
}

/// What one client may do.
#[derive(Debug, Clone)]
pub(crate) struct Rights {
    common: Arc<Grants>,
    /// The rules that speak of it, with its own names in them.
    own: Arc<Grants>,
    otherwise: Effect,
    /// What it may do below `$mcp-`; `None`: what the rules say.
    mcp: Option<Arc<McpRights>>,
}

impl Policy {
    /// Rules, of which one that denies goes before all that allow, and what holds where none
    /// speaks.
    pub fn new(rules: Vec<Rule>, otherwise: Effect) -> Self {
        let (own, common): (Vec<_>, Vec<_>) =
            rules.iter().enumerate().partition(|(_, rule)| rule.is_personal());
        let mut grants = Grants::default();
        for (_, rule) in common {
            grants.add(rule, &Subject::default());
        }
        let own = own.into_iter().map(|(place, _)| place).collect();
        Self { rules, otherwise, common: Arc::new(grants), own, client_ids: None, mcp: None }
    }

    /// The same, where only these client identifiers may be used.
    #[must_use]
    pub fn with_client_ids(self, patterns: Vec<ClientIdPattern>) -> Self {
        Self { client_ids: Some(patterns), ..self }
    }

    /// The same, with these rules of MCP over MQTT.
    #[must_use]
    pub fn with_mcp(self, rules: McpRules) -> Self {
        Self { mcp: Some(rules).filter(|rules| !rules.is_empty()), ..self }
    }

    /// Whether the subject may use its client identifier. One that the server assigns is nobody
    /// else's.
    pub(crate) fn admits(&self, subject: &Subject<'_>) -> bool {
        let is_assigned = subject.client_id.is_empty() || subject.client_id.starts_with(ASSIGNED);
        let is_one = |all: &Vec<ClientIdPattern>| all.iter().any(|it| it.is_of(subject));
        is_assigned || self.client_ids.as_ref().is_none_or(is_one)
    }

    /// The client identifiers that may be used; `None`: any.
    pub fn client_ids(&self) -> Option<&[ClientIdPattern]> {
        self.client_ids.as_deref()
    }

    /// What holds where no rule speaks.
    pub fn otherwise(&self) -> Effect {
        self.otherwise
    }

    /// The rules that speak of somebody, those of his claim `acl` among them, each with its filters
    /// in which his names are put in.
    pub fn rules_about<'a>(
        &'a self,
        principal: &'a Principal,
        client_id: &'a str,
    ) -> impl Iterator<Item = (&'a Rule, Vec<String>)> {
        let subject = principal.subject(client_id);
        let brought = subject.claims.map_or(&[][..], Claims::rules);
        let rules =
            self.rules.iter().chain(brought).filter(move |rule| rule.about.includes(&subject));
        let filters = move |rule: &Rule| -> Vec<String> {
            rule.topics.iter().flat_map(|pattern| pattern.filters_for(&subject)).collect()
        };
        rules.map(move |rule| (rule, filters(rule))).filter(|(_, filters)| !filters.is_empty())
    }

    /// Its rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What it comes to for one client.
    pub(crate) fn rights(&self, subject: &Subject<'_>) -> Rights {
        let mut own = Grants::default();
        let rules = self.own.iter().filter_map(|place| self.rules.get(*place));
        let brought = subject.claims.map_or(&[][..], Claims::rules);
        let rules = rules.chain(brought).filter(|rule| rule.about.includes(subject));
        rules.for_each(|rule| own.add(rule, subject));
        let (common, otherwise) = (Arc::clone(&self.common), self.otherwise);
        let mcp = self.mcp.as_ref().and_then(|rules| rules.rights(subject)).map(Arc::new);
        Rights { common, own: Arc::new(own), otherwise, mcp }
    }
}

impl Rights {
    /// Judges one action. A filter is allowed if one rule allows all that it matches, and denied
    /// if some rule denies any of it: so nothing is delivered that could not be asked for. What
    /// is allowed with one QoS is allowed with every lower one.
    pub(crate) fn decide(&self, action: Action, topic: &str, qos: QoS) -> Decision<'_> {
        let denied = self.common.denying(action, topic);
        if let Some(grant) = denied.or_else(|| self.own.denying(action, topic)) {
            return grant.refusal();
        }
        if let Some(mcp) = &self.mcp
            && mcp::is_meant(topic)
            && let Some(refusal) = mcp.refuses(action, topic)
        {
            return refusal;
        }
        if ReplyTopic::is_meant(topic) {
            return Decision::allowed(ReplyTopic::PREFIX);
        }
        if let Some(grant) = self.allowing(action, topic, qos) {
            return Decision::allowed(&grant.rule);
        }
        if self.otherwise == Effect::Deny
            && let Some(lower) = self.lower(action, topic, qos)
        {
            return Decision::beyond(OTHERWISE, action, lower);
        }
        match (self.otherwise, action) {
            (Effect::Allow, _) => Decision::allowed(OTHERWISE),
            (Effect::Deny, Action::Publish) => Decision::refused(OTHERWISE, NOBODY_ALLOWS),
            (Effect::Deny, Action::Retain) => Decision::refused(OTHERWISE, NOBODY_RETAINS),
            (Effect::Deny, _) => Decision::refused(OTHERWISE, NOBODY_ALLOWS_ALL),
        }
    }

    /// What it has as a part of MCP over MQTT; `None`: no rule of that speaks of it.
    pub(crate) fn mcp(&self) -> Option<&McpRights> {
        self.mcp.as_deref()
    }

    fn allowing(&self, action: Action, topic: &str, qos: QoS) -> Option<&Grant> {
        let allowed = self.common.allowing(action, topic, qos);
        allowed.or_else(|| self.own.allowing(action, topic, qos))
    }

    /// The highest QoS below this one with which some rule allows the same.
    #[cold]
    pub(crate) fn lower(&self, action: Action, topic: &str, qos: QoS) -> Option<QoS> {
        if !self.common.limits_qos() && !self.own.limits_qos() {
            return None;
        }
        let lower = [QoS::AtLeastOnce, QoS::AtMostOnce].into_iter().filter(|it| *it < qos);
        lower.into_iter().find(|it| self.allowing(action, topic, *it).is_some())
    }
}

pub(crate) const OTHERWISE: &str = "otherwise";
const NOBODY_ALLOWS: &str = "no rule allows to publish to this topic";
const NOBODY_RETAINS: &str = "no rule allows to retain messages of this topic: publish without \
    RETAIN";
const NOBODY_ALLOWS_ALL: &str = "no rule allows all that this filter matches: use a narrower one";

#[cfg(test)]
mod tests {
    use agentmq_codec::ReasonCode;

    use super::*;
    use crate::about::About;
    use crate::rule::Pattern;

    fn rule(name: &str, effect: Effect, topics: &[&str]) -> Rule {
        let pattern = |text: &&str| Pattern::parse(text).expect("a pattern");
        let topics = topics.iter().map(pattern).collect();
        Rule { name: name.into(), effect, topics, ..Rule::default() }
    }

    fn allowed(grants: &Rights, action: Action, topic: &str) -> bool {
        grants.decide(action, topic, QoS::AtMostOnce).allowed
    }

    const SCOUT: Subject<'_> = Subject { client_id: "scout-1", user: Some("scout"), claims: None };

    #[test]
    fn a_rule_that_denies_goes_first_whatever_the_order() {
        let mut rules =
            vec![rule("all", Effect::Allow, &["#"]), rule("none", Effect::Deny, &["secret/#"])];
        for _ in 0..2 {
            let grants = Policy::new(rules.clone(), Effect::Deny).rights(&SCOUT);
            assert!(allowed(&grants, Action::Publish, "a"));
            assert!(!allowed(&grants, Action::Publish, "secret/a"));
            let decision = grants.decide(Action::Publish, "secret", QoS::AtMostOnce);
            assert_eq!((decision.rule, decision.reason), ("none", "rule `none` denies secret/#"));
            rules.reverse();
        }
    }

    #[test]
    fn a_filter_gets_nothing_beyond_a_grant_and_nothing_that_is_denied() {
        let own = rule("own", Effect::Allow, &["agents/{client_id}/#"]);
        let grants = Policy::new(vec![own], Effect::Deny).rights(&SCOUT);
        for filter in ["agents/scout-1/#", "agents/scout-1/inbox", "agents/scout-1/+/a"] {
            assert!(allowed(&grants, Action::Subscribe, filter), "{filter}");
        }
        for filter in ["agents/+/inbox", "#", "+/+/inbox", "agents//", "agents/scout-1/../b/#"] {
            let is_within = filter.starts_with("agents/scout-1/");
            assert_eq!(allowed(&grants, Action::Subscribe, filter), is_within, "{filter}");
        }
        let rules =
            vec![rule("all", Effect::Allow, &["#"]), rule("none", Effect::Deny, &["secret/#"])];
        let grants = Policy::new(rules, Effect::Deny).rights(&SCOUT);
        for filter in ["#", "+/a", "secret", "secret/+", "+"] {
            assert!(!allowed(&grants, Action::Subscribe, filter), "{filter} has secrets in it");
        }
        assert!(allowed(&grants, Action::Subscribe, "public/#"));
        assert!(allowed(&grants, Action::Receive, "public/a"));
        assert!(!allowed(&grants, Action::Receive, "secret/a"));
        assert!(!allowed(&grants, Action::Subscribe, "$SYS/#"), "# is not about $ topics");
    }

    #[test]
    fn rules_speak_of_their_users_and_actions_only() {
        let users = Some(vec!["scout".to_owned()]);
        let (name, topics) = ("in".to_owned(), vec![Pattern::parse("in/#").expect("a pattern")]);
        let (effect, subscribe) = (Effect::Allow, false);
        let about = About { users, ..About::default() };
        let rules = vec![Rule { name, effect, subscribe, topics, about, ..Rule::default() }];
        let policy = Policy::new(rules, Effect::Deny);
        let scout = policy.rights(&SCOUT);
        assert!(allowed(&scout, Action::Publish, "in/a"));
        assert!(!allowed(&scout, Action::Subscribe, "in/a"));
        for user in [Some("other"), None] {
            let other = policy.rights(&Subject { client_id: "scout", user, claims: None });
            assert!(!allowed(&other, Action::Publish, "in/a"), "{user:?}");
        }
    }

    #[test]
    fn rules_speak_of_roles_and_a_token_brings_rules_that_cannot_undo_a_denial() {
        let roles = |name: &str| About { roles: Some(vec![name.to_owned()]), ..About::default() };
        let rules = vec![
            Rule { about: roles("auditor"), ..rule("audit", Effect::Allow, &["audit/#"]) },
            rule("none", Effect::Deny, &["secret/#"]),
        ];
        let policy = Policy::new(rules, Effect::Deny);
        let claims = serde_json::json!({
            "roles": ["auditor"], "acl": {"all": ["mine/#", "secret/#"]}
        });
        let claims = Claims::read(claims.as_object().expect("an object")).expect("are right");
        let auditor = policy.rights(&Subject { claims: Some(&claims), ..SCOUT });
        for (topic, expected) in [("audit/a", true), ("mine/a", true), ("secret/a", false)] {
            assert_eq!(allowed(&auditor, Action::Publish, topic), expected, "{topic}");
            assert!(!allowed(&policy.rights(&SCOUT), Action::Publish, topic), "{topic}");
        }
    }

    #[test]
    fn rules_speak_of_who_has_a_claim() {
        let claims = Some(vec!["agent_id".to_owned(), "tool_id".to_owned()]);
        let about = About { claims, ..About::default() };
        let rules = vec![Rule { about, ..rule("agents", Effect::Allow, &["calls/+"]) }];
        let policy = Policy::new(rules, Effect::Deny);
        for (claims, expected) in [
            (serde_json::json!({ "agent_id": "a" }), true),
            (serde_json::json!({ "tool_id": ["t"] }), true),
            (serde_json::json!({ "user_id": "u", "roles": ["agent_id"] }), false),
        ] {
            let claims = Claims::read(claims.as_object().expect("an object")).expect("right");
            let rights = policy.rights(&Subject { claims: Some(&claims), ..SCOUT });
            assert_eq!(allowed(&rights, Action::Publish, "calls/a"), expected, "{claims:?}");
        }
        assert!(!allowed(&policy.rights(&SCOUT), Action::Publish, "calls/a"));
    }

    #[test]
    fn an_exact_rule_is_for_who_knows_the_name() {
        let streams = Rule { exact: true, ..rule("streams", Effect::Allow, &["stream/+/+"]) };
        let grants = Policy::new(vec![streams], Effect::Deny).rights(&SCOUT);
        assert!(allowed(&grants, Action::Subscribe, "stream/a/7"));
        assert!(allowed(&grants, Action::Receive, "stream/a/7"));
        for filter in ["stream/a/+", "stream/+/+", "stream/+/7"] {
            assert!(!allowed(&grants, Action::Subscribe, filter), "{filter}");
        }
    }

    #[test]
    fn a_literal_rule_is_about_its_text_and_not_about_what_that_matches() {
        let mut everything = rule("greedy", Effect::Deny, &["#", "test/a"]);
        everything.literal = true;
        let grants = Policy::new(vec![everything], Effect::Allow).rights(&SCOUT);
        for filter in ["#", "test/a"] {
            assert!(!allowed(&grants, Action::Subscribe, filter), "{filter}");
        }
        for filter in ["test/#", "test/+", "test/b"] {
            assert!(allowed(&grants, Action::Subscribe, filter), "{filter}");
        }
        assert!(!allowed(&grants, Action::Publish, "test/a"));
        assert!(allowed(&grants, Action::Publish, "test/b"));
        assert!(allowed(&grants, Action::Receive, "test/a"), "it comes through test/+");
    }

    fn up_to(level: u8, name: &str, topics: &[&str]) -> Rule {
        let max_qos = QoS::from_bits(level).expect("a level");
        Rule { max_qos, ..rule(name, Effect::Allow, topics) }
    }

    /// For each action the highest QoS that is allowed.
    fn highest(rights: &Rights, topic: &str) -> [Option<QoS>; 3] {
        [Action::Publish, Action::Retain, Action::Subscribe].map(|action| {
            let decision = rights.decide(action, topic, QoS::ExactlyOnce);
            if decision.allowed { Some(QoS::ExactlyOnce) } else { decision.lower }
        })
    }

    #[test]
    fn of_rules_that_allow_the_one_with_the_highest_qos_counts() {
        const ONCE: Option<QoS> = Some(QoS::AtLeastOnce);
        const TWICE: Option<QoS> = Some(QoS::ExactlyOnce);
        const ZERO: Option<QoS> = Some(QoS::AtMostOnce);
        let mut rules = vec![
            up_to(0, "all", &["m/#"]),
            up_to(1, "room", &["m/room/+", "m/hall/+"]),
            Rule { retain: false, ..up_to(2, "door", &["m/room/door", "m/door"]) },
            up_to(1, "own", &["m/{client_id}"]),
            rule("secret", Effect::Deny, &["m/room/secret"]),
        ];
        let fillers = (0..8).map(|n| rule("other", Effect::Allow, &[&format!("other/{n}")]));
        let many: Vec<Rule> = fillers.chain(rules.clone()).collect(); // an index finds the same
        rules.reverse();
        for rules in [rules, many] {
            let rights = Policy::new(rules, Effect::Deny).rights(&SCOUT);
            for (topic, expected) in [
                ("m/a", [ZERO; 3]),
                ("m/room/a", [ONCE; 3]),
                ("m/room/door", [TWICE, ONCE, TWICE]), // one rule must allow both
                ("m/door", [TWICE, ZERO, TWICE]),
                ("m/scout-1", [ONCE; 3]),
                ("m/room/secret", [None; 3]),
                ("n", [None; 3]),
            ] {
                assert_eq!(highest(&rights, topic), expected, "{topic}");
            }
            for (filter, expected) in [("m/+", ZERO), ("m/hall/+", ONCE), ("m/room/+", None)] {
                assert_eq!(highest(&rights, filter)[2], expected, "{filter}");
            }
            assert!(allowed(&rights, Action::Receive, "m/a"));
        }
    }

    #[test]
    fn a_qos_that_is_too_high_is_refused_with_its_cause_and_fix() {
        let rules = vec![
            up_to(1, "once", &["once"]),
            up_to(0, "zero", &["zero"]),
            Rule { retain: false, ..rule("kept", Effect::Allow, &["once"]) },
        ];
        let rights = Policy::new(rules.clone(), Effect::Deny).rights(&SCOUT);
        let reason = |action, topic, level| {
            let decision = rights.decide(action, topic, QoS::from_bits(level).expect("a level"));
            assert_eq!(decision.allowed, decision.reason.is_empty());
            decision.reason
        };
        assert_eq!(reason(Action::Publish, "once", 2), "");
        let retained = "no rule allows to retain messages of this topic with QoS 2: publish with \
            QoS 1 at most";
        assert_eq!(reason(Action::Retain, "once", 2), retained);
        assert_eq!(reason(Action::Retain, "once", 1), "");
        let zero = "no rule allows this topic with QoS 1 or 2: publish with QoS 0";
        assert_eq!([1, 2].map(|level| reason(Action::Publish, "zero", level)), [zero; 2]);
        assert_eq!(reason(Action::Publish, "zero", 0), "");
        let open = Policy::new(rules, Effect::Allow).rights(&SCOUT);
        assert_eq!(highest(&open, "zero"), [Some(QoS::ExactlyOnce); 3], "otherwise has no limit");
    }

    #[test]
    fn a_silent_rule_does_not_say_why() {
        let silent = Rule { silent: true, ..rule("quiet", Effect::Deny, &["a"]) };
        let grants = Policy::new(vec![silent], Effect::Allow).rights(&SCOUT);
        let decision = grants.decide(Action::Publish, "a", QoS::AtMostOnce);
        assert_eq!((decision.allowed, decision.rule, decision.reason), (false, "quiet", ""));
        assert_eq!(decision.code, ReasonCode::UnspecifiedError);
    }

    #[test]
    fn where_no_rule_speaks_the_policy_says_what_holds() {
        assert!(
            !allowed(&Policy::new(Vec::new(), Effect::Deny).rights(&SCOUT), Action::Publish, "a"),
            "denied"
        );
        let open = Policy::new(Vec::new(), Effect::Allow).rights(&SCOUT);
        assert!(allowed(&open, Action::Subscribe, "#"));
    }
}
