//! Reason Strings of acknowledgements: who is refused reads cause and fix.

use agentmq_codec::{AckKind, Property, PropertyId as P, QoS, ReasonCode, SubscriptionOptions};

use crate::harness::{Broker, Client, Connecting, Got};

#[test]
fn puback_and_pubrec_say_why_a_publication_is_refused() {
    // §3.4.2.2.2, §3.5.2.2.2
    let client = Broker::new().connect("a");
    for level in [1, 2] {
        assert_eq!(client.publish("$SYS/x", "x", level), 0x87);
        assert!(client.reason().contains("below $SYS are the broker's own"));
    }
    client.publish("t", "x", 1);
    client.publish("t", "x", 2);
    assert!(client.reasons().is_empty(), "there is nothing to explain");
}

#[test]
fn connack_says_why_a_will_is_refused() {
    let client = Broker::new().client("a").will("$SYS/x", "gone").attempt();
    let Some(Got::ConnAck { code: 0x87, properties, .. }) = client.next() else { panic!("0x87") };
    let why = properties.view().text(P::ReasonString).unwrap().to_owned();
    assert!(why.contains("Will Topic") && why.contains("the broker's own"), "{why}");
}

#[test]
fn connack_names_the_topic_that_has_a_wildcard() {
    let broker = Broker::new();
    let topic = broker.client("a").will("w/#", "gone");
    let response = broker.client("a").will("w", "gone");
    let response = response.will_with(Property::Text(P::ResponseTopic, "r/+"));
    for (connecting, code, name) in [(topic, 0x90, "Will Topic"), (response, 0x82, "Response")] {
        let client = connecting.attempt();
        let Some(Got::ConnAck { code: got, properties, .. }) = client.next() else {
            panic!("CONNACK expected")
        };
        let why = properties.view().text(P::ReasonString).unwrap().to_owned();
        assert!(got == code && why.starts_with(name), "{got:#x} {why}");
    }
}

#[test]
fn what_is_not_retained_is_told() {
    let broker = Broker::with(|settings| settings.limits.retained_messages = 1);
    let client = broker.connect("a");
    client.retain("first", "x");
    assert!(client.reasons().is_empty());
    assert!(matches!(client.packets()[..], [Got::PubAck(_, 0x10)]));
    client.retain("second", "x");
    assert!(client.reason().contains("retained_messages"));
    assert!(matches!(client.packets()[..], [Got::PubAck(_, 0x97)]));
    // The exchange goes on, and says the same.
    client.publishing("second", "x").qos(2).retain().send();
    assert!(client.reason().contains("not retained"));
    assert!(matches!(client.packets()[..], [Got::PubRec(_, 0), Got::PubComp(_, 0)]));
}

#[test]
fn suback_says_which_filter_is_refused_and_why() {
    // §3.9.2.1.2
    let broker = Broker::with(|settings| settings.limits.subscriptions_per_session = 2);
    let client = broker.connect("a");
    assert_eq!(client.subscribe("a/#/b", 0), 0x8F);
    assert_eq!(client.reason(), "# must be a whole level and the last one of the filter");
    assert_eq!(client.subscribe("$share/g", 0), 0x8F);
    assert!(client.reason().contains("share name must be followed by"));
    let options = SubscriptionOptions::default();
    let filters = ["a", "b+", "b", "c", "d"].map(|filter| (filter, options));
    client.send_subscribe(&filters, None);
    assert!(
        matches!(client.next(), Some(Got::SubAck(_, codes)) if codes == [0, 0x8F, 0, 0x97, 0x97])
    );
    assert_eq!(
        client.reason(),
        "filter 2 of 5: + must be a whole level of the filter (and 2 more)"
    );
    assert_eq!(client.subscribe("e", 0), 0x97);
    assert!(client.reason().contains("subscriptions_per_session"));
    assert_eq!(client.subscribe("a", 1), 1);
    assert!(client.reasons().is_empty());
}

#[test]
fn suback_says_what_the_broker_does_not_offer() {
    let broker = Broker::with(|settings| {
        settings.shared_subscriptions = false;
        settings.wildcard_subscriptions = false;
    });
    let client = broker.connect("a");
    assert_eq!(client.subscribe("$share/g/t", 0), 0x9E);
    assert!(client.reason().contains("without $share/NAME/"));
    assert_eq!(client.subscribe("t/#", 0), 0xA2);
    assert!(client.reason().contains("whole topic names"));
}

#[test]
fn suback_says_that_too_many_retained_messages_wait() {
    let broker = Broker::with(|settings| settings.limits.subscriptions_per_session = 1);
    let client = broker.client("a").receive_maximum(1).by_hand().connect();
    broker.connect("b").retain("t", "x");
    client.subscribe("t", 1);
    // The first fills the window; the next one's retained message waits.
    client.subscribe("t", 1);
    assert_eq!(client.subscribe("t", 1), 0x97);
    assert!(client.reason().contains("Retain Handling 2"));
}

#[test]
fn unsuback_says_why() {
    // §3.11.2.1.2
    let client = Broker::new().connect("a");
    assert_eq!(client.unsubscribe("t"), 0x11);
    assert!(client.reason().contains("no such subscription"));
    assert_eq!(client.unsubscribe("t#"), 0x8F);
    assert!(client.reason().contains("# must be a whole level"));
    client.subscribe("t", 0);
    assert_eq!(client.unsubscribe("t"), 0);
    assert!(client.reasons().is_empty());
}

#[test]
fn an_unknown_packet_identifier_is_explained() {
    // §3.6.2.2.2, §3.7.2.2.2
    let client = Broker::new().connect("a");
    unknown_identifiers(&client);
    let reasons = client.reasons();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("of this client") && reasons[1].contains("to this client"));
}

#[test]
fn disconnect_says_why() {
    // §3.14.2.2.3
    let broker = Broker::with(|settings| settings.maximum_qos = QoS::AtLeastOnce);
    let client = broker.connect("a");
    broker.connect("a");
    assert_eq!(client.closed_with(), 0x8E);
    assert!(client.reason().contains("another connection uses this client identifier"));
    let small = broker.client("b").maximum_packet_size(40).connect();
    broker.connect("b");
    assert_eq!(small.closed_with(), 0x8E);
    assert!(small.reasons().is_empty() && small.longest() <= 40, "[MQTT-3.14.2-3]");
    let old = broker.client("c").v311().connect();
    broker.connect("c");
    assert!(old.is_closed() && old.packets().is_empty());
    let client = broker.client("k").keep_alive(1).connect();
    broker.wait(2);
    assert_eq!(client.closed_with(), 0x8D);
    assert!(client.reason().contains("1.5 keep alives"));
    let packets: [(&[u8], u8, &str); 10] = [
        (&[0xC1, 0], 0x81, "flags"),
        (&[0x10, 13, 0, 4, 77, 81, 84, 84, 5, 2, 0, 0, 0, 0, 0], 0x82, "second CONNECT"),
        (&[0xD0, 0], 0x82, "only servers send"),
        (&[0xF0, 0], 0x82, "AUTH"),
        (&[0x34, 6, 0, 1, b't', 0, 1, 0], 0x9B, "Maximum QoS"),
        (&[0x30, 7, 0, 1, b't', 3, 0x23, 0, 99], 0x94, "Topic Alias Maximum"),
        (&[0x30, 4, 0, 1, b'#', 0], 0x90, "topic name with a wildcard"),
        (&[0x30, 8, 0, 1, b't', 4, 0x08, 0, 1, b'+'], 0x82, "Response Topic with a wildcard"),
        (&[0x30, 6, 0, 1, b't', 2, 0x0B, 1], 0x82, "Subscription Identifier"),
        (&[0x82, 13, 0, 1, 0, 0, 8, 36, 115, 104, 97, 114, 101, 47, 103], 0x81, "ends too early"),
    ];
    for (packet, code, why) in packets {
        let client = broker.connect("d");
        client.send(packet);
        assert_eq!(client.closed_with(), code, "{packet:x?}");
        let reason = client.reason();
        assert!(reason.contains(why), "{packet:x?}: {reason}");
    }
}

/// Makes the broker answer with PUBCOMP 0x92 and PUBREL 0x92.
fn unknown_identifiers(client: &Client) {
    client.pubrel(7);
    assert_eq!(client.next(), Some(Got::PubComp(7, 0x92)));
    client.ack(AckKind::PubRec, 9, ReasonCode::Success);
    assert_eq!(client.next(), Some(Got::PubRel(9, 0x92)));
}

/// Every kind of refusal once; the codes are the same with and without Reason Strings.
fn refuse_everything(connecting: Connecting<'_>) -> Client {
    let client = connecting.connect();
    assert_eq!(client.publish("$SYS/x", "x", 1), 0x87);
    assert_eq!(client.publish("$SYS/x", "x", 2), 0x87);
    assert_eq!(client.subscribe("#a", 0), 0x8F);
    assert_eq!(client.unsubscribe("nothing"), 0x11);
    client.packets();
    unknown_identifiers(&client);
    client
}

#[test]
fn without_problem_information_there_are_none() {
    // [MQTT-3.1.2-29]
    let wanted = |value| Property::Byte(P::RequestProblemInformation, value);
    let broker = Broker::new();
    let client = refuse_everything(broker.client("a").with(wanted(0)));
    assert!(client.reasons().is_empty());
    let client = refuse_everything(broker.client("b").with(wanted(1)));
    assert_eq!(client.reasons().len(), 6);
}

#[test]
fn they_are_left_out_where_they_do_not_fit() {
    // [MQTT-3.4.2-2, 3.5.2-2, 3.6.2-2, 3.7.2-2, 3.9.2-1, 3.11.2-1]
    let broker = Broker::new();
    let client = refuse_everything(broker.client("a").maximum_packet_size(40));
    assert!(client.reasons().is_empty());
    assert!(client.longest() <= 40);
    let client = broker.connect("b");
    client.subscribe("#a", 0);
    let exact = 2 + 2 + 1 + 3 + client.reason().len() + 1;
    for (room, told) in [(exact - 1, 0), (exact, 1)] {
        let client = broker.client("c").maximum_packet_size(room as u32).connect();
        client.subscribe("#a", 0);
        assert_eq!(client.reasons().len(), told, "room for {room} bytes");
        assert!(client.longest() <= room);
    }
}

#[test]
fn older_versions_get_none() {
    let client = Broker::new().client("a").v311().connect();
    assert_eq!(client.publish("$SYS/x", "x", 1), 0);
    assert_eq!(client.subscribe("#a", 0), 0x80);
    client.pubrel(7);
    assert_eq!(client.next(), Some(Got::PubComp(7, 0)));
    assert!(client.reasons().is_empty());
}
