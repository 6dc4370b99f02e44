//! What a policy denies stays denied on every path by which a message could go.

use std::sync::Arc;

use agentmq_agents::Namespaces;
use agentmq_codec::{Property, PropertyId, ReasonCode as R};
use agentmq_identity::{Authenticator, Effect, Guarded, InForce, Open, Pattern, Policy, Rule};

use crate::harness::{Broker, Client, Got, Riddle};

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

/// The policy of a broker whose authenticator stays the same.
struct PolicyInForce(Guarded, Arc<dyn Authenticator>);

impl PolicyInForce {
    fn replace(&self, policy: Option<Policy>) {
        self.0.replace(InForce::new(Arc::clone(&self.1), policy));
    }
}

fn broker() -> (Broker, PolicyInForce) {
    broker_with(Arc::new(Open))
}

fn broker_with(authenticator: Arc<dyn Authenticator>) -> (Broker, PolicyInForce) {
    let guarded = Guarded::new(InForce::new(Arc::clone(&authenticator), None));
    (Broker::guarded(guarded.clone()), PolicyInForce(guarded, authenticator))
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

/// Who may publish may not leave behind for others what he likes.
#[test]
fn retaining() {
    let (broker, policy) = broker();
    broker.connect("before").retain("kept/a", "old");
    broker.connect("watcher").subscribe("#", 0);
    let fleeting = Rule { retain: false, ..rule(Effect::Allow, &["#"]) };
    let kept = rule(Effect::Allow, &["own/#"]);
    policy.replace(Some(Policy::new(vec![fleeting, kept], Effect::Deny)));
    let client = broker.connect("a");
    for (topic, expected) in [("kept/a", FORBIDDEN), ("own/a", 0)] {
        let id = client.publishing(topic, "new").qos(1).retain().send();
        assert!(client.packets().contains(&Got::PubAck(id, expected)), "{topic}");
        assert_eq!(client.publish(topic, "y", 1), 0, "{topic}");
    }
    let id = client.publishing("kept/a", "").qos(1).retain().send();
    let got = client.packets();
    assert!(got.contains(&Got::PubAck(id, FORBIDDEN)), "nor take it away: {got:?}");
    assert_eq!(broker.client("b").will("kept/b", "x").will_retain().refused(), FORBIDDEN);
    broker.client("b").will("own/b", "x").will_retain().connect();
    let late = broker.connect("late");
    late.subscribe("+/a", 1);
    let mut payloads = late.payloads();
    payloads.sort();
    assert_eq!(payloads, ["new", "old"]);
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
    let (broker, policy) = broker_with(Arc::new(Riddle));
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

#[test]
fn who_is_connected_or_away_loses_what_a_new_policy_denies() {
    let (broker, policy) = broker();
    let here = broker.connect("here");
    let away = broker.client("away").expiry(1000).connect();
    for client in [&here, &away] {
        client.subscribe("secret/#", 1);
        client.subscribe("public/#", 1);
    }
    let publisher = broker.client("publisher").will("secret/will", "x").connect();
    assert_eq!(publisher.publish("secret/a", "before", 1), 0);
    assert_eq!((here.payloads(), away.payloads()), (vec!["before".into()], vec!["before".into()]));
    away.disconnect();
    publisher.publish("secret/a", "waits", 1);
    assert_eq!(here.payloads(), ["waits"]);
    policy.replace(Some(no_secrets()));
    broker.judge_again();
    assert_eq!(publisher.publish("secret/a", "x", 1), FORBIDDEN, "it was allowed a moment ago");
    assert_eq!(publisher.publish("public/a", "y", 1), 0);
    publisher.vanish();
    assert_eq!(here.payloads(), ["y"], "and no will");
    assert_eq!(broker.counters().subscriptions_now, 2, "those that are allowed");
    let away = broker.returning("away").connect();
    assert_eq!(away.payloads(), ["y"]);
    policy.replace(None);
    broker.judge_again();
    let publisher = broker.connect("publisher");
    assert_eq!(publisher.publish("secret/a", "x", 1), R::NoMatchingSubscribers as u8);
}

#[test]
fn all_sessions_are_asked_about_a_portion_at_a_time() {
    let (broker, policy) = broker();
    let clients: Vec<Client> =
        (0..600).map(|number| broker.connect(&format!("c{number}"))).collect();
    for client in &clients {
        client.subscribe("secret/#", 0);
    }
    assert_eq!(broker.counters().subscriptions_now, 600);
    policy.replace(Some(no_secrets()));
    broker.judge_again();
    assert_eq!(broker.counters().subscriptions_now, 600 - 256, "others are served between");
    broker.wait_ms(1);
    assert_eq!(broker.counters().subscriptions_now, 600 - 512);
    broker.wait_ms(1);
    assert_eq!(broker.counters().subscriptions_now, 0);
}

/// Whoever answers publishes with its own rights where the asker says.
#[test]
fn answers_are_asked_for_only_where_one_may_receive() {
    let (broker, policy) = broker();
    let watcher = broker.connect("watcher");
    watcher.subscribe("ask", 1);
    policy.replace(Some(no_secrets()));
    let client = broker.connect("a");
    for response in ["public/mine", "secret/inbox", "public/mine"] {
        let topic = Property::Text(PropertyId::ResponseTopic, response);
        client.publishing("ask", response).qos(1).with(topic).send();
    }
    let reasons = client.reasons();
    let why = "the Response Topic is none of your own: rule `r` denies secret/#";
    assert!(reasons.iter().any(|reason| reason == why), "{reasons:?}");
    assert_eq!(watcher.payloads(), ["public/mine", "public/mine"]);
    let will = broker.client("b").will("public/will", "x");
    let refused = will.will_with(Property::Text(PropertyId::ResponseTopic, "secret/a")).refused();
    assert_eq!(refused, FORBIDDEN);
}

/// The published client of MQTT.Agent ends when the acknowledgement of a call is an error.
#[test]
fn a_call_that_is_refused_is_answered() {
    let (broker, policy) = broker();
    broker.reconfigure(|settings| {
        settings.agents.namespaces = Namespaces::new(&["secret"]).unwrap();
    });
    policy.replace(Some(no_secrets()));
    let (caller, other) = (broker.connect("caller"), broker.connect("other"));
    caller.subscribe("public/caller", 1);
    other.subscribe("public/#", 1);
    other.subscribe("$share/g/public/caller", 1);
    let call = |topic: &str, response: &str| {
        let call = caller.publishing(topic, "{}").qos(1);
        call.with(Property::Text(PropertyId::ResponseTopic, response))
            .with(Property::Binary(PropertyId::CorrelationData, b"call \"1\""))
            .send()
    };
    let id = call("secret/mcp/tools/echo/call", "public/caller");
    let got = caller.packets();
    assert!(got.contains(&Got::PubAck(id, 0)), "not an error: {got:?}");
    let answer = got.iter().find_map(|packet| match packet {
        Got::Publish(message) => Some(message.payload.as_str()),
        _ => None,
    });
    assert_eq!(
        answer.unwrap_or_default(),
        "{\"call_id\":\"call \\\"1\\\"\",\"error\":{\"message\":\"rule `r` denies secret/#\",\
         \"type\":\"unauthorized\"},\"status\":\"error\"}"
    );
    assert!(other.payloads().is_empty(), "it is for nobody else");
    // Elsewhere, and where the answer is not the caller's own, it is the acknowledgement.
    for (topic, response) in
        [("secret/other", "public/caller"), ("secret/mcp/tools/echo/call", "secret/caller")]
    {
        let id = call(topic, response);
        let got = caller.packets();
        assert!(got.contains(&Got::PubAck(id, FORBIDDEN)), "{got:?}");
    }
}
