//! The rules of a broker, and what they come to for one client.

use std::sync::Arc;

use agentmq_topic::ReplyTopic;

use crate::authorize::{Action, Decision};
use crate::claims::Claims;
use crate::client_ids::{ASSIGNED, ClientIdPattern};
use crate::grants::Grants;
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
}

/// What one client may do.
#[derive(Debug, Clone)]
pub(crate) struct Rights {
    common: Arc<Grants>,
    /// The rules that speak of it, with its own names in them.
    own: Arc<Grants>,
    otherwise: Effect,
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
        Self { rules, otherwise, common: Arc::new(grants), own, client_ids: None }
    }

    /// The same, where only these client identifiers may be used.
    #[must_use]
    pub fn with_client_ids(self, patterns: Vec<ClientIdPattern>) -> Self {
        Self { client_ids: Some(patterns), ..self }
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
        let rules = self.rules.iter().chain(brought).filter(move |rule| rule.is_about(&subject));
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
        let rules = rules.chain(brought).filter(|rule| rule.is_about(subject));
        rules.for_each(|rule| own.add(rule, subject));
        let (common, otherwise) = (Arc::clone(&self.common), self.otherwise);
        Rights { common, own: Arc::new(own), otherwise }
    }
}

impl Rights {
    /// Judges one action. A filter is allowed if one rule allows all that it matches, and denied
    /// if some rule denies any of it: so nothing is delivered that could not be asked for.
    pub(crate) fn decide(&self, action: Action, topic: &str) -> Decision<'_> {
        let denied = self.common.denying(action, topic);
        if let Some(grant) = denied.or_else(|| self.own.denying(action, topic)) {
            return grant.refusal();
        }
        if ReplyTopic::is_meant(topic) {
            return Decision::allowed(ReplyTopic::PREFIX);
        }
        let allowed = self.common.allowing(action, topic);
        if let Some(grant) = allowed.or_else(|| self.own.allowing(action, topic)) {
            return Decision::allowed(&grant.rule);
        }
        match (self.otherwise, action) {
            (Effect::Allow, _) => Decision::allowed(OTHERWISE),
            (Effect::Deny, Action::Publish) => Decision::refused(OTHERWISE, NOBODY_ALLOWS),
            (Effect::Deny, Action::Retain) => Decision::refused(OTHERWISE, NOBODY_RETAINS),
            (Effect::Deny, _) => Decision::refused(OTHERWISE, NOBODY_ALLOWS_ALL),
        }
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
    use crate::rule::Pattern;

    fn rule(name: &str, effect: Effect, topics: &[&str]) -> Rule {
        let pattern = |text: &&str| Pattern::parse(text).expect("a pattern");
        let topics = topics.iter().map(pattern).collect();
        Rule { name: name.into(), effect, topics, ..Rule::default() }
    }

    fn allowed(grants: &Rights, action: Action, topic: &str) -> bool {
        grants.decide(action, topic).allowed
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
            let decision = grants.decide(Action::Publish, "secret");
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
        let rules = vec![Rule { name, effect, subscribe, topics, users, ..Rule::default() }];
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
        let roles = |name: &str| Some(vec![name.to_owned()]);
        let rules = vec![
            Rule { roles: roles("auditor"), ..rule("audit", Effect::Allow, &["audit/#"]) },
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
        let rules = vec![Rule { claims, ..rule("agents", Effect::Allow, &["calls/+"]) }];
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

    #[test]
    fn a_silent_rule_does_not_say_why() {
        let silent = Rule { silent: true, ..rule("quiet", Effect::Deny, &["a"]) };
        let grants = Policy::new(vec![silent], Effect::Allow).rights(&SCOUT);
        let decision = grants.decide(Action::Publish, "a");
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
