//! Shared subscriptions (§4.8.2).

use agentmq_codec::{AckKind, QoS, ReasonCode, SubscriptionOptions};
use agentmq_router::ShareStrategy;

use crate::harness::{Broker, Client};

/// Two members of `$share/g/t`, both with sessions, and a publisher.
fn pair(broker: &Broker) -> (Client, Client, Client) {
    let a = broker.returning("a").by_hand().connect();
    let b = broker.returning("b").by_hand().connect();
    a.subscribe("$share/g/t", 2);
    b.subscribe("$share/g/t", 2);
    (a, b, broker.connect("publisher"))
}

#[test]
fn each_message_goes_to_one_member() {
    let broker = Broker::new();
    let (a, b, publisher) = pair(&broker);
    for _ in 0..6 {
        publisher.publish("t", "x", 0);
    }
    assert_eq!((a.messages().len(), b.messages().len()), (3, 3));
}

#[test]
fn several_groups_and_an_ordinary_twin_each_get_a_copy() {
    let broker = Broker::new();
    let client = broker.connect("client");
    for filter in ["$share/g/t", "$share/h/t", "$share/g/+", "t"] {
        client.subscribe(filter, 0);
    }
    broker.connect("publisher").publish("t", "x", 0);
    assert_eq!(client.messages().len(), 4);
}

#[test]
fn the_qos_granted_is_kept() {
    let broker = Broker::new();
    let member = broker.connect("member");
    member.subscribe("$share/g/t", 1);
    let publisher = broker.connect("publisher");
    let got: Vec<_> = (0..3)
        .map(|level| {
            publisher.publish("t", "x", level);
            member.message().qos
        })
        .collect();
    assert_eq!(got, [0, 1, 1]);
}

#[test]
fn no_local_is_a_protocol_error() {
    // [MQTT-3.8.3-4]
    let broker = Broker::new();
    let client = broker.connect("client");
    let options =
        SubscriptionOptions { no_local: true, ..SubscriptionOptions::at(QoS::AtMostOnce) };
    client.send_subscribe(&[("$share/g/t", options)], None);
    assert_eq!(client.closed_with(), 0x82);
}

#[test]
fn malformed_groups_are_refused() {
    // [MQTT-4.8.2-1, -2]
    let client = Broker::new().connect("client");
    for filter in ["$share/g", "$share/g/", "$share//t", "$share/+/t", "$share/#/t", "$share/"] {
        assert_eq!(client.subscribe(filter, 0), 0x8F, "{filter}");
    }
}

#[test]
fn a_leading_wildcard_misses_dollar_topics() {
    // [MQTT-4.7.2-1]
    let broker = Broker::new();
    let member = broker.connect("member");
    member.subscribe("$share/g/#", 0);
    let publisher = broker.connect("publisher");
    publisher.publish("$a2a/x", "x", 0);
    assert!(member.messages().is_empty());
    publisher.publish("data/x", "x", 0);
    assert_eq!(member.messages().len(), 1);
}

#[test]
fn unsubscribing_names_the_whole_string() {
    let broker = Broker::new();
    let member = broker.connect("member");
    member.subscribe("$share/g/t", 0);
    assert_eq!(member.unsubscribe("t"), 0x11);
    assert_eq!(member.unsubscribe("$share/h/t"), 0x11);
    assert_eq!(member.unsubscribe("$share/g/t"), 0);
    assert_eq!(member.unsubscribe("$share/g/t"), 0x11);
    broker.connect("publisher").publish("t", "x", 0);
    assert!(member.messages().is_empty());
    assert_eq!(broker.counters().subscriptions_now, 0);
}

#[test]
fn the_same_filter_again_replaces_options_and_identifier() {
    // [MQTT-3.8.4-3] applies to shared ones by §4.8.2
    let broker = Broker::new();
    let member = broker.connect("member");
    member.subscribe_as("$share/g/t", SubscriptionOptions::at(QoS::AtMostOnce), Some(1));
    member.subscribe_as("$share/g/t", SubscriptionOptions::at(QoS::AtLeastOnce), Some(2));
    assert_eq!(broker.counters().subscriptions_now, 1);
    broker.connect("publisher").publish("t", "x", 1);
    let message = member.message();
    assert_eq!((message.qos, message.identifiers()), (1, vec![2]));
}

#[test]
fn absent_members_are_passed_over() {
    let broker = Broker::new();
    let (a, b, publisher) = pair(&broker);
    a.disconnect();
    for _ in 0..4 {
        publisher.publish("t", "x", 1);
    }
    assert_eq!(b.messages().len(), 4);
}

#[test]
fn qos_1_not_acknowledged_goes_to_another_member() {
    // §4.8.2
    let broker = Broker::new();
    let (a, b, publisher) = pair(&broker);
    publisher.publish("t", "1", 1);
    publisher.publish("t", "2", 1);
    assert_eq!((a.payloads(), b.payloads()), (vec!["1".into()], vec!["2".into()]));
    a.vanish();
    let again = b.message();
    assert_eq!((again.payload.as_str(), again.dup), ("1", false), "new to this receiver");
    assert_eq!(broker.counters().shared_rerouted, 1);
    let a = broker.returning("a").connect();
    assert!(a.messages().is_empty(), "not twice");
}

#[test]
fn qos_2_once_sent_is_completed_with_its_member() {
    // [MQTT-4.8.2-4]
    let broker = Broker::new();
    let (a, b, publisher) = pair(&broker);
    publisher.publish("t", "1", 2);
    assert_eq!(a.payloads(), ["1"]);
    a.vanish();
    assert!(b.messages().is_empty());
    let a = broker.returning("a").connect();
    let again = a.message();
    assert_eq!((again.payload.as_str(), again.dup), ("1", true));
}

#[test]
fn qos_2_once_sent_goes_to_nobody_else_when_its_session_ends() {
    // [MQTT-4.8.2-5]
    let broker = Broker::new();
    let (a, b, publisher) = pair(&broker);
    publisher.publish("t", "sent", 2);
    a.vanish();
    broker.connect("a");
    assert!(b.messages().is_empty());
}

#[test]
fn qos_2_not_sent_yet_goes_to_another_member() {
    let broker = Broker::new();
    let a = broker.returning("a").by_hand().receive_maximum(1).connect();
    a.subscribe("$share/g/t", 2);
    let publisher = broker.connect("publisher");
    publisher.publish("t", "sent", 2);
    publisher.publish("t", "waits", 2);
    let b = broker.returning("b").connect();
    b.subscribe("$share/g/t", 2);
    assert!(b.messages().is_empty(), "its member is here");
    a.vanish();
    assert_eq!(b.payloads(), ["waits"]);
}

#[test]
fn a_refused_message_goes_to_nobody_else() {
    // [MQTT-4.8.2-6]
    let broker = Broker::new();
    let (a, b, publisher) = pair(&broker);
    publisher.publish("t", "1", 1);
    let id = a.message().id;
    a.ack(AckKind::PubAck, id, ReasonCode::UnspecifiedError);
    a.vanish();
    assert!(b.messages().is_empty());
}

#[test]
fn when_all_are_absent_it_waits_for_the_first_to_come() {
    let broker = Broker::new();
    let (a, b, publisher) = pair(&broker);
    a.disconnect();
    b.disconnect();
    for payload in ["1", "2", "3", "4"] {
        publisher.publish("t", payload, 1);
    }
    publisher.publish("t", "qos 0 waits for nobody", 0);
    let b = broker.returning("b").connect();
    let mut got = b.payloads();
    got.sort();
    assert_eq!(got, ["1", "2", "3", "4"], "also what the other one's queue held");
    let a = broker.returning("a").connect();
    assert!(a.messages().is_empty());
}

#[test]
fn a_new_member_takes_over_what_waits_for_absent_ones() {
    let broker = Broker::new();
    let (a, b, publisher) = pair(&broker);
    a.disconnect();
    b.disconnect();
    publisher.publish("t", "1", 1);
    publisher.publish("t", "2", 1);
    let c = broker.connect("c");
    c.subscribe("$share/g/t", 1);
    let mut got = c.payloads();
    got.sort();
    assert_eq!(got, ["1", "2"]);
}

#[test]
fn a_message_too_large_for_one_member_goes_to_another() {
    // [MQTT-3.1.2-24, -25]
    let broker = Broker::new();
    let small = broker.client("small").maximum_packet_size(60).connect();
    small.subscribe("$share/g/t", 1);
    let large = broker.connect("large");
    large.subscribe("$share/g/t", 1);
    let publisher = broker.connect("publisher");
    for len in 40..60 {
        publisher.publish("t", &"x".repeat(len), 1);
    }
    let total = small.messages().len() + large.messages().len();
    assert_eq!(total, 20, "none is lost for want of a few bytes");
}

#[test]
fn an_absent_member_with_qos_0_is_no_place_to_wait() {
    let broker = Broker::new();
    let a = broker.returning("a").connect();
    a.subscribe("$share/g/t", 0);
    let b = broker.returning("b").connect();
    b.subscribe("$share/g/t", 1);
    a.disconnect();
    b.disconnect();
    let publisher = broker.connect("publisher");
    for payload in ["1", "2"] {
        publisher.publish("t", payload, 1);
    }
    assert_eq!(broker.returning("b").connect().payloads(), ["1", "2"]);
}

#[test]
fn a_full_window_is_passed_over_while_another_member_has_room() {
    let broker = Broker::new();
    let slow = broker.client("slow").by_hand().receive_maximum(1).connect();
    slow.subscribe("$share/g/t", 1);
    let quick = broker.connect("quick");
    quick.subscribe("$share/g/t", 1);
    let publisher = broker.connect("publisher");
    for _ in 0..6 {
        publisher.publish("t", "x", 1);
    }
    let first = slow.message();
    assert_eq!(quick.messages().len(), 5);
    assert_eq!(broker.memory_of("slow"), Some((1, 0, 0)), "nothing waits behind its window");
    slow.puback(first.id);
    publisher.publish("t", "x", 1);
    publisher.publish("t", "x", 1);
    assert_eq!((slow.messages().len(), quick.messages().len()), (1, 1), "its turn is back");
}

#[test]
fn when_all_windows_are_full_messages_wait_in_turn() {
    let broker = Broker::new();
    let members = ["a", "b"].map(|id| broker.client(id).by_hand().receive_maximum(1).connect());
    for member in &members {
        member.subscribe("$share/g/t", 1);
    }
    let publisher = broker.connect("publisher");
    for _ in 0..6 {
        publisher.publish("t", "x", 1);
    }
    for id in ["a", "b"] {
        assert_eq!(broker.memory_of(id), Some((1, 2, 0)));
    }
}

#[test]
fn who_does_not_read_is_passed_over_while_another_member_reads() {
    let broker = Broker::with(|settings| settings.limits.outbox_bytes = 1_000);
    let (stalled, reads) = (broker.connect("stalled"), broker.connect("reads"));
    for member in [&stalled, &reads] {
        member.subscribe("$share/g/t", 0);
    }
    stalled.stall();
    let publisher = broker.connect("publisher");
    for _ in 0..10 {
        publisher.publish("t", &"x".repeat(600), 0);
    }
    stalled.unstall();
    assert_eq!((stalled.messages().len(), reads.messages().len()), (2, 8));
    assert_eq!(broker.counters().dropped_slow_consumer, 0);
}

#[test]
fn a_strategy_with_affinity_waits_for_its_member() {
    let broker = Broker::with(|settings| settings.share_strategy = ShareStrategy::Sticky);
    let a = broker.client("a").by_hand().receive_maximum(1).connect();
    let b = broker.connect("b");
    for member in [&a, &b] {
        member.subscribe("$share/g/t", 1);
    }
    let publisher = broker.connect("publisher");
    for _ in 0..3 {
        publisher.publish("t", "x", 1);
    }
    assert_eq!((a.messages().len(), b.messages().len()), (1, 0));
    assert_eq!(broker.memory_of("a"), Some((1, 2, 0)));
}

#[test]
fn strategies_choose() {
    let broker = Broker::with(|settings| {
        settings.share_strategies.insert("h".into(), ShareStrategy::HashTopic);
    });
    let members: Vec<_> = ["a", "b", "c"].map(|id| broker.connect(id)).into();
    for member in &members {
        member.subscribe("$share/h/+", 0);
    }
    let publisher = broker.connect("publisher");
    for _ in 0..5 {
        publisher.publish("x", "same topic, same member", 0);
    }
    let mut counts: Vec<_> = members.iter().map(|member| member.messages().len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 5]);
}

#[test]
fn groups_leave_nothing_behind() {
    let broker = Broker::new();
    for _ in 0..3 {
        let a = broker.connect("a");
        a.subscribe("$share/g/t", 1);
        a.subscribe("$share/g/+/#", 1);
        a.vanish();
    }
    assert_eq!(broker.counters().subscriptions_now, 0);
    assert_eq!(broker.connect("p").publish("t", "x", 1), 0x10);
}
