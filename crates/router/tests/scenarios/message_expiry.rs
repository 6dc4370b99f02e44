//! Message Expiry Interval (§3.3.2.3.3).

use crate::harness::Broker;

#[test]
fn what_waited_too_long_is_not_sent() {
    // [MQTT-3.3.2-5]
    let broker = Broker::new();
    let client = broker.returning("a").connect();
    client.subscribe("t", 1);
    client.disconnect();
    let publisher = broker.connect("b");
    publisher.publishing("t", "short").qos(1).expiry(5).send();
    publisher.publishing("t", "long").qos(1).expiry(50).send();
    publisher.publish("t", "for ever", 1);
    broker.wait(20);
    let messages = broker.returning("a").connect().messages();
    let seen: Vec<_> = messages.iter().map(|it| (it.payload.as_str(), it.expiry())).collect();
    assert_eq!(seen, [("long", Some(30)), ("for ever", None)], "what remains [MQTT-3.3.2-6]");
    assert_eq!(broker.counters().dropped_expired, 1);
}

#[test]
fn at_once_it_goes_as_it_came() {
    let broker = Broker::new();
    let client = broker.connect("a");
    client.subscribe("t", 1);
    broker.connect("b").publishing("t", "x").expiry(5).send();
    assert_eq!(client.message().expiry(), Some(5));
}

#[test]
fn what_expires_behind_a_full_window_goes_too() {
    let broker = Broker::new();
    let client = broker.client("a").by_hand().receive_maximum(1).connect();
    client.subscribe("t", 1);
    let publisher = broker.connect("b");
    publisher.publish("t", "1", 1);
    publisher.publishing("t", "2").qos(1).expiry(5).send();
    publisher.publish("t", "3", 1);
    broker.wait(5);
    client.puback(client.message().id);
    assert_eq!(client.payloads(), ["3"]);
}

#[test]
fn what_was_sent_before_it_expired_is_sent_again() {
    // [MQTT-3.3.2-5] deletes only what has not begun its way
    let broker = Broker::new();
    let client = broker.returning("a").by_hand().connect();
    client.subscribe("t", 1);
    broker.connect("b").publishing("t", "x").qos(1).expiry(5).send();
    client.vanish();
    broker.wait(60);
    let again = broker.returning("a").connect().message();
    assert_eq!((again.dup, again.expiry()), (true, Some(0)));
}

#[test]
fn an_expired_message_goes_to_no_other_member_of_its_group() {
    let broker = Broker::new();
    let a = broker.returning("a").by_hand().connect();
    a.subscribe("$share/g/t", 1);
    broker.connect("p").publishing("t", "x").qos(1).expiry(5).send();
    let b = broker.connect("b");
    b.subscribe("$share/g/t", 1);
    broker.wait(5);
    a.vanish();
    assert!(b.messages().is_empty());
}
