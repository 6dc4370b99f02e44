//! Two clients fight for one client identifier: exactly one is connected in the end.

use std::thread;

use agentmq_testkit::RawClient;
use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, QoS, ReasonCode,
};

#[test]
fn of_two_clients_with_one_identifier_one_stays() {
    let broker = crate::broker("");
    let mut first = connect(broker.port("mqtt"));
    assert!(!first.subscribe("to/contested", QoS::AtLeastOnce).is_error());
    let port = broker.port("mqtt");
    let sides = [0, 1].map(|_| {
        thread::spawn(move || (0..ROUNDS).map(|_| connect(port)).collect::<Vec<RawClient>>())
    });
    let mut all = vec![first];
    all.extend(sides.into_iter().flat_map(|side| side.join().unwrap()));
    assert_eq!(all.len(), 2 * ROUNDS + 1);

    let mut alive = Vec::new();
    for mut client in all {
        let _ = client.try_send_bytes(&[0xC0, 0]); // PINGREQ; who is out has been told already
        let answer = client.receive_or_end();
        match answer.as_ref().map(|answer| answer.packet()) {
            Some(Packet::PingResp) => alive.push(client),
            Some(Packet::Disconnect(packet)) => {
                assert_eq!(packet.reason, ReasonCode::SessionTakenOver);
                assert_eq!(client.receive_or_end(), None, "closed after DISCONNECT");
            }
            other => panic!("neither alive nor taken over: {other:?}"),
        }
    }
    assert_eq!(alive.len(), 1, "connected clients of one identifier");

    // The session went along: one copy, to the one that stayed.
    let mut publisher = broker.client("publisher");
    let reason = publisher.publish("to/contested", b"once", QoS::AtLeastOnce);
    assert_eq!(reason, ReasonCode::Success);
    assert_eq!(alive[0].receive_publish().publish().payload, b"once");
    alive[0].ping();
    alive[0].disconnect();
    assert_eq!(alive[0].receive_or_end(), None, "nothing but the one copy");
}

/// Connects with a session that outlives the connection.
fn connect(port: u16) -> RawClient {
    let mut client = RawClient::tcp(port);
    let expiry = Property::U32(PropertyId::SessionExpiryInterval, 600);
    let properties = PropertiesBuf::new().with(expiry);
    let connack = client.connect_with(Connect {
        client_id: "contested",
        properties: properties.view(),
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    client
}

const ROUNDS: usize = 250;
