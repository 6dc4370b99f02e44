//! Organisations that are kept apart: they use the same names and never meet.

use std::sync::Arc;

use agentmq_codec::{Property, PropertyId as P, ReasonCode as R};
use agentmq_identity::{
    About, Acceptance, Authenticator, Claims, Credentials, Effect, Guarded, InForce, Outcome,
    Pattern, Policy, Principal, Rule,
};

use crate::harness::{Broker, Client};

/// Lets in by a user name: a name, an organisation and for how many seconds, or less.
#[derive(Debug, Clone, Copy)]
struct Members;

impl Authenticator for Members {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        let mut words = credentials.username.unwrap_or_default().split(' ');
        let name = words.next().unwrap_or_default();
        let org_id = words.next().map(str::to_owned);
        let claims = Claims::of_organization(org_id);
        let lasts_secs = words.next().and_then(|secs| secs.parse().ok());
        let principal = Principal::verified(name, claims);
        Outcome::Accepted(Acceptance { lasts_secs, ..Acceptance::from(principal) })
    }
}

fn rule(effect: Effect, topic: &str) -> Rule {
    let pattern = Pattern::parse(topic).expect("a pattern");
    Rule { name: topic.into(), effect, topics: vec![pattern], ..Rule::default() }
}

/// Of everybody everything is allowed but `secret`; operators get what organisations have.
fn in_force(keeps_apart: bool) -> InForce {
    let about = About { users: Some(vec!["op".into()]), ..About::default() };
    let operators = Rule { about, ..rule(Effect::Allow, "$org/#") };
    let rules = vec![
        rule(Effect::Allow, "#"),
        rule(Effect::Allow, "$a2a/#"),
        rule(Effect::Allow, "$SYS/#"),
        rule(Effect::Deny, "secret"),
        operators,
    ];
    let policy = Some(Policy::new(rules, Effect::Deny));
    InForce { keeps_apart, ..InForce::new(Arc::new(Members), policy) }
}

fn broker() -> Broker {
    Broker::guarded(Guarded::new(in_force(true)))
}

fn member(broker: &Broker, client_id: &str, name: &str) -> Client {
    broker.client(client_id).username(name).connect()
}

fn got(client: &Client) -> Vec<(String, String)> {
    client.messages().into_iter().map(|it| (it.topic, it.payload)).collect()
}

fn one(topic: &str, payload: &str) -> Vec<(String, String)> {
    vec![(topic.to_owned(), payload.to_owned())]
}

#[test]
fn the_same_names_and_nothing_in_common() {
    let in_force = InForce::new(Arc::new(Members), None);
    let broker = Broker::guarded(Guarded::new(InForce { keeps_apart: true, ..in_force }));
    let [a1, a2] = ["a1", "a2"].map(|id| member(&broker, id, "scout acme"));
    let [b1, b2] = ["b1", "b2"].map(|id| member(&broker, id, "scout other"));
    let nobody = member(&broker, "n", "scout");
    for client in [&a1, &b1, &nobody] {
        assert_eq!(client.subscribe("#", 1), 1);
        assert_eq!(client.subscribe("$a2a/#", 1), 1);
    }
    a2.publish("calls/echo", "from acme", 1);
    b2.publish("$a2a/card", "from other", 2);
    nobody.publish("calls/echo", "from nobody", 0);
    assert_eq!(got(&a1), one("calls/echo", "from acme"));
    assert_eq!(got(&b1), one("$a2a/card", "from other"));
    assert_eq!(got(&nobody), one("calls/echo", "from nobody"));
    assert_eq!(a1.unsubscribe("#"), 0);
    a2.publish("calls/echo", "x", 1);
    assert!(got(&a1).is_empty());
}

#[test]
fn retained_messages_wills_and_shared_groups() {
    let broker = broker();
    let a = member(&broker, "a", "scout acme");
    a.retain("status", "acme");
    let b = member(&broker, "b", "scout other");
    b.subscribe("status", 1);
    assert!(got(&b).is_empty(), "what acme has retained is not there");
    b.retain("status", "other");
    b.publishing("status", "").retain().send(); // clears its own
    let late = member(&broker, "late", "scout acme");
    late.subscribe("status", 1);
    assert_eq!(got(&late), one("status", "acme"));

    let will = broker.client("w").username("scout acme").will("gone", "w").connect();
    for client in [&late, &b] {
        client.subscribe("gone", 0);
    }
    b.messages();
    will.vanish();
    assert_eq!((got(&late), got(&b)), (one("gone", "w"), vec![]));

    let workers =
        [("w1", "scout acme"), ("w2", "scout other")].map(|(id, name)| member(&broker, id, name));
    for worker in &workers {
        assert_eq!(worker.subscribe("$share/g/jobs", 1), 1);
    }
    for number in ["1", "2", "3", "4"] {
        a.publish("jobs", number, 1);
    }
    assert_eq!(workers[0].payloads(), ["1", "2", "3", "4"], "its group has one member");
    assert!(workers[1].payloads().is_empty());
    assert_eq!(workers[0].unsubscribe("$share/g/jobs"), 0);
}

#[test]
fn a_session_is_resumed_where_it_was() {
    let broker = broker();
    let session = || broker.returning("a").username("scout acme").connect_present();
    let (a, _) = session();
    a.subscribe("t/+", 2);
    a.vanish();
    let [same, other] =
        [("p", "scout acme"), ("q", "scout other")].map(|(id, name)| member(&broker, id, name));
    for qos in [1, 2] {
        same.publish("t/1", "mine", qos);
        other.publish("t/1", "not mine", qos);
    }
    let (a, was_there) = session();
    assert!(was_there);
    assert_eq!(got(&a), [one("t/1", "mine"), one("t/1", "mine")].concat());
}

#[test]
fn rules_hold_for_names_as_clients_call_them() {
    let broker = broker();
    let a = member(&broker, "a", "scout acme");
    for refused in ["secret", "$org/acme/secret", "$org/other/a", "$SYS/x"] {
        assert_eq!(a.publish(refused, "x", 1), R::NotAuthorized as u8, "{refused}");
    }
    assert_eq!(a.subscribe("$SYS/#", 0), R::NotAuthorized as u8);
    assert_eq!(a.subscribe("$SYS/broker/uptime", 0), R::NotAuthorized as u8);
    assert_eq!(a.subscribe("$SYS/organizations/acme/#", 0), 0);
    let refused = broker.client("w").username("scout acme").will("secret", "x").refused();
    assert_eq!(refused, R::NotAuthorized as u8);
    let reply = Property::Text(P::ResponseTopic, "secret");
    a.publishing("calls", "x").qos(1).with(reply).send();
    let reason = a.reasons().pop().unwrap_or_default();
    assert!(reason.contains("Response Topic"), "{reason}");
    let refused = broker.client("x").username("scout a/b").refused();
    assert_eq!(refused, R::NotAuthorized as u8);
}

#[test]
fn an_operator_sees_whose_it_is() {
    let broker = broker();
    let (operator, member) = (member(&broker, "o", "op"), member(&broker, "a", "scout acme"));
    assert_eq!(operator.subscribe("$org/+/alarms", 1), 1);
    member.subscribe("orders", 1);
    member.publish("alarms", "fire", 1);
    assert_eq!(got(&operator), one("$org/acme/alarms", "fire"));
    operator.publish("$org/acme/orders", "out", 1);
    assert_eq!(got(&member), one("orders", "out"));
    let curious = self::member(&broker, "c", "scout");
    assert_eq!(curious.subscribe("$org/#", 0), R::NotAuthorized as u8);
}

#[test]
fn topics_are_as_long_as_clients_call_them() {
    let broker = broker();
    broker.reconfigure(|settings| {
        (settings.limits.topic_levels, settings.limits.topic_bytes) = (4, 16);
    });
    let a = broker.client("a").username("scout acme").topic_alias_maximum(2).connect();
    assert_eq!(a.subscribe("1/2/3", 1), 1);
    assert_eq!(a.subscribe("$share/g/4/5", 1), 1);
    for topic in ["1/2/3", "1/2/3", "4/5"] {
        a.publish(topic, "x", 1);
    }
    assert_eq!(got(&a).len(), 3, "by alias, too");
    assert_eq!(a.publish("1/2/3/4/5", "x", 1), R::TopicNameInvalid as u8);
    assert_eq!(a.subscribe("1/2/3/4/5", 1), R::TopicFilterInvalid as u8);
    assert_eq!(a.publish("12345678901234567", "x", 1), R::TopicNameInvalid as u8);
    // The longest packet that it takes has its own name for the topic.
    let small = broker.client("s").username("scout acme").maximum_packet_size(100).connect();
    small.subscribe("t", 0);
    for length in 80..110 {
        a.publish("t", &"x".repeat(length), 0);
    }
    assert_eq!(small.longest(), 100);
}

#[test]
fn a_reload_moves_nobody_into_the_topics_of_others() {
    let guarded = Guarded::new(in_force(false));
    let broker = Broker::guarded(guarded.clone());
    let a = broker.returning("a").username("scout acme").connect();
    let away = broker.returning("away").username("scout acme").connect();
    let other = member(&broker, "b", "scout other");
    for client in [&a, &away] {
        client.subscribe("t", 1);
    }
    away.vanish();
    other.publish("t", "together", 1);
    assert_eq!(a.payloads(), ["together"]);
    for keeps_apart in [true, false] {
        guarded.replace(in_force(keeps_apart));
        broker.judge_again();
        member(&broker, "p", "scout other").publish("t", "of other", 1);
        for client_id in ["a", "away"] {
            let begin = broker.returning(client_id).username("scout acme");
            let (client, was_there) = begin.connect_present();
            assert!(!was_there, "it is elsewhere now, and begins anew: {client_id} {keeps_apart}");
            assert!(client.payloads().is_empty());
            assert_eq!(client.subscribe("t", 1), 1);
            member(&broker, "q", "scout acme").publish("t", "of acme", 1);
            assert_eq!(client.payloads(), ["of acme"]);
            client.vanish();
        }
    }
    assert_eq!(a.closed_with(), R::NotAuthorized as u8);
}

#[test]
fn clients_of_the_same_name_are_different_ones() {
    let broker = broker();
    let names = ["scout acme", "scout other", "scout"];
    let session = |name| broker.returning("a").username(name).connect_present();
    let clients = names.map(|name| session(name).0);
    for client in &clients {
        client.subscribe("t", 1);
    }
    clients[1].vanish();
    for (name, number) in names.iter().zip(["1", "2", "3"]) {
        member(&broker, "p", name).publish("t", number, 1);
    }
    assert_eq!(clients[0].payloads(), ["1"]);
    assert_eq!(clients[2].payloads(), ["3"]);
    let (other, was_there) = session("scout other");
    assert!(was_there);
    assert_eq!(other.payloads(), ["2"], "it has waited for it");
    let again = session("scout other").0;
    assert_eq!(other.closed_with(), R::SessionTakenOver as u8);
    for client in [&clients[0], &again, &clients[2]] {
        client.ping();
    }
    let of_acme = member(&broker, "", "scout acme");
    assert_eq!(of_acme.publish("t", "assigned", 1), 0);
}

#[test]
fn nobody_is_called_as_another_organisation_s_clients_are() {
    let broker = broker();
    member(&broker, "a", "scout acme");
    assert_eq!(
        broker.client("$org/acme/a").username("scout").refused(),
        R::ClientIdentifierNotValid as u8
    );
    let own = member(&broker, "$org/other/a", "scout acme");
    let other = member(&broker, "a", "scout other");
    other.ping();
    own.ping();
    let long = "x".repeat(usize::from(u16::MAX) - "$org/acme/".len());
    broker.reconfigure(|settings| settings.limits.client_id_bytes = u16::MAX);
    member(&broker, &long, "scout acme");
    let refused = broker.client(&format!("{long}x")).username("scout acme").refused();
    assert_eq!(refused, R::ClientIdentifierNotValid as u8);
}

#[test]
fn who_connects_too_often_bans_no_namesake() {
    let broker = broker();
    broker.reconfigure(|settings| settings.limits.flapping_connects = 2);
    for number in 0..3_000 {
        member(&broker, &number.to_string(), "scout").disconnect();
    }
    for name in ["scout acme", "scout"] {
        for _ in 0..2 {
            member(&broker, "a", name);
        }
        for _ in 0..2 {
            assert_eq!(broker.client("a").username(name).refused(), R::Banned as u8);
        }
    }
    member(&broker, "a", "scout other");
}

#[test]
fn each_is_told_of_its_own_end() {
    let broker = broker();
    let clients = ["scout acme 60", "scout other 90"].map(|name| member(&broker, "a", name));
    for client in &clients {
        assert_eq!(client.subscribe("$SYS/clients/a/expiring", 1), 1);
        for foreign in ["$SYS/clients/+/expiring", "$SYS/clients/b/expiring", "$SYS/clients/#"] {
            assert_eq!(client.subscribe(foreign, 1), R::NotAuthorized as u8, "{foreign}");
        }
        let refused = client.publish("$SYS/clients/a/expiring", "forged", 1);
        assert_eq!(refused, R::NotAuthorized as u8);
    }
    broker.wait(30);
    assert_eq!(got(&clients[0]), one("$SYS/clients/a/expiring", "30"));
    assert!(got(&clients[1]).is_empty());
    broker.wait(30);
    assert_eq!(got(&clients[1]), one("$SYS/clients/a/expiring", "30"));
}

#[test]
fn who_leaves_an_organisation_takes_nothing_of_it_along() {
    let guarded =
        Guarded::new(InForce { keeps_apart: true, ..InForce::new(Arc::new(Members), None) });
    let broker = Broker::guarded(guarded.clone());
    let eve = broker.returning("eve").username("eve acme").connect();
    let away = broker.returning("away").username("away acme").connect();
    for client in [&eve, &away] {
        client.subscribe("#", 1);
    }
    away.vanish();
    let sender = member(&broker, "s", "scout acme");
    sender.publish("t", "waits", 1);
    assert_eq!(eve.payloads(), ["waits"]);
    guarded.replace(InForce::new(Arc::new(Members), None));
    broker.judge_again();
    member(&broker, "s", "scout acme").publish("t", "together", 1);
    member(&broker, "s2", "scout other").publish("$org/acme/t", "x", 1);
    assert_eq!(eve.closed_with(), R::NotAuthorized as u8);
    let eve = broker.returning("eve").username("eve acme").connect();
    assert!(eve.payloads().is_empty());
    let away = broker.returning("away").username("away acme").connect();
    assert!(away.payloads().is_empty(), "nor what waited");
}

#[test]
fn a_session_is_over_when_its_client_is_of_another_organisation() {
    /// Calls whoever was of acme somebody of another one.
    #[derive(Debug)]
    struct Moved;
    impl Authenticator for Moved {
        fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
            Members.authenticate(credentials)
        }

        fn remembered(
            &self,
            principal: &Principal,
            _: &agentmq_identity::Presence<'_>,
        ) -> Option<Principal> {
            let name = principal.name().unwrap_or_default();
            Some(Principal::verified(name, Claims::of_organization(None)))
        }
    }
    let guarded = Guarded::new(InForce::new(Arc::new(Members), None));
    let broker = Broker::guarded(guarded.clone());
    let eve = broker.returning("eve").username("eve acme").connect();
    guarded.replace(InForce::new(Arc::new(Moved), None));
    broker.judge_again();
    assert_eq!(eve.closed_with(), R::NotAuthorized as u8);
    assert_eq!(broker.memory_of("eve"), None);
}

#[test]
fn a_will_is_not_longer_than_a_topic_can_be() {
    let broker = broker();
    broker.reconfigure(|settings| settings.limits.topic_bytes = u16::MAX);
    let topic = "x".repeat(65_533);
    let refused = broker.client("w").username("scout acme").will(&topic, "x").refused();
    assert_eq!(refused, R::TopicNameInvalid as u8);
}

#[test]
fn answers_come_from_the_own_organisation() {
    let broker = broker();
    let [a, b] = ["a", "b"].map(|id| member(&broker, id, "scout acme"));
    let other = member(&broker, "o", "scout other");
    const REPLY: &str = "$reply/a/0123456789abcdef";
    assert_eq!(a.subscribe("$reply/a/#", 1), 1);
    broker.judge_again();
    assert_eq!(b.subscribe("$reply/a/#", 1), R::NotAuthorized as u8);
    b.subscribe("calls", 1);
    let response = Property::Text(P::ResponseTopic, REPLY);
    a.publishing("calls", "question").qos(1).with(response).send();
    assert_eq!(got(&b), one("calls", "question"));
    other.publish(REPLY, "forged", 1);
    assert_eq!(b.publish(REPLY, "answer", 1), 0);
    assert_eq!(got(&a), one(REPLY, "answer"));
    let namesake = member(&broker, "a", "scout other");
    assert_eq!(namesake.subscribe("$reply/a/#", 1), 1);
    assert_eq!(b.publish(REPLY, "again", 1), 0);
    assert_eq!(other.publish(REPLY, "guessed", 1), R::NotAuthorized as u8, "it has asked nothing");
    assert_eq!((got(&a), got(&namesake)), (one(REPLY, "again"), vec![]));
    let response = Property::Text(P::ResponseTopic, REPLY);
    other.subscribe("calls", 1);
    namesake.publishing("calls", "question").qos(1).with(response).send();
    assert_eq!(other.publish(REPLY, "answer", 1), 0);
    assert_eq!((got(&a), got(&namesake)), (vec![], one(REPLY, "answer")));
}

#[test]
fn what_an_author_may_not_retain_any_more_is_not_served() {
    let guarded = Guarded::new(in_force(true));
    let broker = Broker::guarded(guarded.clone());
    member(&broker, "a", "scout acme").retain("status", "on");
    let late = |id| {
        let late = member(&broker, id, "scout acme");
        late.subscribe("status", 1);
        got(&late)
    };
    assert_eq!(late("b"), one("status", "on"));
    let rules = vec![rule(Effect::Allow, "#"), rule(Effect::Deny, "status")];
    let publishing =
        rules.into_iter().map(|it| Rule { subscribe: it.effect == Effect::Allow, ..it });
    let policy = Some(Policy::new(publishing.collect(), Effect::Deny));
    guarded.replace(InForce { policy, ..in_force(true) });
    broker.judge_again();
    assert!(late("c").is_empty());
}
