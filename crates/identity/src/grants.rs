//! What rules come to: filters with names put in, made to be asked for every message.

use std::fmt::Write as _;

use agentmq_codec::{QoS, ReasonCode};
use agentmq_topic::{FilterTrie, contains, matches, overlaps};

use crate::authorize::{Action, Decision};
use crate::rule::{Effect, Rule, Subject};

/// What is denied, and what is allowed.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    denies: Page,
    allows: Page,
}

/// What a rule says of one filter.
#[derive(Debug)]
pub(crate) struct Grant {
    filter: String,
    publish: bool,
    retain: bool,
    max_qos: QoS,
    subscribe: bool,
    literal: bool,
    exact: bool,
    silent: bool,
    pub(crate) rule: String,
    /// What a client that is denied something because of it reads.
    reason: String,
}

/// Grants of one effect, in the order of their rules.
#[derive(Debug, Default)]
struct Page {
    grants: Vec<Grant>,
    /// Their places by filter, where they are many.
    by_filter: Option<FilterTrie<Vec<u32>>>,
    limits_qos: bool,
}

impl Grants {
    /// Adds what a rule comes to for a client.
    pub(crate) fn add(&mut self, rule: &Rule, subject: &Subject<'_>) {
        let page = match rule.effect {
            Effect::Deny => &mut self.denies,
            Effect::Allow => &mut self.allows,
        };
        for filter in rule.topics.iter().flat_map(|pattern| pattern.filters_for(subject)) {
            page.push(Grant::new(rule, filter));
        }
    }

    /// The first that denies any of this.
    pub(crate) fn denying(&self, action: Action, topic: &str) -> Option<&Grant> {
        let page = &self.denies;
        match action {
            Action::Publish | Action::Retain => page.first(topic, |it| it.publish && it.has(topic)),
            Action::Receive => page.first(topic, |it| it.subscribe && !it.literal),
            Action::Subscribe => page.asked(topic, QoS::AtMostOnce, overlaps),
        }
    }

    /// The first that allows all of this, with this QoS.
    pub(crate) fn allowing(&self, action: Action, topic: &str, qos: QoS) -> Option<&Grant> {
        let page = &self.allows;
        let publishes = |it: &Grant| it.publish && it.max_qos >= qos && it.has(topic);
        match action {
            Action::Publish => page.first(topic, publishes),
            Action::Retain => page.first(topic, |it| it.retain && publishes(it)),
            // Also through a literal rule: what may be subscribed to may come.
            Action::Receive => page.first(topic, |it| it.subscribe),
            Action::Subscribe => page.asked(topic, qos, contains),
        }
    }

    /// Whether any allows less than every QoS.
    pub(crate) fn limits_qos(&self) -> bool {
        self.allows.limits_qos
    }
}

impl Page {
    fn push(&mut self, grant: Grant) {
        self.limits_qos |= grant.max_qos < QoS::ExactlyOnce;
        self.grants.push(grant);
        let indexed = match self.grants.len() {
            ..FEW => return,
            FEW => 0,
            all => all - 1,
        };
        let index = self.by_filter.get_or_insert_default();
        for (place, grant) in self.grants.iter().enumerate().skip(indexed) {
            index.get_or_insert_with(&grant.filter, Vec::new).push(place as u32);
        }
    }

    /// The first grant of subscriptions with this QoS whose filter `covers` one that is asked for.
    fn asked(&self, filter: &str, qos: QoS, covers: fn(&str, &str) -> bool) -> Option<&Grant> {
        let has_wildcards = filter.contains(['+', '#']);
        let is_meant = |it: &&Grant| match it.literal {
            true => it.filter == filter,
            false => !(it.exact && has_wildcards) && covers(&it.filter, filter),
        };
        self.grants.iter().filter(|it| it.subscribe && it.max_qos >= qos).find(is_meant)
    }

    /// The first grant whose filter matches a topic, of those that `fit`.
    fn first(&self, topic: &str, fit: impl Fn(&Grant) -> bool) -> Option<&Grant> {
        let Some(trie) = &self.by_filter else {
            return self.grants.iter().find(|it| matches(&it.filter, topic) && fit(it));
        };
        let mut first = None;
        trie.for_each_match(topic, |places| {
            let fits = |place: &&u32| self.grants.get(**place as usize).is_some_and(&fit);
            let found = places.iter().find(fits).copied();
            first = [first, found].into_iter().flatten().min();
        });
        self.grants.get(first? as usize)
    }
}

impl Grant {
    fn new(rule: &Rule, filter: String) -> Self {
        let mut reason = String::new();
        if rule.effect == Effect::Deny {
            let _ = write!(reason, "rule `{}` denies {filter}", rule.name);
        }
        let Rule { publish, retain, max_qos, subscribe, literal, exact, silent, .. } = *rule;
        let rule = rule.name.clone();
        Self { filter, publish, retain, max_qos, subscribe, literal, exact, silent, rule, reason }
    }

    pub(crate) fn refusal(&self) -> Decision<'_> {
        let refused = Decision::refused(&self.rule, &self.reason);
        match self.silent {
            true => Decision { reason: "", code: ReasonCode::UnspecifiedError, ..refused },
            false => refused,
        }
    }

    /// Whether it is about a topic that its filter matches.
    fn has(&self, topic: &str) -> bool {
        !self.literal || self.filter == topic
    }
}

/// Grants from which on an index finds them faster than looking at each.
const FEW: usize = 8;
