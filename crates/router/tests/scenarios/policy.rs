//! What a policy denies stays denied on every path by which a message could go.

use std::sync::Arc;

use agentmq_codec::ReasonCode as R;
use agentmq_identity::{Effect, Guarded, Open, Pattern, Policy, PolicyInForce, Rule};

use crate::harness::{Broker, Client, Riddle};

const FORBIDDEN: u8 = R::NotAuthorized as u8;

fn rule(effect: Effect, topics: &[&str]) -> Rule {
    let pattern = |text: &&str| Pattern::parse(text).expect("a pattern");
    let (name, topics) = ("r".to_owned(), topics.iter().map(pattern).collect());
    Rule { name, effect, topics, ..Rule::default() }
}

/// Everything is allowed but what is secret.
fn no_secrets() -> Policy {
    let rules = vec![rule(Effect::Allow, &["#"]), rule(Effect::Deny, &["secret/#"])];
    Policy::new(rules, Effect::Deny)
}

fn broker() -> (Broker, PolicyInForce) {
    let policy = PolicyInForce::new(None);
    (Broker::guarded(Guarded::new(Arc::new(Open), policy.clone())), policy)
}

/// One who was there before the policy, and may still publish anything.
fn insider(broker: &Broker, policy: &PolicyInForce) -> Client {
    let insider = broker.connect("insider");
    policy.replace(Some(no_secrets()));
    insider
}

#[test]
fn publishing() {
    let (broker, policy) = broker();
    let watcher = broker.connect("watcher");
    watcher.subscribe("#", 2);
    policy.replace(Some(no_secrets()));
    let client = broker.connect("a");
    for level in 1..=2 {
        assert_eq!(client.publish("secret/a", "x", level), FORBIDDEN);
        assert_eq!(client.reason(), "rule `r` denies secret/#");
        assert_eq!(client.publish("public", "y", level), 0);
    }
    client.publish("secret/a", "x", 0);
    client.retain("secret/a", "x");
    assert!(watcher.payloads().iter().all(|payload| payload == "y"));
}

#[test]
fn a_will_at_connect_and_when_it_is_due() {
    let (broker, policy) = broker();
    let insider = broker.client("insider").will("secret/will", "x").connect();
    let watcher = broker.connect("watcher");
    watcher.subscribe("secret/#", 1);
    policy.replace(Some(no_secrets()));
    assert_eq!(broker.client("a").will("secret/will", "x").refused(), FORBIDDEN);
    assert_eq!(broker.client("a").will("public", "x").will_retain().connect().packets(), []);
    // Sent under the rights that its client had when it connected.
    insider.vanish();
    assert_eq!(watcher.payloads(), ["x"]);
}

#[test]
fn subscribing() {
    let (broker, policy) = broker();
    let insider = insider(&broker, &policy);
    insider.retain("secret/r", "retained");
    let client = broker.connect("a");
    for filter in
        ["secret/a", "secret/#", "#", "+/a", "secret/+", "$share/g/secret/#", "$share/g/#"]
    {
        assert_eq!(client.subscribe(filter, 1), FORBIDDEN, "{filter}");
    }
    assert_eq!(client.subscribe("public/#", 1), 1);
    insider.publish("secret/a", "x", 1);
    insider.publish("public/a", "y", 1);
    broker.wait(1);
    assert_eq!(client.payloads(), ["y"]);
    assert_eq!(broker.counters().subscriptions_now, 1, "what is refused leaves no trace");
}

#[test]
fn what_waits_and_what_was_subscribed_to_before() {
    let (broker, policy) = broker();
    let client = broker.client("a").expiry(1000).connect();
    for filter in ["#", "secret/s", "public/+", "$share/g/secret/t"] {
        client.subscribe(filter, 2);
    }
    client.disconnect();
    let insider = insider(&broker, &policy);
    for level in 0..=2 {
        insider.publish("secret/s", "x", level);
        insider.publish("secret/t", "x", level);
        insider.publish("public/p", "y", level);
    }
    let (client, present) = broker.returning("a").connect_present();
    assert!(present);
    let got = client.payloads();
    assert!(!got.is_empty() && got.iter().all(|payload| payload == "y"), "{got:?}");
    assert!(broker.counters().dropped_forbidden >= 2);
    insider.publish("secret/s", "x", 1);
    insider.publish("other", "x", 1);
    insider.publish("public/p", "z", 1);
    assert_eq!(client.payloads(), ["z"], "only what it may still have goes on");
    assert_eq!(client.unsubscribe("secret/s"), R::NoSubscriptionExisted as u8);
}

#[test]
fn re_authentication_takes_away_what_is_not_granted_any_more() {
    let policy = PolicyInForce::new(None);
    let broker = Broker::guarded(Guarded::new(Arc::new(Riddle), policy.clone()));
    let client = broker.client("a").method("riddle", "password").connect();
    let insider = broker.client("insider").method("riddle", "password").connect();
    client.subscribe("#", 1);
    client.subscribe("public/#", 1);
    policy.replace(Some(no_secrets()));
    client.auth(R::ReAuthenticate, "riddle", "password");
    insider.publish("secret/s", "x", 1);
    insider.publish("public/p", "y", 1);
    assert_eq!(client.payloads(), ["y"]);
    assert_eq!(client.publish("secret/s", "x", 1), FORBIDDEN);
}

#[test]
fn what_was_in_flight_is_not_sent_again() {
    let (broker, policy) = broker();
    let client = broker.client("a").expiry(1000).by_hand().connect();
    client.subscribe("#", 1);
    let insider = broker.connect("insider");
    insider.publish("secret/s", "x", 1);
    insider.publish("public", "y", 1);
    assert_eq!(client.payloads(), ["x", "y"]);
    client.vanish();
    policy.replace(Some(no_secrets()));
    let client = broker.returning("a").connect();
    assert_eq!(client.payloads(), ["y"]);
}
