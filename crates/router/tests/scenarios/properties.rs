//! Properties of PUBLISH (§3.3.2.3) and of CONNECT.

use agentmq_codec::{Property, PropertyId as P};

use crate::harness::{Broker, Got};

#[test]
fn what_is_to_be_forwarded_goes_unaltered_and_in_order() {
    // [MQTT-3.3.2-4, -15, -16, -17, -18, -20]
    let broker = Broker::new();
    let live = broker.connect("live");
    live.subscribe("t", 1);
    let absent = broker.returning("absent").connect();
    absent.subscribe("t", 1);
    absent.disconnect();
    broker
        .connect("p")
        .publishing("t", "x")
        .qos(1)
        .alias(3)
        .with(Property::Pair("b", "1"))
        .with(Property::Byte(P::PayloadFormatIndicator, 1))
        .with(Property::Pair("a", "2"))
        .with(Property::Text(P::ResponseTopic, "answers/p"))
        .with(Property::Pair("b", "1"))
        .with(Property::Binary(P::CorrelationData, &[0, 255]))
        .with(Property::Text(P::ContentType, "text/plain"))
        .send();
    let absent = broker.returning("absent").connect();
    for message in [live.message(), absent.message()] {
        let properties = message.properties.view();
        assert_eq!(properties.byte(P::PayloadFormatIndicator), Some(1));
        assert_eq!(properties.text(P::ResponseTopic), Some("answers/p"));
        assert_eq!(properties.binary(P::CorrelationData), Some(&[0, 255][..]));
        assert_eq!(properties.text(P::ContentType), Some("text/plain"));
        let pairs: Vec<_> = properties.user_properties().collect();
        assert_eq!(pairs, [("b", "1"), ("a", "2"), ("b", "1")]);
        assert_eq!(message.alias(), None, "an alias belongs to one connection");
    }
}

#[test]
fn a_3_1_1_receiver_gets_the_message_without_them() {
    let broker = Broker::new();
    let old = broker.client("old").v311().connect();
    old.subscribe("t", 1);
    broker.connect("p").publishing("t", "x").qos(1).with(Property::Pair("a", "b")).send();
    assert_eq!(old.message().payload, "x");
}

#[test]
fn a_response_topic_with_a_wildcard_is_refused() {
    // [MQTT-3.3.2-14]
    let client = Broker::new().connect("a");
    client.publishing("t", "x").with(Property::Text(P::ResponseTopic, "a/#")).send();
    assert!(matches!(client.closed_with(), 0x82 | 0x90));
}

#[test]
fn properties_that_are_not_allowed_or_stand_twice_end_the_connection() {
    // §2.2.2.2
    let broker = Broker::new();
    let cases = [
        (vec![Property::U32(P::SessionExpiryInterval, 1)], 0x81),
        (vec![Property::Text(P::ReasonString, "no")], 0x81),
        (vec![Property::Text(P::ContentType, "a"), Property::Text(P::ContentType, "b")], 0x82),
    ];
    for (properties, code) in cases {
        let client = broker.connect("a");
        let publish = client.publishing("t", "x");
        properties.into_iter().fold(publish, |publish, it| publish.with(it)).send();
        assert_eq!(client.closed_with(), code);
    }
}

#[test]
fn too_many_user_properties_are_refused() {
    // CVE-2021-41039
    let client = Broker::new().connect("a");
    let publish = client.publishing("t", "x");
    (0..65).fold(publish, |publish, _| publish.with(Property::Pair("a", "b"))).send();
    assert_eq!(client.closed_with(), 0x97);
}

#[test]
fn connack_tells_what_the_client_must_know() {
    let broker = Broker::with(|settings| settings.response_information = "answers/".into());
    let asks = Property::Byte(P::RequestResponseInformation, 1);
    let Some(Got::ConnAck { properties, .. }) = broker.client("a").with(asks).attempt().next()
    else {
        panic!("CONNACK expected");
    };
    let told = properties.view();
    assert_eq!(told.text(P::ResponseInformation), Some("answers/"));
    assert_eq!(told.integer(P::MaximumPacketSize), Some(1_048_576));
    assert_eq!(told.u16(P::TopicAliasMaximum), Some(16));
    assert_eq!(told.byte(P::SharedSubscriptionAvailable), Some(1));
    assert!(!told.has(P::MaximumQoS), "2 is never told [MQTT-3.2.2-9]");
    assert!(!told.has(P::AssignedClientIdentifier));
    assert!(!told.has(P::ServerKeepAlive));
    let Some(Got::ConnAck { properties, .. }) = broker.client("a").attempt().next() else {
        panic!("CONNACK expected");
    };
    assert!(!properties.view().has(P::ResponseInformation), "[MQTT-3.1.2-28]");
}

/// What a CONNACK tells of durability, and how many bytes its properties have.
fn told_durability(connack: Option<Got>) -> (Option<String>, usize) {
    let Some(Got::ConnAck { code: 0, properties, .. }) = connack else { panic!("CONNACK") };
    let told = properties.view();
    let mut pairs = told.user_properties();
    let value = pairs.find(|(name, _)| *name == "durability").map(|(_, value)| value.to_owned());
    (value, told.as_bytes().len())
}

#[test]
fn connack_tells_what_an_acknowledgement_promises_where_there_is_room() {
    let broker = Broker::with(|settings| settings.durability = "fsync");
    let (told, bytes) = told_durability(broker.client("a").attempt().next());
    assert_eq!(told.as_deref(), Some("fsync"));
    let whole = 2 + 2 + 1 + bytes as u32; // the packet, with its lengths
    let fits = broker.client("a").maximum_packet_size(whole).attempt();
    assert_eq!(told_durability(fits.next()).0.as_deref(), Some("fsync"));
    let small = broker.client("a").maximum_packet_size(whole - 1).attempt();
    assert_eq!(told_durability(small.next()).0, None, "[MQTT-3.2.2-20]");
    small.ping(); // it is served all the same
    broker.client("a").v311().connect().ping();
}
