//! One table of `[[rules]]`, and what its keys may say.

use agentmq_codec::QoS;
use agentmq_identity::{About, CLAIM_NAMES, Effect, Pattern, Rule};
use toml::Spanned;
use toml::de::DeValue;

use crate::access_text::Reading;
use crate::error::quoted;
use crate::value::{Allowed, Value};

impl Reading<'_> {
    pub(crate) fn rule(&mut self, index: usize, item: &Spanned<DeValue<'_>>) -> Option<Rule> {
        let Some(table) = item.get_ref().as_table() else {
            self.report(item.span().start, "a rule is a table: write [[rules]]".into());
            return None;
        };
        let mut rule = Rule { name: format!("{}", index + 1), ..Rule::default() };
        let (mut has_effect, mut has_topics) = (false, false);
        let mut narrowing = Vec::new();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" => rule.name = self.text(value),
                "effect" => (rule.effect, has_effect) = (self.effect("effect", value), true),
                "actions" => (rule.publish, rule.subscribe) = self.actions(value),
                "topics" => (rule.topics, has_topics) = (self.patterns(value), true),
                "retain" => {
                    rule.retain = self.flag("retain", value);
                    if !rule.retain {
                        narrowing.push((value.span().start, "retain = false".to_owned()));
                    }
                }
                "max_qos" => {
                    rule.max_qos = self.max_qos(value);
                    if rule.max_qos < QoS::ExactlyOnce {
                        let what = format!("max_qos = {}", rule.max_qos as u8);
                        narrowing.push((value.span().start, what));
                    }
                }
                "literal" => rule.literal = self.flag("literal", value),
                "exact" => rule.exact = self.flag("exact", value),
                "silent" => rule.silent = self.flag("silent", value),
                other if self.about(other, value, &mut rule.about) => {}
                other => self.unknown(key.span().start, other, &[KEYS, ABOUT_KEYS].concat()),
            }
        }
        if !has_effect {
            let why = "the rule has no effect: write effect = \"allow\" or \"deny\"";
            self.report(item.span().start, why.into());
        }
        let denies = has_effect && rule.effect == Effect::Deny;
        for (offset, what) in narrowing.into_iter().filter(|_| denies) {
            self.report(offset, format!("{what} narrows what a rule allows: this one denies"));
        }
        if !has_topics {
            let why = "the rule has no topics: write topics = [\"a/#\"]";
            self.report(item.span().start, why.into());
        }
        Some(rule)
    }

    /// Takes a key that says whom a rule is about; false when it is none.
    pub(crate) fn about(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        about: &mut About,
    ) -> bool {
        match key {
            "users" => about.users = Some(self.list(key, value)),
            "roles" => about.roles = Some(self.list(key, value)),
            "claims" => about.claims = Some(self.claims(value)),
            "client_ids" => about.client_ids = Some(self.client_ids(value)),
            _ => return false,
        }
        true
    }

    pub(crate) fn read(
        &mut self,
        key: &str,
        allowed: Allowed,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Value> {
        let read = allowed.read(value.get_ref());
        read.map_err(|why| self.report(value.span().start, format!("{key}: {why}"))).ok()
    }

    fn flag(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> bool {
        self.read(key, Allowed::Boolean, value) == Some(Value::Boolean(true))
    }

    fn max_qos(&mut self, value: &Spanned<DeValue<'_>>) -> QoS {
        let levels = Allowed::Integer { minimum: 0, maximum: 2 };
        match self.read("max_qos", levels, value) {
            Some(Value::Integer(0)) => QoS::AtMostOnce,
            Some(Value::Integer(1)) => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    fn text(&mut self, value: &Spanned<DeValue<'_>>) -> String {
        match self.read("name", Allowed::Text, value) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    pub(crate) fn list(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        match self.read(key, Allowed::List, value) {
            Some(Value::List(texts)) if !texts.is_empty() => texts,
            Some(_) => {
                self.report(value.span().start, format!("{key}: the list is empty"));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    pub(crate) fn effect(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Effect {
        match self.read(key, Allowed::Choice(&["allow", "deny"]), value) {
            Some(Value::Text(text)) if text == "allow" => Effect::Allow,
            _ => Effect::Deny,
        }
    }

    fn actions(&mut self, value: &Spanned<DeValue<'_>>) -> (bool, bool) {
        let actions = self.list("actions", value);
        for action in &actions {
            if !ACTIONS.contains(&action.as_str()) {
                self.unknown(value.span().start, action, ACTIONS);
            }
        }
        let has = |action: &str| actions.iter().any(|it| it == action);
        (has("publish"), has("subscribe"))
    }

    fn claims(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        let claims = self.list("claims", value);
        for claim in claims.iter().filter(|claim| !CLAIM_NAMES.contains(&claim.as_str())) {
            self.unknown(value.span().start, claim, &CLAIM_NAMES);
        }
        claims
    }

    fn patterns(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<Pattern> {
        let texts = self.list("topics", value);
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            match Pattern::parse(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    self.report(value.span().start, format!("{}: {error}", quoted(&text)));
                }
            }
        }
        patterns
    }
}

const KEYS: &[&str] =
    &["name", "effect", "actions", "topics", "retain", "max_qos", "literal", "exact", "silent"];
/// What says whom a rule is about.
pub(crate) const ABOUT_KEYS: &[&str] = &["users", "roles", "claims", "client_ids"];
const ACTIONS: &[&str] = &["publish", "subscribe"];
