//! A client that says all it has to say in one write and leaves without listening is heard.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};

use agentmq_testkit::codec::{Disconnect, Packet, ProtocolVersion, Publish, QoS, ReasonCode};
use agentmq_testkit::{connect_packet, reset};

#[test]
fn publications_of_clients_that_close_without_reading_arrive() {
    deliver_all(drop);
}

#[test]
fn publications_of_clients_that_reset_without_reading_arrive() {
    deliver_all(reset);
}

fn deliver_all(leave: fn(TcpStream)) {
    let broker = crate::broker("");
    let mut subscriber = broker.client("subscriber");
    assert!(!subscriber.subscribe("burst/#", QoS::AtLeastOnce).is_error());
    let port = broker.port("mqtt");
    for number in 0..NEWCOMERS {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(&burst(number)).unwrap();
        leave(stream);
    }
    let mut missing: BTreeSet<usize> = (0..NEWCOMERS).collect();
    while !missing.is_empty() {
        let received = subscriber.receive_publish();
        let payload = std::str::from_utf8(received.publish().payload).unwrap().to_owned();
        assert!(missing.remove(&payload.parse().unwrap()), "{payload} came twice");
    }
    broker.client("afterwards").ping();
}

/// CONNECT, PUBLISH and DISCONNECT; versions and QoS 0 and 1 by turns.
fn burst(number: usize) -> Vec<u8> {
    let version = [ProtocolVersion::V5, ProtocolVersion::V311][number % 2];
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][number / 2 % 2];
    let mut bytes = connect_packet(version, &format!("newcomer-{number}"));
    let payload = number.to_string();
    let publish = Publish {
        topic: &format!("burst/{}", number % 10),
        payload: payload.as_bytes(),
        qos,
        packet_id: u16::from(qos > QoS::AtMostOnce),
        ..Publish::default()
    };
    publish.encode(version, &mut bytes);
    let disconnect = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
    Packet::Disconnect(disconnect).encode(version, &mut bytes);
    bytes
}

const NEWCOMERS: usize = 1_000;
