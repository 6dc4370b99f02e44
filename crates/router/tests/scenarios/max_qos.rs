//! How high a QoS rules allow (`max_qos`).

use std::sync::Arc;

use agentmq_codec::{ReasonCode as R, SubscriptionOptions};
use agentmq_identity::{Effect, Guarded, InForce, Open, Pattern, Policy, Rule};
use agentmq_session::{Message, RestoredWill, SessionKey};

use crate::harness::{Broker, Client, Got, qos};

const FORBIDDEN: u8 = R::NotAuthorized as u8;

fn up_to(level: u8, topics: &[&str]) -> Rule {
    let pattern = |text: &&str| Pattern::parse(text).expect("a pattern");
    let topics = topics.iter().map(pattern).collect();
    let (name, effect, max_qos) = ("r".to_owned(), Effect::Allow, qos(level));
    Rule { name, effect, max_qos, topics, ..Rule::default() }
}

fn in_force(rules: Vec<Rule>) -> InForce {
    InForce::new(Arc::new(Open), Some(Policy::new(rules, Effect::Deny)))
}

/// A broker under rules, and who was there before them.
fn broker(rules: Vec<Rule>) -> (Broker, Guarded, Client) {
    let guarded = Guarded::new(InForce::new(Arc::new(Open), None));
    let broker = Broker::guarded(guarded.clone());
    let watcher = broker.connect("watcher");
    watcher.subscribe("#", 2);
    guarded.replace(in_force(rules));
    (broker, guarded, watcher)
}

fn levels(client: &Client) -> Vec<u8> {
    client.messages().iter().map(|message| message.qos).collect()
}

#[test]
fn a_publication_with_a_higher_one_is_refused() {
    let (broker, _, watcher) = broker(vec![up_to(0, &["m/#"]), up_to(1, &["m/once"])]);
    let client = broker.connect("a");
    let zero = "no rule allows this topic with QoS 1 or 2: publish with QoS 0";
    let once = "no rule allows this topic with QoS 2: publish with QoS 1 at most";
    for (topic, level, why) in [
        ("m/zero", 0, None),
        ("m/zero", 1, Some(zero)),
        ("m/zero", 2, Some(zero)),
        ("m/once", 0, None),
        ("m/once", 1, None),
        ("m/once", 2, Some(once)),
    ] {
        let expected = why.map_or(0, |_| FORBIDDEN);
        assert_eq!(client.publish(topic, "x", level), expected, "{topic} {level}");
        if let Some(why) = why {
            assert_eq!(client.reason(), why);
        }
        assert_eq!(levels(&watcher).len(), usize::from(why.is_none()), "{topic} {level}");
    }
    let before_5 = broker.client("b").v311().connect();
    assert_eq!(before_5.publish("m/once", "x", 2), 0, "its acknowledgements say success");
    assert_eq!(before_5.publish("m/once", "y", 1), 0);
    assert_eq!(watcher.payloads(), ["y"]);
}

/// What a connection remembers as allowed is allowed with this QoS and with lower ones.
#[test]
fn what_was_allowed_before_lets_no_higher_one_through() {
    let mut all: Vec<Rule> = vec![up_to(1, &["m/#"])];
    all.push(Rule { retain: false, ..up_to(2, &["m/b"]) });
    let (broker, _, watcher) = broker(all);
    let client = broker.connect("a");
    for level in [0, 1, 0, 1] {
        assert_eq!(client.publish("m/a", "x", level), 0, "{level}");
        assert_eq!(client.publish("m/a", "y", 2), FORBIDDEN, "after {level}");
    }
    assert_eq!(watcher.payloads(), ["x"; 4]);
    // To retain and the QoS must be allowed by the same rule.
    let retain = |level| {
        let id = client.publishing("m/b", "r").qos(level).retain().send();
        let refusals = [Got::PubAck(id, FORBIDDEN), Got::PubRec(id, FORBIDDEN)];
        !client.packets().iter().any(|got| refusals.contains(got))
    };
    assert_eq!([retain(1), retain(2)], [true, false]);
    assert_eq!(client.publish("m/b", "y", 2), 0);
    assert_eq!([retain(2), retain(1)], [false, true]);
    // More topics than are remembered.
    for topic in (0..20).map(|number| format!("m/t{}", number % 10)) {
        assert_eq!(client.publish(&topic, "x", 1), 0);
        assert_eq!(client.publish(&topic, "x", 2), FORBIDDEN);
    }
}

#[test]
fn an_alias_stands_for_its_topic_and_the_topic_for_its_limit() {
    let (broker, _, watcher) = broker(vec![up_to(1, &["m/a"])]);
    broker.reconfigure(|settings| settings.limits.topic_aliases_in = 10);
    let client = broker.connect("a");
    client.publishing("m/a", "x").qos(1).alias(1).send();
    let id = client.publishing("", "y").qos(2).alias(1).send();
    assert!(client.packets().contains(&Got::PubRec(id, FORBIDDEN)));
    assert_eq!(watcher.payloads(), ["x"]);
}

#[test]
fn a_will_is_judged_with_its_own() {
    let rules = |level| {
        let watching = Rule { publish: false, ..up_to(2, &["#"]) };
        vec![watching, up_to(level, &["w/#"])]
    };
    let (broker, guarded, watcher) = broker(rules(1));
    assert_eq!(broker.client("a").will("w/a", "x").will_qos(2).refused(), FORBIDDEN);
    broker.client("a").will("w/a", "x").will_qos(1).connect().vanish();
    assert_eq!(watcher.payloads(), ["x"]);
    // And again when it is due.
    let lower = broker.client("a").will("w/a", "zero").will_qos(0).connect();
    let higher = broker.client("b").will("w/b", "once").will_qos(1).connect();
    guarded.replace(in_force(rules(0)));
    broker.judge_again();
    higher.vanish();
    lower.vanish();
    assert_eq!(watcher.payloads(), ["zero"]);
    // And when it was on its way before a crash.
    for (level, payload) in [(0, "zero"), (1, "once")] {
        broker.restore_will(RestoredWill {
            key: SessionKey(7),
            client_id: "c".into(),
            message: Message::plain("w/c", payload.as_bytes(), qos(level), false),
            author: None,
        });
    }
    assert_eq!(watcher.payloads(), ["zero"]);
}

#[test]
fn a_subscription_is_granted_with_what_the_best_rule_allows() {
    let rules = vec![up_to(0, &["#"]), up_to(1, &["m/#"]), up_to(2, &["m/a", "feed"])];
    let (broker, ..) = broker(rules);
    let client = broker.connect("a");
    for (filter, granted) in [
        ("#", [0, 0, 0]),
        ("+/a", [0, 0, 0]),
        ("m/#", [0, 1, 1]),
        ("m/+", [0, 1, 1]),
        ("m/a", [0, 1, 2]),
        ("$share/g/m/#", [0, 1, 1]),
        ("$share/g/m/a", [0, 1, 2]),
    ] {
        for (level, expected) in [0, 1, 2].into_iter().zip(granted) {
            assert_eq!(client.subscribe(filter, level), expected, "{filter} {level}");
        }
        client.unsubscribe(filter);
    }
    client.subscribe("m/+", 2);
    let publisher = broker.connect("publisher");
    for (topic, expected) in [("m/a", 1), ("feed", 2)] {
        client.subscribe("feed", 2);
        assert_eq!(publisher.publish(topic, "x", 2), 0);
        assert_eq!(levels(&client), [expected], "{topic}");
    }
    publisher.publishing("m/a", "kept").qos(2).retain().send();
    client.messages();
    client.subscribe("m/+", 2);
    assert_eq!(levels(&client), [1], "retained ones, too");
}

#[test]
fn a_new_policy_lowers_what_was_granted() {
    let (broker, guarded, _) = broker(vec![up_to(2, &["#"])]);
    let here = broker.connect("here");
    let away = broker.client("away").expiry(1000).connect();
    let (no_local, publisher) = (SubscriptionOptions::at(qos(2)), broker.connect("publisher"));
    here.subscribe_as("m/a", SubscriptionOptions { no_local: true, ..no_local }, Some(7));
    here.subscribe("n", 2);
    here.subscribe("$share/g/m/s", 2);
    away.subscribe("m/a", 2);
    away.disconnect();
    assert_eq!(publisher.publish("m/a", "before", 2), 0);
    assert_eq!(levels(&here), [2]);
    let cached = publisher.publish("m/s", "x", 2);
    assert_eq!((cached, levels(&here)), (0, vec![2]));
    let publishes = Rule { subscribe: false, ..up_to(2, &["#"]) };
    guarded.replace(in_force(vec![publishes, up_to(1, &["m/#"]), up_to(2, &["n"])]));
    broker.judge_again();
    for (topic, expected) in [("m/a", 1), ("m/s", 1), ("n", 2)] {
        assert_eq!(publisher.publish(topic, "after", 2), 0);
        assert_eq!(levels(&here), [expected], "{topic}");
    }
    assert_eq!(here.publish("m/a", "own", 1), 0);
    assert_eq!(levels(&here), [0; 0], "its other options stay");
    let away = broker.returning("away").connect();
    assert_eq!(levels(&away), [2, 1, 1], "what waited before keeps its own");
    assert_eq!(broker.counters().subscriptions_now, 4);
    assert_eq!(here.subscribe("m/a", 2), 1);
    guarded.replace(in_force(vec![up_to(2, &["#"])]));
    broker.judge_again();
    publisher.publish("m/a", "later", 2);
    assert_eq!(levels(&here), [1], "more is granted to who asks again");
    assert_eq!(here.subscribe("m/a", 2), 2);
}
