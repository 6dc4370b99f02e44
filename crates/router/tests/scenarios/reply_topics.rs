//! Answers below `$reply/` come from whoever was asked, and to who has asked (S23).

use std::sync::Arc;

use agentmq_agents::Namespaces;
use agentmq_codec::{Property, PropertyId as P, ReasonCode};
use agentmq_identity::{Effect, Guarded, InForce, Open, Pattern, Policy, Rule};
use agentmq_router::Settings;

use crate::harness::{Broker, Client, Got};

const FORBIDDEN: u8 = ReasonCode::NotAuthorized as u8;
const INVALID: u8 = ReasonCode::TopicNameInvalid as u8;
/// A reply topic of the client `asker`.
const REPLY: &str = "$reply/asker/0123456789abcdef";
const NOT_OPEN: &str = "no request waits for this answer: it was not asked for, or too long ago";

/// Publishes a request; answers the code of its PUBACK.
fn ask(client: &Client, response: &str, expiry: Option<u32>) -> u8 {
    let asking = client.publishing("ask", "?").qos(1);
    let asking = asking.with(Property::Text(P::ResponseTopic, response));
    let id = expiry.into_iter().fold(asking, |it, secs| it.expiry(secs)).send();
    let is_ack = |got| match got {
        Got::PubAck(of, code) if of == id => Some(code),
        _ => None,
    };
    client.packets().into_iter().find_map(is_ack).expect("a PUBACK")
}

/// A client that asks, and one that is asked.
fn asker_and_worker(broker: &Broker) -> (Client, Client) {
    let (asker, worker) = (broker.connect("asker"), broker.connect("worker"));
    assert_eq!(asker.subscribe("$reply/asker/#", 1), 1);
    assert_eq!(worker.subscribe("ask", 1), 1);
    (asker, worker)
}

#[test]
fn only_who_was_asked_can_answer() {
    let broker = Broker::new();
    let (asker, worker) = asker_and_worker(&broker);
    for level in 1..=2 {
        assert_eq!(worker.publish(REPLY, "too early", level), FORBIDDEN);
        assert_eq!(worker.reason(), NOT_OPEN);
    }
    assert_eq!(ask(&asker, REPLY, None), 0);
    let asked = worker.message();
    let response = asked.properties.view().text(P::ResponseTopic).expect("was asked").to_owned();
    let stranger = broker.connect("stranger");
    for guess in [
        "$reply/asker/0123456789abcdeg",
        "$reply/asker/0123456789abcde",
        "$reply/nobody/0123",
        REPLY,
    ] {
        let is_known = guess == REPLY; // the token is all that it takes
        for level in 0..=2 {
            let expected = if is_known || level == 0 { 0 } else { FORBIDDEN };
            assert_eq!(stranger.publish(guess, "forged", level), expected, "{guess}");
        }
    }
    assert_eq!(asker.payloads(), ["forged"; 3]);
    for level in 0..=2 {
        assert_eq!(worker.publish(&response, "answer", level), 0);
    }
    assert_eq!(asker.payloads(), ["answer"; 3]);
    assert_eq!(broker.counters().replies_dropped, 2 + 9);
    for malformed in ["$reply", "$reply/asker", "$reply/asker/", "$reply//0123456789abcdef"] {
        assert_eq!(worker.publish(malformed, "x", 1), INVALID, "{malformed}");
    }
    let old = broker.client("old").v311().connect();
    assert_eq!(old.publish("$reply/asker/0123456789abcdeg", "x", 1), 0);
    assert!(!old.is_closed() && asker.payloads().is_empty(), "dropped, and counted");
}

#[test]
fn nobody_else_subscribes_to_them() {
    let broker = Broker::new();
    let (asker, _) = asker_and_worker(&broker);
    let spy = broker.connect("spy");
    for filter in [
        REPLY,
        "$reply/asker/#",
        "$reply/+/0123456789abcdef",
        "$reply/+/#",
        "$reply/#",
        "$reply",
        "$reply/spy",
        "$share/g/$reply/asker/#",
        "$share/g/$reply/+/#",
        "$share/g/$reply/spy/#",
    ] {
        assert_eq!(spy.subscribe(filter, 1), FORBIDDEN, "{filter}");
        assert!(!spy.reason().is_empty());
    }
    for own in ["$reply/spy/#", "$reply/spy/a/+"] {
        assert_eq!(spy.subscribe(own, 1), 1, "{own}");
    }
    for filter in ["#", "+/asker/#"] {
        assert_eq!(spy.subscribe(filter, 1), 1, "{filter}: these do not match what begins with $");
    }
    assert_eq!(ask(&asker, REPLY, None), 0);
    assert_eq!(broker.connect("worker").publish(REPLY, "answer", 1), 0);
    assert_eq!((asker.payloads().len(), spy.payloads()), (1, vec!["?".to_owned()]));
    // Where an identifier is no level, `$reply/a/#` would be of two clients.
    let odd = broker.connect("a/b");
    assert_eq!(odd.subscribe("$reply/a/b/#", 1), FORBIDDEN);
    assert_eq!(ask(&odd, "$reply/a/b/0123456789abcdef", None), FORBIDDEN);
}

#[test]
fn a_request_is_open_for_a_while_and_each_answer_prolongs_it() {
    let broker = Broker::new();
    let (asker, worker) = asker_and_worker(&broker);
    for (expiry, lasts) in [(Some(5), 5), (None, 600)] {
        ask(&asker, REPLY, expiry);
        for _ in 0..3 {
            broker.wait(lasts - 1);
            assert_eq!(worker.publish(REPLY, "part", 1), 0);
        }
        assert_eq!(asker.payloads(), ["part"; 3]);
        broker.wait(lasts + 1);
        assert_eq!(worker.publish(REPLY, "late", 1), FORBIDDEN);
    }
    // By an alias it is the same.
    ask(&asker, REPLY, Some(5));
    let answer = |topic| {
        let id = worker.publishing(topic, "x").alias(1).qos(1).send();
        worker.packets().contains(&Got::PubAck(id, 0))
    };
    assert!(answer(REPLY) && answer(""));
    broker.wait(6);
    assert!(!answer("") && asker.payloads() == ["x", "x"]);
}

#[test]
fn the_open_requests_of_a_session_are_bounded() {
    let broker = Broker::with(|settings| {
        (settings.limits.open_requests, settings.limits.open_request_secs) = (2, 10);
    });
    let (asker, worker) = asker_and_worker(&broker);
    let topic = |number: u8| format!("{REPLY}/{number}");
    for number in 0..3 {
        ask(&asker, &topic(number), None);
    }
    let answer = |number| worker.publish(&topic(number), "x", 1);
    assert_eq!([answer(0), answer(1), answer(2)], [FORBIDDEN, 0, 0]);
    // Of two with answers the one goes that was silent for longer; before one without.
    assert_eq!(answer(1), 0);
    ask(&asker, &topic(3), None);
    assert_eq!(answer(2), FORBIDDEN);
    ask(&asker, &topic(4), None);
    assert_eq!([answer(1), answer(3), answer(4)], [FORBIDDEN, 0, 0]);
    broker.wait(11);
    assert_eq!(answer(4), FORBIDDEN);
}

#[test]
fn a_request_says_only_where_its_own_client_waits() {
    let broker = Broker::new();
    let (asker, worker) = asker_and_worker(&broker);
    for (response, expected) in [
        ("$reply/worker/0123456789abcdef", FORBIDDEN),
        ("$reply/aske/r0123456789abcdef", FORBIDDEN),
        ("$reply", FORBIDDEN),
        ("$reply/asker", FORBIDDEN),
        ("$reply/asker/", FORBIDDEN),
        ("$reply/asker/0123456789abcde", INVALID),
        ("$reply/asker/äöüßäöüßäöüßäöü", INVALID),
        ("elsewhere", 0),
        (REPLY, 0),
        ("$reply/asker/01234567/9abcdef", 0),
    ] {
        assert_eq!(ask(&asker, response, None), expected, "{response}");
        assert_eq!(worker.payloads().len(), usize::from(expected == 0), "{response}");
    }
    let old = broker.client("asker").will("w", "x");
    assert_eq!(old.will_with(Property::Text(P::ResponseTopic, REPLY)).refused(), FORBIDDEN);
}

#[test]
fn answers_are_not_retained_and_wills_are_none() {
    let broker = Broker::new();
    let (asker, worker) = asker_and_worker(&broker);
    ask(&asker, REPLY, None);
    let id = worker.publishing(REPLY, "x").qos(1).retain().send();
    assert!(worker.packets().contains(&Got::PubAck(id, FORBIDDEN)));
    for will in [REPLY, "$reply/w/0123456789abcdef", "$reply"] {
        assert_eq!(broker.client("w").will(will, "x").refused(), FORBIDDEN, "{will}");
    }
    assert!(asker.payloads().is_empty());
}

#[test]
fn an_open_request_is_its_session_s() {
    let broker = Broker::new();
    let worker = broker.connect("worker");
    let asker = broker.client("asker").expiry(1000).connect();
    asker.subscribe("$reply/asker/#", 1);
    ask(&asker, REPLY, None);
    asker.vanish();
    assert_eq!(worker.publish(REPLY, "while away", 1), 0);
    let asker = broker.returning("asker").connect();
    assert_eq!(asker.payloads(), ["while away"]);
    assert_eq!(worker.publish(REPLY, "again", 1), 0);
    let asker = broker.client("asker").connect();
    asker.subscribe("$reply/asker/#", 1);
    assert_eq!(worker.publish(REPLY, "to another session", 1), FORBIDDEN);
    assert!(asker.payloads().is_empty());
}

fn rule(effect: Effect, topics: &[&str]) -> Rule {
    let pattern = |text: &&str| Pattern::parse(text).expect("a pattern");
    let (name, topics) = ("r".to_owned(), topics.iter().map(pattern).collect());
    Rule { name, effect, topics, ..Rule::default() }
}

#[test]
fn an_open_request_is_the_right_to_answer_unless_a_rule_denies_it() {
    let guarded = Guarded::new(InForce::new(Arc::new(Open), None));
    let broker = Broker::guarded(guarded.clone());
    let hold = |denied: &[&str]| {
        let denying = Rule { subscribe: false, ..rule(Effect::Deny, denied) };
        let rules = vec![rule(Effect::Allow, &["ask"]), denying];
        let policy = Policy::new(rules, Effect::Deny);
        guarded.replace(InForce::new(Arc::new(Open), Some(policy)));
        broker.judge_again();
    };
    hold(&[]);
    let asker = broker.client("asker").expiry(1000).connect();
    let worker = broker.connect("worker");
    assert_eq!((asker.subscribe("$reply/asker/#", 1), worker.subscribe("ask", 1)), (1, 1));
    assert_eq!(asker.subscribe("elsewhere", 1), FORBIDDEN, "no rule allows anything else");
    assert_eq!(ask(&asker, "elsewhere", None), FORBIDDEN);
    assert_eq!(ask(&asker, "$reply/worker/0123456789abcdef", None), FORBIDDEN);
    assert_eq!(ask(&asker, REPLY, None), 0);
    assert_eq!(worker.payloads(), ["?"]);
    broker.judge_again();
    asker.vanish();
    assert_eq!(worker.publish(REPLY, "answer", 1), 0);
    let asker = broker.returning("asker").connect();
    assert_eq!(asker.payloads(), ["answer"], "what waits is judged, too");
    hold(&["$reply/asker/#"]);
    assert_eq!(worker.publish(REPLY, "x", 1), FORBIDDEN);
    assert!(worker.reasons().iter().any(|it| it == "rule `r` denies $reply/asker/#"));
    assert!(asker.payloads().is_empty());
}

/// The broker's own answer to a call that it refuses comes to its caller, who has asked in vain.
#[test]
fn a_call_that_is_refused_is_answered_there() {
    let guarded = Guarded::new(InForce::new(Arc::new(Open), None));
    let broker = Broker::guarded(guarded.clone());
    broker.reconfigure(|settings| {
        settings.agents.namespaces = Namespaces::new(&["lab"]).unwrap();
    });
    let nothing = Policy::new(Vec::new(), Effect::Deny);
    guarded.replace(InForce::new(Arc::new(Open), Some(nothing)));
    let asker = broker.connect("asker");
    asker.subscribe("$reply/asker/#", 1);
    let asking = asker.publishing("lab/mcp/tools/ask/call", "?").qos(1);
    asking.with(Property::Text(P::ResponseTopic, REPLY)).send();
    assert!(asker.message().payload.contains("unauthorized"));
    assert_eq!(broker.connect("worker").publish(REPLY, "x", 1), FORBIDDEN, "nobody was asked");
}

#[test]
fn connack_tells_where_a_client_may_wait() {
    let told = |broker: &Broker, client_id: &str| {
        let asks = Property::Byte(P::RequestResponseInformation, 1);
        match broker.client(client_id).with(asks).attempt().next() {
            Some(Got::ConnAck { code: 0, properties, .. }) => {
                properties.view().text(P::ResponseInformation).map(str::to_owned)
            }
            other => panic!("CONNACK expected, got {other:?}"),
        }
    };
    let usual = Broker::new();
    assert_eq!(told(&usual, "asker").as_deref(), Some("$reply/asker/"));
    assert_eq!(told(&usual, "a/b"), None);
    let assigned = told(&usual, "").expect("the one that it has got");
    assert!(assigned.starts_with("$reply/") && assigned.len() > "$reply//".len(), "{assigned}");
    let own = |settings: &mut Settings| settings.response_information = "answers/".into();
    assert_eq!(told(&Broker::with(own), "asker").as_deref(), Some("answers/"));
    let off = |settings: &mut Settings| settings.dollar_prefixes = vec!["$a2a".into()];
    let broker = Broker::with(off);
    assert_eq!(told(&broker, "asker"), None);
    assert_eq!(broker.connect("worker").publish(REPLY, "x", 1), INVALID, "nobody answers there");
}

#[test]
fn a_token_is_neither_short_nor_long() {
    let broker = Broker::new();
    let a = broker.connect("a");
    for (length, expected) in [(15, 0x90), (16, 0x10), (128, 0x10), (129, 0x90)] {
        let response = format!("$reply/a/{}", "t".repeat(length));
        let response = Property::Text(P::ResponseTopic, &response);
        let id = a.publishing("calls", "x").qos(1).with(response).send();
        assert_eq!(a.packets(), [Got::PubAck(id, expected)], "{length}");
    }
}
