//! What the audit log is told, and what waits for it.

use std::sync::Arc;

use agentmq_codec::{PropertiesBuf, QoS, ReasonCode as R, SubscriptionOptions};
use agentmq_identity::{Claims, Effect, Guarded, InForce, Pattern, Policy, Principal, Rule};
use agentmq_session::{AuditCondition, Author, Message, RestoredWill, SessionKey};

use crate::harness::{Broker, Diary, Got, Tickets};

const METHOD: &str = "ticket";

fn broker() -> (Broker, Diary) {
    let pattern = |text: &str| Pattern::parse(text).expect("a pattern");
    let rule = |effect, topic| Rule { effect, topics: vec![pattern(topic)], ..Rule::default() };
    let rules = vec![rule(Effect::Allow, "#"), rule(Effect::Deny, "secret")];
    let policy = Policy::new(rules, Effect::Deny);
    let guarded = Guarded::new(InForce::new(Arc::new(Tickets), Some(policy)));
    let broker = Broker::guarded(guarded);
    broker.reconfigure(|settings| settings.audit_topics = vec!["calls/+".into()]);
    let diary = Diary::default();
    broker.tell_audit(&diary);
    (broker, diary)
}

#[test]
fn who_comes_and_goes() {
    let (broker, diary) = broker();
    let a = broker.client("a").method(METHOD, "scout 60").connect();
    a.auth(R::ReAuthenticate, METHOD, "scout 60");
    a.auth(R::ReAuthenticate, METHOD, "other 60");
    assert_eq!(diary.rows(), ["a scout connect", "a scout authenticate", "a scout disconnect 82"]);
    broker.client("a").method(METHOD, "scout 60").connect().disconnect();
    assert_eq!(diary.rows(), ["a scout connect", "a scout disconnect 00"]);
    broker.connect("a").disconnect_as(R::DisconnectWithWill, &PropertiesBuf::new());
    broker.connect("a").vanish();
    let first = broker.connect("a");
    let second = broker.connect("a");
    assert!(first.is_closed());
    second.evict(R::ServerShuttingDown);
    assert_eq!(
        diary.rows(),
        [
            "a nobody connect",
            "a nobody disconnect 04",
            "a nobody connect",
            "a nobody disconnect 80",
            "a nobody connect",
            "a nobody disconnect 8e",
            "a nobody connect",
            "a nobody disconnect 8b",
        ]
    );
}

#[test]
fn a_proof_that_ends() {
    let (broker, diary) = broker();
    let _a = broker.client("a").method(METHOD, "scout 60").connect();
    broker.wait(60);
    assert_eq!(diary.rows(), ["a scout connect", "a scout disconnect 87"]);
}

#[test]
fn a_will_of_before_a_crash_whose_author_may_not_send_it_any_more() {
    let (broker, diary) = broker();
    let watcher = broker.client("watcher").method(METHOD, "scout 60").connect();
    watcher.subscribe("calls/+", 0);
    watcher.subscribe("gone", 0);
    diary.rows();
    let scout = Author::of(&Principal::verified("scout", Claims::default()), "a");
    let will = |author: &Option<Author>, topic| RestoredWill {
        key: SessionKey(7),
        client_id: "a".into(),
        message: Message::plain(topic, b"bye", QoS::AtMostOnce, false),
        author: author.clone().map(Arc::new),
    };
    for author in [None, scout] {
        for topic in ["gone", "secret", "calls/x"] {
            broker.restore_will(will(&author, topic));
        }
    }
    let topics: Vec<_> = watcher.messages().into_iter().map(|it| it.topic).collect();
    assert_eq!(topics, ["gone", "calls/x", "gone", "calls/x"]);
    assert_eq!(
        diary.rows(),
        [
            "a nobody refused publish secret 87",
            "a nobody will calls/x 3",
            "a scout refused publish secret 87",
            "a scout will calls/x 3",
        ]
    );
}

#[test]
fn what_is_refused() {
    let (broker, diary) = broker();
    let a = broker.client("a").connect();
    for level in 0..=2 {
        a.publish("secret", "x", level);
    }
    a.subscribe("secret", 0);
    a.subscribe("$share/g/#", 0);
    let refused = broker.client("b").username("scout 60").will("secret", "x").refused();
    assert_eq!(refused, R::NotAuthorized as u8);
    let token = format!("{} 60", "x".repeat(100));
    broker.client("b").username(&token).will("secret", "x").refused();
    assert_eq!(
        diary.rows(),
        [
            "a nobody connect",
            "a nobody refused publish secret 87",
            "a nobody refused publish secret 87",
            "a nobody refused publish secret 87",
            "a nobody refused subscribe secret 87",
            "a nobody refused subscribe $share/g/# 87",
            "b scout 60 refused connect  87",
            "b nobody refused connect  87",
        ]
    );
}

#[test]
fn the_topics_that_it_follows() {
    let (broker, diary) = broker();
    let a = broker.connect("a");
    diary.rows();
    for filter in ["calls/1", "$share/g/calls/+", "other", "calls/1/2"] {
        a.subscribe(filter, 1);
    }
    for topic in ["calls/1", "other", "calls/1/2"] {
        a.publish(topic, "four", 1);
    }
    assert_eq!(
        diary.rows(),
        [
            "a nobody subscribe calls/1",
            "a nobody subscribe $share/g/calls/+",
            "a nobody publish calls/1 4",
        ]
    );
    broker.reconfigure(|settings| settings.audit_topics.clear());
    a.publish("calls/1", "x", 1);
    assert!(diary.rows().is_empty());
}

#[test]
fn nothing_is_answered_before_it_is_safe() {
    let (broker, diary) = broker();
    let a = broker.client("a").by_hand().connect();
    broker.connect("r").retain("calls/0", "0");
    diary.set_waiting(true);
    let options = SubscriptionOptions::default();
    let b = broker.client("b").attempt();
    let c = broker.client("c").will("secret", "x").attempt();
    a.send_subscribe(&[("calls/+", options)], None);
    a.publishing("calls/1", "1").qos(1).id(2).send();
    a.publishing("secret", "2").qos(1).id(3).send();
    a.publishing("other", "3").qos(1).id(4).send();
    assert!(a.packets().is_empty());
    assert!(b.packets().is_empty() && c.packets().is_empty() && !c.is_closed());
    diary.all_safe();
    broker.committed();
    assert!(matches!(b.packets()[..], [Got::ConnAck { code: 0, .. }]));
    assert!(matches!(c.packets()[..], [Got::ConnAck { code: 0x87, .. }]) && c.is_closed());
    let answers = a.packets();
    assert!(
        matches!(
            answers[..],
            [
                Got::SubAck(..),
                Got::PubAck(2, 0),
                Got::PubAck(3, 0x87),
                Got::PubAck(4, 0x10),
                Got::Publish(_), // the retained one, and what came behind it
                Got::Publish(_),
            ]
        ),
        "{answers:?}"
    );
}

#[test]
fn while_it_cannot_be_written_what_must_be_in_it_is_refused() {
    let (broker, diary) = broker();
    let a = broker.connect("a");
    let old = broker.client("old").v311().connect();
    diary.set_condition(AuditCondition::Behind);
    broker.connect("c");
    assert_eq!(a.publish("calls/1", "x", 1), R::QuotaExceeded as u8);
    diary.set_condition(AuditCondition::Failed);
    assert_eq!(broker.client("b").refused(), R::ServerUnavailable as u8);
    assert_eq!(a.publish("calls/1", "x", 1), R::QuotaExceeded as u8);
    let reason = a.reasons().pop().unwrap_or_default();
    assert!(reason.starts_with("the audit log of this server cannot be written"), "{reason}");
    assert_eq!(a.publish("calls/1", "x", 2), R::QuotaExceeded as u8);
    assert_eq!(a.subscribe("calls/#", 0), R::QuotaExceeded as u8);
    assert_eq!((a.subscribe("other", 0), a.publish("other", "x", 1)), (0, 0));
    old.publish("calls/1", "x", 0);
    assert!(!old.is_closed(), "QoS 0 is dropped");
    assert!(a.payloads().iter().all(|it| it == "x"));
    diary.set_condition(AuditCondition::Good);
    broker.connect("b");
    assert_eq!(a.publish("calls/1", "x", 1), 0x10);
}

#[test]
fn wills_are_publications() {
    let (broker, diary) = broker();
    let will = || broker.client("w").will("calls/1", "gone");
    let watcher = broker.connect("watcher");
    watcher.subscribe("calls/1", 0);
    let first = will().connect();
    diary.rows();
    first.vanish();
    assert_eq!(diary.rows(), ["w nobody disconnect 80", "w nobody will calls/1 4"]);
    let second = will().connect();
    diary.set_condition(AuditCondition::Behind);
    second.vanish();
    assert_eq!(watcher.payloads(), ["gone"], "one that cannot be put down is not sent");
}

#[test]
fn a_repetition_is_not_acknowledged_without_a_row() {
    let (broker, diary) = broker();
    let session = || broker.returning("a").by_hand().connect();
    let a = session();
    diary.set_waiting(true);
    a.publishing("calls/1", "x").qos(2).id(7).send();
    assert!(a.packets().is_empty());
    a.vanish();
    let a = {
        diary.all_safe();
        diary.set_waiting(false);
        let a = session();
        diary.set_waiting(true);
        a
    };
    diary.rows();
    a.publishing("calls/1", "x").qos(2).id(7).dup().send();
    assert!(a.packets().is_empty());
    assert_eq!(diary.rows(), ["a nobody publish calls/1 1"]);
    diary.all_safe();
    broker.committed();
    assert_eq!(a.packets(), [Got::PubRec(7, 0)]);
}

#[test]
fn who_proves_himself_while_it_fails_is_not_let_in() {
    let (broker, diary) = broker();
    let a = broker.client("a").method(METHOD, "scout 60").connect();
    diary.set_condition(AuditCondition::Failed);
    a.auth(R::ReAuthenticate, METHOD, "scout 60");
    assert_eq!(a.closed_with(), R::ServerBusy as u8);
}

#[test]
fn who_asks_and_asks_while_nothing_can_be_answered_is_closed() {
    let (broker, diary) = broker();
    broker.reconfigure(|settings| settings.limits.outbox_bytes = 64);
    diary.set_waiting(true);
    let a = broker.client("a").attempt();
    for _ in 0..40 {
        a.ping();
    }
    diary.all_safe();
    broker.committed();
    assert_eq!(a.closed_with(), R::QuotaExceeded as u8);
}
