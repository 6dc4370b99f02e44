//! The rules of a broker, and what they come to for one client.

use std::fmt::Write as _;

use agentmq_codec::ReasonCode;
use agentmq_topic::{contains, matches, overlaps};

use crate::authorize::{Action, Decision};
use crate::rule::{Effect, Rule, Subject};

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Its rules. One that denies goes before all that allow.
    pub rules: Vec<Rule>,
    /// What holds where no rule speaks.
    pub otherwise: Effect,
}

/// What one client may do: the rules that speak of it, with its own names in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    denies: Vec<Grant>,
    allows: Vec<Grant>,
    otherwise: Effect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    filter: String,
    publish: bool,
    subscribe: bool,
    literal: bool,
    silent: bool,
    rule: String,
    /// What a client that is denied something because of it reads.
    reason: String,
}

impl Policy {
    /// What it comes to for one client.
    pub fn grants(&self, subject: &Subject<'_>) -> Grants {
        let mut grants =
            Grants { denies: Vec::new(), allows: Vec::new(), otherwise: self.otherwise };
        for rule in self.rules.iter().filter(|rule| rule.is_about(subject)) {
            let list = match rule.effect {
                Effect::Deny => &mut grants.denies,
                Effect::Allow => &mut grants.allows,
            };
            let filters = rule.topics.iter().filter_map(|pattern| pattern.filter_for(subject));
            list.extend(filters.map(|filter| Grant::new(rule, filter)));
        }
        grants
    }
}

impl Rule {
    fn is_about(&self, subject: &Subject<'_>) -> bool {
        let Some(users) = &self.users else { return true };
        subject.user.is_some_and(|user| users.iter().any(|known| known == user))
    }
}

impl Grant {
    fn new(rule: &Rule, filter: String) -> Self {
        let mut reason = String::new();
        if rule.effect == Effect::Deny {
            let _ = write!(reason, "rule `{}` denies {filter}", rule.name);
        }
        let Rule { publish, subscribe, literal, silent, .. } = *rule;
        Self { filter, publish, subscribe, literal, silent, rule: rule.name.clone(), reason }
    }

    fn refusal(&self) -> Decision<'_> {
        let refused = Decision::refused(&self.rule, &self.reason);
        match self.silent {
            true => Decision { reason: "", code: ReasonCode::UnspecifiedError, ..refused },
            false => refused,
        }
    }

    /// Whether it denies any of this.
    fn denies(&self, action: Action, topic: &str) -> bool {
        match action {
            Action::Publish => self.publish && self.has(topic),
            Action::Subscribe if self.literal => self.subscribe && self.filter == topic,
            Action::Subscribe => self.subscribe && overlaps(&self.filter, topic),
            Action::Receive => self.subscribe && !self.literal && matches(&self.filter, topic),
        }
    }

    /// Whether it allows all of this.
    fn allows(&self, action: Action, topic: &str) -> bool {
        match action {
            Action::Publish => self.publish && self.has(topic),
            Action::Subscribe if self.literal => self.subscribe && self.filter == topic,
            Action::Subscribe => self.subscribe && contains(&self.filter, topic),
            // Also through a literal rule: what may be subscribed to may come.
            Action::Receive => self.subscribe && matches(&self.filter, topic),
        }
    }

    fn has(&self, topic: &str) -> bool {
        if self.literal { self.filter == topic } else { matches(&self.filter, topic) }
    }
}

impl Grants {
    /// Judges one action. A filter is allowed if one rule allows all that it matches, and denied
    /// if some rule denies any of it: so nothing is delivered that could not be asked for.
    pub(crate) fn decide(&self, action: Action, topic: &str) -> Decision<'_> {
        if let Some(grant) = self.denies.iter().find(|it| it.denies(action, topic)) {
            return grant.refusal();
        }
        if let Some(grant) = self.allows.iter().find(|it| it.allows(action, topic)) {
            return Decision::allowed(&grant.rule);
        }
        match (self.otherwise, action) {
            (Effect::Allow, _) => Decision::allowed(OTHERWISE),
            (Effect::Deny, Action::Publish) => Decision::refused(OTHERWISE, NOBODY_ALLOWS),
            (Effect::Deny, _) => Decision::refused(OTHERWISE, NOBODY_ALLOWS_ALL),
        }
    }
}

const OTHERWISE: &str = "otherwise";
const NOBODY_ALLOWS: &str = "no rule allows to publish to this topic";
const NOBODY_ALLOWS_ALL: &str = "no rule allows all that this filter matches: use a narrower one";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Pattern;

    fn rule(name: &str, effect: Effect, topics: &[&str]) -> Rule {
        let pattern = |text: &&str| Pattern::parse(text).expect("a pattern");
        let topics = topics.iter().map(pattern).collect();
        Rule { name: name.into(), effect, topics, ..Rule::default() }
    }

    fn allowed(grants: &Grants, action: Action, topic: &str) -> bool {
        grants.decide(action, topic).allowed
    }

    const SCOUT: Subject<'_> = Subject { client_id: "scout-1", user: Some("scout") };

    #[test]
    fn a_rule_that_denies_goes_first_whatever_the_order() {
        let mut rules =
            vec![rule("all", Effect::Allow, &["#"]), rule("none", Effect::Deny, &["secret/#"])];
        for _ in 0..2 {
            let grants = Policy { rules: rules.clone(), otherwise: Effect::Deny }.grants(&SCOUT);
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
        let grants = Policy { rules: vec![own], otherwise: Effect::Deny }.grants(&SCOUT);
        for filter in ["agents/scout-1/#", "agents/scout-1/inbox", "agents/scout-1/+/a"] {
            assert!(allowed(&grants, Action::Subscribe, filter), "{filter}");
        }
        for filter in ["agents/+/inbox", "#", "+/+/inbox", "agents//", "agents/scout-1/../b/#"] {
            let is_within = filter.starts_with("agents/scout-1/");
            assert_eq!(allowed(&grants, Action::Subscribe, filter), is_within, "{filter}");
        }
        let rules =
            vec![rule("all", Effect::Allow, &["#"]), rule("none", Effect::Deny, &["secret/#"])];
        let grants = Policy { rules, otherwise: Effect::Deny }.grants(&SCOUT);
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
        let policy = Policy { rules, otherwise: Effect::Deny };
        let scout = policy.grants(&SCOUT);
        assert!(allowed(&scout, Action::Publish, "in/a"));
        assert!(!allowed(&scout, Action::Subscribe, "in/a"));
        for user in [Some("other"), None] {
            let other = policy.grants(&Subject { client_id: "scout", user });
            assert!(!allowed(&other, Action::Publish, "in/a"), "{user:?}");
        }
    }

    #[test]
    fn a_literal_rule_is_about_its_text_and_not_about_what_that_matches() {
        let mut everything = rule("greedy", Effect::Deny, &["#", "test/a"]);
        everything.literal = true;
        let grants = Policy { rules: vec![everything], otherwise: Effect::Allow }.grants(&SCOUT);
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
        let grants = Policy { rules: vec![silent], otherwise: Effect::Allow }.grants(&SCOUT);
        let decision = grants.decide(Action::Publish, "a");
        assert_eq!((decision.allowed, decision.rule, decision.reason), (false, "quiet", ""));
        assert_eq!(decision.code, ReasonCode::UnspecifiedError);
    }

    #[test]
    fn where_no_rule_speaks_the_policy_says_what_holds() {
        assert!(!allowed(&Policy::default().grants(&SCOUT), Action::Publish, "a"), "denied");
        let open = Policy { rules: Vec::new(), otherwise: Effect::Allow }.grants(&SCOUT);
        assert!(allowed(&open, Action::Subscribe, "#"));
    }
}
