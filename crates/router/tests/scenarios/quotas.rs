//! What an organisation with a plan may use, and its clients.

use std::sync::Arc;

use agentmq_agents::Namespaces;
use agentmq_codec::{Property, PropertyId as P, ReasonCode as R};
use agentmq_identity::{
    Authenticator, Claims, Credentials, Effect, Guarded, InForce, Outcome, Pattern, Policy,
    Principal, Rule,
};
use agentmq_quota::{Bounds, Moment, Plan, Plans, Quantity};
use agentmq_router::Quotas;

use crate::harness::{Broker, Client, Connecting, Got};

const QUOTA: u8 = R::QuotaExceeded as u8;
/// Half an hour before midnight, when the clock of the tests stands at 1 000 000.
const EVENING: Moment = Moment { millis: 1_000_000, unix_millis: 1_795_822_200_000 };

/// Believes who says, as the user name, of which organisation he is. The client identifier is his
/// name.
#[derive(Debug, Clone, Copy)]
struct Members;

impl Authenticator for Members {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        let mut claims = Claims::default();
        claims.org_id = credentials.username.map(str::to_owned);
        Outcome::Accepted(Principal::verified(credentials.client_id, claims).into())
    }
}

fn plans(organization: Bounds, client: Bounds) -> Plans {
    let plan = Arc::new(Plan { name: "small".into(), organization, client });
    Plans { of: [("acme".to_owned(), plan)].into(), default: None }
}

fn bound(quantity: Quantity, bound: u64) -> Bounds {
    Bounds::default().with(quantity, bound)
}

/// A broker where `acme` has bounds, and nobody else.
fn broker(organization: Bounds) -> (Broker, Arc<Quotas>) {
    broker_with(plans(organization, Bounds::default()))
}

fn broker_with(plans: Plans) -> (Broker, Arc<Quotas>) {
    let quotas = Arc::new(Quotas::default());
    quotas.accounts.set_clock(EVENING);
    quotas.accounts.replace(plans);
    (Broker::counting_in(&quotas, Members), quotas)
}

fn member<'a>(broker: &Broker, client_id: &'a str) -> Connecting<'a> {
    broker.client(client_id).username("acme")
}

/// Somebody without bounds who gets everything.
fn watcher(broker: &Broker) -> Client {
    let watcher = broker.client("watcher").username("other").connect();
    assert_eq!(watcher.subscribe("#", 2), 2);
    watcher
}

#[test]
fn what_is_over_the_day_s_bound_is_refused_until_the_next_day() {
    let (broker, _) = broker(bound(Quantity::MessagesPerDay, 3));
    let watcher = watcher(&broker);
    let (a, b) = (member(&broker, "a").connect(), member(&broker, "b").connect());
    for level in 0..=2 {
        assert_eq!(a.publish("t", "x", level), 0);
    }
    for level in 1..=2 {
        assert_eq!(b.publish("t", "over", level), QUOTA);
        assert_eq!(
            b.reason(),
            "organisation acme has published its 3 messages of today (plan small): again from \
             2026-11-28T00:00:00Z"
        );
    }
    b.publish("t", "over", 0);
    assert_eq!(watcher.payloads(), ["x"; 3]);
    assert_eq!(broker.counters().publish_refused, 3);
    assert_eq!(watcher.publish("t", "other", 1), 0, "others have what is theirs");
    broker.wait(1_800);
    assert_eq!(b.publish("t", "tomorrow", 2), 0);
    assert_eq!(watcher.payloads(), ["other", "tomorrow"]);
}

/// Before version 5 an acknowledgement cannot say so.
#[test]
fn an_older_client_is_acknowledged_and_not_disconnected() {
    let (broker, _) = broker(bound(Quantity::MessagesPerDay, 1));
    let watcher = watcher(&broker);
    let client = member(&broker, "a").v311().connect();
    for level in [1, 0, 1, 2] {
        assert_eq!(client.publish("t", "x", level), 0);
    }
    client.ping();
    assert_eq!(client.packets(), [Got::PingResp]);
    assert_eq!(watcher.payloads(), ["x"]);
}

#[test]
fn a_second_has_its_bound_too() {
    let bounds = bound(Quantity::MessagesPerSecond, 2).with(Quantity::BytesPerSecond, 10);
    let (broker, _) = broker(bounds);
    let _watcher = watcher(&broker);
    let client = member(&broker, "a").connect();
    assert_eq!([1, 1, 1].map(|level| client.publish("t", "x", level)), [0, 0, QUOTA]);
    assert!(client.reason().contains("publishes more than 2 messages a second"));
    broker.wait(1);
    assert_eq!(client.publish("t", "0123456789", 1), 0);
    assert_eq!(client.publish("t", "0", 1), QUOTA);
    assert!(client.reason().contains("publishes more than 10 bytes a second"));
}

#[test]
fn what_the_rules_refuse_is_not_counted() {
    let topics = vec![Pattern::parse("open/#").expect("a pattern")];
    let rule = Rule { effect: Effect::Allow, topics, ..Rule::default() };
    let policy = Policy::new(vec![rule], Effect::Deny);
    let quotas = Arc::new(Quotas::default());
    quotas.accounts.replace(plans(bound(Quantity::MessagesPerDay, 1), Bounds::default()));
    let guarded = Guarded::new(InForce::new(Arc::new(Members), Some(policy)));
    let broker = Broker::counting_in(&quotas, guarded);
    let client = member(&broker, "a").connect();
    assert_eq!(client.publish("secret", "x", 1), R::NotAuthorized as u8);
    assert_eq!(client.publish("open/a", "x", 1), R::NoMatchingSubscribers as u8);
    assert_eq!(client.publish("open/a", "x", 1), QUOTA);
}

#[test]
fn a_client_s_own_bound_holds_for_its_identifier() {
    let of_client = bound(Quantity::MessagesPerDay, 2).with(Quantity::Subscriptions, 1);
    let (broker, _) = broker_with(plans(Bounds::default(), of_client));
    let client = member(&broker, "a").connect();
    assert_eq!(client.subscribe("t", 1), 1);
    assert_eq!(client.subscribe("u", 1), QUOTA);
    assert!(client.reason().starts_with("this client has its 1 subscriptions already"));
    assert_eq!([1, 1, 1].map(|level| client.publish("t", "x", level)), [0, 0, QUOTA]);
    client.disconnect();
    let again = member(&broker, "a").connect();
    assert_eq!(again.publish("t", "x", 1), QUOTA, "a clean start is no new day");
    let other = member(&broker, "b").connect();
    assert_eq!(other.subscribe("t", 0), 0);
    assert_eq!(other.publish("t", "x", 1), 0);
}

#[test]
fn sessions_are_counted_as_long_as_they_wait() {
    let (broker, _) = broker(bound(Quantity::Sessions, 2));
    let lasting = |id| member(&broker, id).resuming().expiry(60);
    for id in ["a", "b"] {
        lasting(id).connect().vanish();
    }
    assert_eq!(lasting("c").refused(), QUOTA);
    assert_eq!(member(&broker, "").refused(), QUOTA, "whatever it is called");
    lasting("a").connect().vanish();
    broker.client("x").username("other").connect();
    broker.wait(61);
    lasting("c").connect();
}

#[test]
fn connections_are_counted_while_they_last() {
    let (broker, _) = broker(bound(Quantity::Connections, 2));
    let a = member(&broker, "a").connect();
    let _b = member(&broker, "b").expiry(100).connect();
    assert_eq!(member(&broker, "c").refused(), QUOTA);
    assert_eq!(broker.client("d").username("other").connect().packets(), []);
    a.stall(); // its socket stays until it has read why it is closed
    let again = member(&broker, "a").connect();
    again.stall();
    again.evict(R::ServerBusy);
    let c = member(&broker, "c").connect();
    a.unstall();
    assert_eq!(a.closed_with(), R::SessionTakenOver as u8, "who comes again takes its own place");
    assert_eq!(member(&broker, "a").refused(), QUOTA);
    c.vanish();
    // One that is refused for another reason has taken none.
    let refused = member(&broker, "a").maximum_packet_size(5).refused();
    assert_eq!(refused, R::PacketTooLarge as u8);
    let _a = member(&broker, "a").connect();
    assert_eq!(member(&broker, "c").refused(), QUOTA);
}

#[test]
fn subscriptions_are_counted_as_long_as_their_sessions_have_them() {
    let (broker, quotas) = broker(bound(Quantity::Subscriptions, 3));
    let a = member(&broker, "a").expiry(100).connect();
    let b = member(&broker, "b").connect();
    assert_eq!((a.subscribe("x", 1), a.subscribe("$share/g/y", 1)), (1, 1));
    assert_eq!((b.subscribe("x", 1), b.subscribe("y", 1)), (1, QUOTA));
    assert_eq!(
        b.reason(),
        "organisation acme has its 3 subscriptions already (plan small): unsubscribe from some, or \
         use a wildcard"
    );
    assert_eq!(a.subscribe("x", 0), 0, "it has this one");
    a.vanish();
    assert_eq!(b.subscribe("y", 1), QUOTA, "the session goes on");
    assert_eq!(b.unsubscribe("x"), 0);
    assert_eq!(b.subscribe("y", 1), 1);
    broker.wait(100);
    let account = quotas.accounts.of("acme").expect("has room").expect("has a plan");
    assert_eq!(account.held(Quantity::Subscriptions), 1, "the session is over");
    assert_eq!(b.subscribe("z", 1), 1);
}

#[test]
fn a_retained_message_more_than_there_may_be_is_delivered_only() {
    let (broker, _) = broker(bound(Quantity::RetainedMessages, 2));
    let watcher = watcher(&broker);
    let client = member(&broker, "a").connect();
    let retain = |topic: &str, payload: &str| {
        let id = client.publishing(topic, payload).qos(1).retain().send();
        match client.next() {
            Some(Got::PubAck(of, code)) if of == id => code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([retain("a", "1"), retain("b", "1"), retain("a", "2")], [0; 3]);
    assert_eq!(retain("c", "3"), QUOTA);
    assert!(client.reason().starts_with("delivered but not retained"));
    assert_eq!(retain("a", ""), 0);
    assert_eq!(retain("c", "4"), 0, "one has made room");
    // Somebody else's message takes its place, and counts for him.
    watcher.retain("c", "5");
    assert_eq!(retain("d", "6"), 0);
    let late = broker.client("late").username("other").connect();
    late.subscribe("#", 0);
    assert_eq!(late.payloads(), ["1", "5", "6"]);
    assert_eq!(watcher.payloads(), ["1", "1", "2", "3", "", "4", "5", "6"]);
    // One that expires makes room too.
    client.publishing("d", "7").qos(1).retain().expiry(10).send();
    broker.wait(12);
    assert_eq!(client.packets().len(), 1);
    assert_eq!(retain("e", "8"), 0);
}

#[test]
fn a_retained_message_that_the_broker_has_no_room_for_counts_for_nobody() {
    let (broker, quotas) = broker(Bounds::default());
    let client = member(&broker, "a").connect();
    client.retain("t", "x");
    let account = quotas.accounts.of("acme").expect("has room").expect("has a plan");
    assert_eq!(account.held(Quantity::RetainedMessages), 1);
    broker.reconfigure(|settings| settings.limits.retained_bytes = 1);
    client.retain("t", "larger");
    assert_eq!(broker.counters().retained_now, 0);
    assert_eq!(account.held(Quantity::RetainedMessages), 0);
}

#[test]
fn what_waits_for_absent_clients_is_bounded_together() {
    let (broker, quotas) = broker(Bounds::default());
    for name in ["a", "b"] {
        let client = member(&broker, name).expiry(100).connect();
        client.subscribe("t", 1);
        client.vanish();
    }
    let sender = broker.client("sender").username("other").connect();
    sender.publish("t", "1", 1);
    let account = quotas.accounts.of("acme").expect("has room").expect("has a plan");
    let one = account.held(Quantity::QueueBytes) / 2;
    assert!(one > 0);
    quotas.accounts.replace(plans(bound(Quantity::QueueBytes, 3 * one), Bounds::default()));
    for payload in ["2", "3"] {
        sender.publish("t", payload, 1);
    }
    assert_eq!(account.held(Quantity::QueueBytes), 3 * one);
    assert_eq!(broker.counters().dropped_queue_full, 3, "the oldest of each, where it did not fit");
    let a = member(&broker, "a").resuming().expiry(100).connect();
    assert_eq!(a.payloads().last().map(String::as_str), Some("3"));
    let b = member(&broker, "b").connect();
    assert_eq!(b.payloads(), [] as [&str; 0], "a clean start");
    assert_eq!(account.held(Quantity::QueueBytes), 0);
}

#[test]
fn a_will_counts_as_a_publication() {
    let (broker, _) = broker(bound(Quantity::MessagesPerDay, 1));
    let watcher = watcher(&broker);
    for _ in 0..3 {
        member(&broker, "a").will("t", "will").connect().vanish();
    }
    assert_eq!(watcher.payloads(), ["will"]);
}

#[test]
fn a_plan_holds_at_once_for_who_is_there() {
    let (broker, quotas) = broker_with(Plans::default());
    let client = member(&broker, "a").connect();
    client.subscribe("t", 0);
    let absent = member(&broker, "absent").expiry(100).connect();
    absent.subscribe("t", 0);
    absent.vanish();
    assert_eq!(client.publish("t", "x", 1), 0);
    let bounds = bound(Quantity::MessagesPerDay, 1)
        .with(Quantity::Connections, 1)
        .with(Quantity::Subscriptions, 2);
    quotas.accounts.replace(plans(bounds, Bounds::default()));
    broker.judge_again();
    assert_eq!(member(&broker, "b").refused(), QUOTA, "who is there counts");
    assert_eq!(client.subscribe("u", 0), QUOTA, "and who is away, too");
    assert_eq!([1, 1].map(|level| client.publish("t", "x", level)), [0, QUOTA]);
    quotas.accounts.replace(Plans::default());
    assert_eq!(client.publish("t", "x", 1), 0, "it is another one before anybody is judged");
    broker.judge_again();
    assert_eq!((client.publish("t", "x", 1), client.subscribe("u", 0)), (0, 0));
    quotas.accounts.replace(plans(bound(Quantity::MessagesPerDay, 2), Bounds::default()));
    broker.judge_again();
    let publications = [1, 1].map(|level| client.publish("t", "x", level));
    assert_eq!(publications, [QUOTA; 2], "today's are not given back");
}

#[test]
fn a_call_is_refused_by_an_answer() {
    let (broker, _) = broker(bound(Quantity::MessagesPerDay, 0));
    broker.reconfigure(|settings| {
        settings.agents.namespaces = Namespaces::new(&["lab"]).unwrap();
    });
    let client = member(&broker, "a").connect();
    client.subscribe("answers", 1);
    let id = client
        .publishing("lab/mcp/tools/echo/call", "{}")
        .qos(1)
        .with(Property::Text(P::ResponseTopic, "answers"))
        .with(Property::Binary(P::CorrelationData, b"7"))
        .send();
    let packets = client.packets();
    assert!(packets.contains(&Got::PubAck(id, 0)), "{packets:?}");
    let answers: Vec<_> = packets.iter().filter(|it| matches!(it, Got::Publish(_))).collect();
    let Some(Got::Publish(answer)) = answers.first() else { panic!("no answer") };
    assert!(answer.payload.contains("\"type\":\"quota_exceeded\""), "{}", answer.payload);
    assert!(answer.payload.contains("again from 2026-11-28"), "{}", answer.payload);
}

#[test]
fn numbers_of_each_organisation_are_told_and_cleared() {
    let bounds = bound(Quantity::MessagesPerDay, 2).with(Quantity::Connections, 5);
    let (broker, quotas) = broker(bounds);
    let client = member(&broker, "a").connect();
    client.subscribe("t", 0);
    assert_eq!([1, 1, 1].map(|level| client.publish("t", "abc", level)), [0, 0, QUOTA]);
    let reader = broker.client("reader").username("other").connect();
    reader.subscribe("$SYS/organizations/#", 0);
    broker.publish_sys();
    let told = |reader: &Client| -> Vec<String> {
        let messages = reader.messages().into_iter();
        messages
            .map(|it| format!("{} {}", &it.topic["$SYS/organizations/".len()..], it.payload))
            .collect()
    };
    assert_eq!(
        told(&reader),
        [
            "acme/plan small",
            "acme/messages/today 2",
            "acme/messages/day/limit 2",
            "acme/bytes/today 6",
            "acme/connections 1",
            "acme/sessions 1",
            "acme/subscriptions 1",
            "acme/retained/messages 0",
            "acme/queues/bytes 0",
            "acme/refused 1",
        ]
    );
    broker.publish_sys();
    assert_eq!(told(&reader), [] as [&str; 0], "nothing has changed");
    client.unsubscribe("t");
    quotas.accounts.replace(plans(Bounds::default(), Bounds::default()));
    broker.publish_sys();
    assert_eq!(told(&reader), ["acme/messages/day/limit ", "acme/subscriptions 0"]);
    quotas.accounts.replace(Plans::default());
    broker.publish_sys();
    assert_eq!(told(&reader).len(), 9, "all that were there are cleared");
    let late = broker.client("late").username("other").connect();
    late.subscribe("$SYS/organizations/#", 0);
    assert_eq!(late.packets(), []);
}
