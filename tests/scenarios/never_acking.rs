//! A subscriber that never acknowledges gets as many messages as it allows, and not one again.

use agentmq_testkit::codec::{
    Ack, AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, QoS, ReasonCode,
};
use agentmq_testkit::{Broker, RawClient};

#[test]
fn in_flight_stays_within_receive_maximum() {
    let broker = crate::broker("");
    let (mut subscriber, present) = connect(&broker);
    assert!(!present);
    assert!(!subscriber.subscribe("load", QoS::AtLeastOnce).is_error());
    let mut publisher = broker.client("publisher");
    for number in 0..100_u8 {
        assert!(!publisher.publish("load", &[number], QoS::AtLeastOnce).is_error());
    }
    let mut ids = Vec::new();
    for number in 0..RECEIVE_MAXIMUM {
        let received = subscriber.receive();
        assert_eq!(received.publish().payload, [number]);
        assert!(!received.publish().dup);
        ids.push(received.publish().packet_id);
    }
    subscriber.send(&Packet::PingReq);
    let next = subscriber.receive();
    assert!(matches!(next.packet(), Packet::PingResp), "{next:?}");

    // Sent again only on a new connection, with the same identifiers [MQTT-4.4.0-1].
    drop(subscriber);
    let (mut subscriber, present) = connect(&broker);
    assert!(present);
    for number in 0..RECEIVE_MAXIMUM {
        let received = subscriber.receive();
        let publish = received.publish();
        assert_eq!(publish.payload, [number]);
        assert!(publish.dup);
        assert_eq!(publish.packet_id, ids[usize::from(number)]);
    }
    // Each acknowledgement lets one more through, and all arrive in the end.
    for id in ids {
        subscriber.send(&Packet::Ack(Ack::new(AckKind::PubAck, id, ReasonCode::Success)));
    }
    for number in RECEIVE_MAXIMUM..100 {
        assert_eq!(subscriber.receive_publish().publish().payload, [number]);
    }
}

/// Connects with a session that stays, and says whether it was there.
fn connect(broker: &Broker) -> (RawClient, bool) {
    let mut client = broker.dial();
    let properties = PropertiesBuf::new()
        .with(Property::U32(PropertyId::SessionExpiryInterval, 600))
        .with(Property::U16(PropertyId::ReceiveMaximum, RECEIVE_MAXIMUM.into()));
    let connack = client.connect_with(Connect {
        client_id: "never-acking",
        properties: properties.view(),
        ..Connect::default()
    });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
    assert_eq!(packet.reason, ReasonCode::Success);
    let present = packet.session_present;
    (client, present)
}

const RECEIVE_MAXIMUM: u8 = 10;
