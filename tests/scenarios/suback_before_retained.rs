//! SUBACK reaches the client in a read of its own, before the retained messages: clients exist
//! that register a handler only when SUBACK has come.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};

use agentmq_testkit::codec::{Packet, Publish, QoS};
use agentmq_testkit::{RawClient, WebSocket, connect_packet};

#[test]
fn suback_comes_alone() {
    let broker = crate::broker("[[listeners]]\nurl = \"ws://127.0.0.1:0/mqtt\"\n");
    let mut publisher = broker.client("publisher");
    for number in 0..20 {
        let topic = format!("state/{number}");
        let publish = Publish { topic: &topic, payload: b"on", retain: true, ..Publish::default() };
        publisher.send(&Packet::Publish(publish));
    }
    publisher.ping();
    // Over WebSocket every write of the broker is a frame, so that what was written apart stays
    // apart however late this client reads.
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port("ws"))).unwrap();
    let mut socket = WebSocket::upgrade(stream, "/mqtt", "mqtt").unwrap();
    let connect = connect_packet(agentmq_testkit::codec::ProtocolVersion::V5, "subscriber");
    socket.send_frame(0x82, &connect).unwrap();
    let mut buffer = [0; 4096];
    assert!(socket.read(&mut buffer).unwrap() > 0);
    assert_eq!(buffer[0], 0x20, "CONNACK");
    let subscribe = [0x82, 13, 0, 1, 0, 0, 7, b's', b't', b'a', b't', b'e', b'/', b'#', 0];
    socket.send_frame(0x82, &subscribe).unwrap();
    assert_eq!(socket.read(&mut buffer).unwrap(), 6, "SUBACK and nothing else");
    assert_eq!(buffer[..6], [0x90, 4, 0, 1, 0, 0]);
    assert!(socket.read(&mut buffer).unwrap() > 0);
    assert_eq!(buffer[0], 0x31, "a retained PUBLISH");
}

#[test]
fn every_retained_message_follows() {
    let broker = crate::broker("");
    let mut publisher = broker.client("publisher");
    for number in 0..300 {
        let topic = format!("state/{number}");
        let publish = Publish { topic: &topic, payload: b"on", retain: true, ..Publish::default() };
        publisher.send(&Packet::Publish(publish));
    }
    publisher.ping();
    let mut subscriber: RawClient = broker.client("subscriber");
    assert!(!subscriber.subscribe("state/#", QoS::AtMostOnce).is_error());
    for _ in 0..300 {
        let received = subscriber.receive_publish();
        assert!(received.publish().retain);
    }
}
