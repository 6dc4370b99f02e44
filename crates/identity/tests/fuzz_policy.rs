//! Fuzz target: any rules, and any filter of a small alphabet. What may be subscribed to brings
//! nothing that a rule denies, and nothing that no rule allows; nothing has a higher QoS than the
//! best rule says. Runs as a plain test, or under a fuzzer.

use agentmq_codec::QoS;
use agentmq_identity::{Action, Effect, Pattern, Policy, Principal, Rule};
use agentmq_topic::{TopicLimits, check_filter, contains, matches};

const LEVELS: [&str; 8] = ["a", "b", "", "$", "+", "#", "{client_id}", "{user}"];

const EVERY_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Deny; publish, retain, subscribe; literal; the highest QoS; and the levels of its topic.
type RawRule = (bool, (bool, bool, bool), bool, u8, Vec<u8>);

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
    check_grant(policy, &principal, is_open, filter);
    // Each topic with one of six kinds of messages, another one for another filter.
    for (number, topic) in topics.iter().enumerate() {
        let kind = number + filter.len();
        let (qos, is_retained) = (EVERY_QOS[kind % 3], kind.is_multiple_of(2));
        let about = |rule: &&Rule| {
            let texts = rule.topics.iter().map(as_filter);
            let has = |text: String| {
                if rule.literal { text == *topic } else { matches(&text, topic) }
            };
            rule.publish && texts.into_iter().any(has)
        };
        let denied = policy.rules().iter().filter(about).any(|rule| rule.effect == Effect::Deny);
        let is_system = topic.starts_with("$SYS");
        let allows = |rule: &Rule| {
            let is_within = rule.max_qos >= qos && (rule.retain || !is_retained);
            rule.effect == Effect::Allow && is_within
        };
        let allowed = is_open || policy.rules().iter().filter(about).any(allows);
        let decision = principal.authorize_message(topic, qos, is_retained);
        let expected = allowed && !denied && !is_system;
        assert_eq!(decision.allowed, expected, "{topic} {qos:?} {is_retained}: {policy:?}");
        if let Some(lower) = decision.lower {
            let lowered = principal.authorize_message(topic, lower, is_retained);
            assert!(lower < qos && lowered.allowed, "{topic} {lower:?}: {policy:?}");
        }
    }
}

/// What is granted has the QoS of the best rule that allows all of it.
fn check_grant(policy: &Policy, principal: &Principal, is_open: bool, filter: &str) {
    let allows = |rule: &&Rule| {
        let texts = rule.topics.iter().map(as_filter);
        let has =
            |text: String| if rule.literal { text == filter } else { contains(&text, filter) };
        rule.effect == Effect::Allow && rule.subscribe && texts.into_iter().any(has)
    };
    let best = policy.rules().iter().filter(allows).map(|rule| rule.max_qos).max();
    let best = if is_open { Some(QoS::ExactlyOnce) } else { best };
    for qos in EVERY_QOS {
        let (decision, granted) = principal.grant_as("a", filter, qos);
        let is_allowed = principal.authorize(Action::Subscribe, filter).allowed;
        assert_eq!(decision.allowed, is_allowed, "{filter}: {policy:?}");
        if is_allowed {
            assert_eq!(Some(granted), best.map(|best| best.min(qos)), "{filter}: {policy:?}");
        }
    }
}

fn rule((deny, actions, literal, max_qos, levels): &RawRule) -> Option<Rule> {
    let topics = vec![Pattern::parse(&joined(levels)).ok()?];
    let effect = if *deny { Effect::Deny } else { Effect::Allow };
    let (publish, retain, subscribe) = *actions;
    let (literal, max_qos) = (*literal, EVERY_QOS[usize::from(max_qos % 3)]);
    Some(Rule { effect, publish, retain, max_qos, subscribe, literal, topics, ..Rule::default() })
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
