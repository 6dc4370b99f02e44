//! Fuzz target: any rules, and any filter of a small alphabet. What may be subscribed to brings
//! nothing that a rule denies, and nothing that no rule allows. Runs as a plain test, or under a
//! fuzzer.

use agentmq_identity::{Action, Effect, Pattern, Policy, Principal, Rule};
use agentmq_topic::{TopicLimits, check_filter, matches};

const LEVELS: [&str; 8] = ["a", "b", "", "$", "+", "#", "{client_id}", "{user}"];

/// Deny, publish, subscribe, literal; and the levels of its topic.
type RawRule = (bool, bool, bool, bool, Vec<u8>);

#[test]
fn a_subscription_brings_nothing_that_is_not_granted() {
    let topics = topics();
    let any = bolero::check!().with_type::<(Vec<RawRule>, bool, bool, Vec<u8>)>();
    any.with_iterations(15_000).for_each(|(rules, is_open, are_many, filter)| {
        let mut rules: Vec<Rule> = rules.iter().take(6).filter_map(rule).collect();
        if *are_many {
            rules = vec![rules; 8].concat(); // an index finds the same
        }
        let otherwise = if *is_open { Effect::Allow } else { Effect::Deny };
        let filter = joined(filter);
        if filter.contains('{') || check_filter(&filter, &TopicLimits::default()).is_err() {
            return;
        }
        check(&Policy::new(rules, otherwise), *is_open, &filter, &topics);
    });
}

fn check(policy: &Policy, is_open: bool, filter: &str, topics: &[String]) {
    let principal = Principal::named("b").under(policy, "a");
    let may = |action, topic: &str| principal.authorize(action, topic).allowed;
    // A literal rule is about what is asked for, and not about what comes.
    let says = |rule: &Rule, topic: &str| {
        let texts = rule.topics.iter().map(as_filter);
        rule.subscribe && !rule.literal && texts.into_iter().any(|text| matches(&text, topic))
    };
    if may(Action::Subscribe, filter) {
        for topic in topics.iter().filter(|topic| matches(filter, topic)) {
            assert!(may(Action::Receive, topic), "{filter} brings {topic}: {policy:?}");
            let denied =
                policy.rules().iter().any(|rule| rule.effect == Effect::Deny && says(rule, topic));
            assert!(!denied, "{filter} brings {topic}, which is denied: {policy:?}");
        }
    }
    for topic in topics {
        let about = |rule: &&Rule| {
            let texts = rule.topics.iter().map(as_filter);
            let has = |text: String| {
                if rule.literal { text == *topic } else { matches(&text, topic) }
            };
            rule.publish && texts.into_iter().any(has)
        };
        let denied = policy.rules().iter().filter(about).any(|rule| rule.effect == Effect::Deny);
        let allowed =
            is_open || policy.rules().iter().filter(about).any(|rule| rule.effect == Effect::Allow);
        let is_system = topic.starts_with("$SYS");
        assert_eq!(may(Action::Publish, topic), allowed && !denied && !is_system, "{topic}");
    }
}

fn rule((deny, publish, subscribe, literal, levels): &RawRule) -> Option<Rule> {
    let topics = vec![Pattern::parse(&joined(levels)).ok()?];
    let effect = if *deny { Effect::Deny } else { Effect::Allow };
    let (publish, subscribe, literal) = (*publish, *subscribe, *literal);
    Some(Rule { effect, publish, subscribe, literal, topics, ..Rule::default() })
}

/// What a pattern stands for, for the client `a` with the name `b`.
fn as_filter(pattern: &Pattern) -> String {
    pattern.to_string().replace("{client_id}", "a").replace("{user}", "b")
}

fn joined(levels: &[u8]) -> String {
    let levels: Vec<&str> =
        levels.iter().take(4).map(|byte| LEVELS[usize::from(byte % 8)]).collect();
    levels.join("/")
}

/// All topics of up to four levels, with a level that no rule names.
fn topics() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut longest = vec![String::new()];
    for depth in 0..4 {
        let longer = |start: &String| {
            let start = start.clone();
            ["a", "b", "", "$", "z"].map(move |level| match depth {
                0 => level.to_owned(),
                _ => format!("{start}/{level}"),
            })
        };
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().filter(|topic| !topic.is_empty()).cloned());
    }
    all
}
