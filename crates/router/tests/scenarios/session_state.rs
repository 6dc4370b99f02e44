//! What a resumed session brings along (§4.1, §4.4).

use agentmq_codec::{Property, PropertyId as P, ProtocolVersion};

use crate::harness::{Broker, Got};

#[test]
fn session_present_tells_the_truth() {
    // [MQTT-3.2.2-2, -3]
    let broker = Broker::new();
    let (client, present) = broker.returning("a").connect_present();
    assert!(!present, "there was none");
    client.disconnect();
    assert!(broker.returning("a").connect_present().1);
    assert!(!broker.client("a").connect_present().1, "a clean start");
}

#[test]
fn messages_wait_for_an_absent_client_in_their_order() {
    let broker = Broker::new();
    let client = broker.returning("a").connect();
    client.subscribe("t", 2);
    client.disconnect();
    let publisher = broker.connect("p");
    for (payload, level) in [("1", 1), ("2", 2), ("lost", 0), ("3", 1)] {
        publisher.publish("t", payload, level);
    }
    let client = broker.returning("a").connect();
    assert_eq!(client.payloads(), ["1", "2", "3"]);
    assert_eq!(broker.memory_of("a"), Some((0, 0, 0)));
}

#[test]
fn unacknowledged_publishes_come_first_then_pubrels_then_what_waited() {
    // [MQTT-4.4.0-1, 4.6.0-1, 4.6.0-4]
    let broker = Broker::new();
    let client = broker.returning("a").by_hand().connect();
    client.subscribe("t", 2);
    let publisher = broker.connect("p");
    for (payload, level) in [("1", 1), ("2", 2), ("3", 2), ("4", 1), ("5", 2)] {
        publisher.publish("t", payload, level);
    }
    let ids: Vec<_> = client.messages().iter().map(|message| message.id).collect();
    client.pubrec(ids[2]);
    client.pubrec(ids[1]);
    client.vanish();
    publisher.publish("t", "6", 1);
    let client = broker.returning("a").by_hand().connect();
    let seen: Vec<_> = client
        .packets()
        .into_iter()
        .map(|got| match got {
            Got::Publish(it) => (it.payload, it.id, it.dup),
            Got::PubRel(id, 0) => ("pubrel".into(), id, false),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("1", ids[0], true),
        ("4", ids[3], true),
        ("5", ids[4], true),
        ("pubrel", ids[2], false),
        ("pubrel", ids[1], false),
        ("6", ids[4] + 1, false),
    ];
    assert_eq!(seen, expected.map(|(payload, id, dup)| (payload.to_string(), id, dup)));
}

#[test]
fn nothing_is_sent_again_on_a_live_connection() {
    // [MQTT-4.4.0-1]
    let broker = Broker::new();
    let client = broker.returning("a").by_hand().connect();
    client.subscribe("t", 2);
    broker.connect("p").publish("t", "x", 2);
    assert_eq!(client.messages().len(), 1);
    broker.sleep(100_000);
    client.ping();
    assert_eq!(client.packets(), [Got::PingResp]);
}

#[test]
fn subscriptions_and_identifiers_stay() {
    let broker = Broker::new();
    let client = broker.returning("a").connect();
    client.subscribe_as("t", agentmq_codec::SubscriptionOptions::default(), Some(9));
    client.disconnect();
    let client = broker.returning("a").connect();
    broker.connect("p").publish("t", "x", 0);
    assert_eq!(client.message().identifiers(), [9]);
}

#[test]
fn a_session_changes_its_version_with_its_client() {
    let broker = Broker::new();
    let client = broker.client("a").v311().resuming().by_hand().connect();
    client.subscribe("t", 1);
    let publisher = broker.connect("p");
    publisher.publish("t", "1", 1);
    client.vanish();
    publisher.publish("t", "2", 1);
    assert_eq!(broker.returning("a").by_hand().connect().payloads(), ["1", "2"]);
    let old = broker.client("a").version(ProtocolVersion::V31).resuming().connect();
    assert_eq!(old.payloads(), ["1", "2"]);
}

#[test]
fn the_oldest_make_room_in_a_full_queue_and_are_counted() {
    let broker = Broker::with(|settings| settings.limits.queue_messages = 2);
    let client = broker.returning("a").connect();
    client.subscribe("t", 1);
    client.disconnect();
    let publisher = broker.connect("p");
    for payload in ["1", "2", "3"] {
        publisher.publish("t", payload, 1);
    }
    assert_eq!(broker.counters().dropped_queue_full, 1);
    assert_eq!(broker.returning("a").connect().payloads(), ["2", "3"]);
}

/// What a CONNACK tells of messages that the queue has lost.
fn told_dropped(connack: Option<Got>) -> Option<String> {
    let Some(Got::ConnAck { code: 0, properties, .. }) = connack else { panic!("CONNACK") };
    let pair = |property| match property {
        Property::Pair("dropped-messages", count) => Some(count.to_owned()),
        _ => None,
    };
    properties.view().iter().find_map(pair)
}

#[test]
fn a_returning_client_is_told_once_how_many_were_dropped() {
    let broker = Broker::with(|settings| settings.limits.queue_messages = 2);
    let client = broker.returning("a").attempt();
    assert_eq!(told_dropped(client.next()), None);
    client.subscribe("t", 1);
    client.vanish();
    let publisher = broker.connect("p");
    for payload in 0..7 {
        publisher.publish("t", &payload.to_string(), 1);
    }
    broker.returning("a").v311().connect_present().0.vanish(); // cannot be told
    let wanted = Property::Byte(P::RequestProblemInformation, 0);
    let small = broker.returning("a").maximum_packet_size(40).attempt();
    assert_eq!(told_dropped(small.next()), None, "there is no room [MQTT-3.2.2-20]");
    small.vanish();
    let client = broker.returning("a").with(wanted).attempt();
    assert_eq!(told_dropped(client.next()).as_deref(), Some("5"), "[MQTT-3.1.2-29] allows it");
    client.vanish();
    assert_eq!(told_dropped(broker.returning("a").attempt().next()), None);
}

#[test]
fn expired_ones_make_room_first() {
    let broker = Broker::with(|settings| settings.limits.queue_messages = 2);
    let client = broker.returning("a").connect();
    client.subscribe("t", 1);
    client.vanish();
    let publisher = broker.connect("p");
    publisher.publish("t", "1", 1);
    publisher.publishing("t", "2").qos(1).expiry(5).send();
    broker.wait(6);
    publisher.publish("t", "3", 1);
    let counters = broker.counters();
    assert_eq!((counters.dropped_queue_full, counters.dropped_expired), (0, 1));
    let client = broker.returning("a").attempt();
    assert_eq!(told_dropped(client.next()), None, "an expired message is not lost");
    assert_eq!(client.payloads(), ["1", "3"]);
}

#[test]
fn qos_0_waits_only_where_the_settings_say_so() {
    let broker = Broker::with(|settings| settings.queue_qos0 = true);
    let client = broker.returning("a").connect();
    client.subscribe("t", 1);
    client.disconnect();
    broker.connect("p").publish("t", "0", 0);
    assert_eq!(broker.returning("a").connect().payloads(), ["0"]);
}

#[test]
fn qos_0_that_waits_already_stays_only_where_the_settings_say_so() {
    for (queue_qos0, expected) in [(true, vec!["0".to_owned()]), (false, vec![])] {
        let broker = Broker::with(|settings| {
            (settings.queue_qos0, settings.hold_on_resume_ms) = (queue_qos0, 1_000);
        });
        let client = broker.returning("a").connect();
        client.subscribe("t", 1);
        client.vanish();
        let client = broker.returning("a").connect();
        broker.connect("p").publish("t", "0", 0);
        client.vanish(); // before the hold is over
        let client = broker.returning("a").connect();
        broker.wait(1);
        assert_eq!(client.payloads(), expected);
    }
}

#[test]
fn a_number_used_again_is_another_session() {
    // Sessions and connections have numbers that are given again.
    let broker = Broker::new();
    for round in 0..20 {
        let client_id = format!("client {round}");
        let client = broker.connect(&client_id);
        assert_eq!(broker.connect("p").publish("t", "x", 1), 0x10, "nobody subscribes");
        assert!(client.messages().is_empty());
        client.subscribe("t", 1);
        client.vanish();
    }
}
