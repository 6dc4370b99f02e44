//! MQTT over WebSocket (MQTT 5 §6).

use std::net::{Ipv4Addr, TcpStream};

use agentmq_testkit::codec::{ProtocolVersion, Publish, QoS, ReasonCode};
use agentmq_testkit::{Broker, RawClient, WebSocket, connect_packet};

type Socket = WebSocket<TcpStream>;

#[test]
fn clients_of_both_kinds_meet() {
    let broker = start("");
    let mut web = RawClient::over(open(&broker, "mqtt"));
    web.connect("web");
    assert!(!web.subscribe("to/web", QoS::ExactlyOnce).is_error());
    let mut plain = broker.client("plain");
    assert!(!plain.subscribe("to/plain", QoS::AtLeastOnce).is_error());
    for size in [0, 1, 125, 126, 65_535, 65_536, 900_000] {
        let payload = vec![7; size];
        plain.publish("to/web", &payload, QoS::AtLeastOnce);
        assert!(web.receive_publish().publish().payload == payload, "{size} bytes");
        web.publish("to/plain", &payload, QoS::ExactlyOnce);
        assert!(plain.receive_publish().publish().payload == payload, "{size} bytes");
    }
    web.disconnect();
    assert_eq!(web.receive_or_end(), None);
}

/// [MQTT-6.0.0-3, -4], and the names that old clients offer.
#[test]
fn the_subprotocol_is_answered() {
    let broker = start("");
    for (offered, chosen) in [
        ("mqtt", "mqtt"),
        ("mqttv3.1", "mqttv3.1"),
        ("chat, mqtt", "mqtt"),
        ("mqtt,mqttv3.1", "mqtt"),
    ] {
        let socket = open(&broker, offered);
        let line = format!("sec-websocket-protocol: {chosen}\r\n");
        assert!(socket.answer().to_ascii_lowercase().contains(&line), "{}", socket.answer());
    }
    let refused = WebSocket::upgrade(dial(&broker), "/mqtt", "chat").unwrap_err();
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    let refused = WebSocket::upgrade(dial(&broker), "/other", "mqtt").unwrap_err();
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
}

/// [MQTT-6.0.0-2]: frames and packets need not agree.
#[test]
fn packets_are_split_and_packed_at_will() {
    let broker = start("");
    let mut subscriber = broker.client("subscriber");
    assert!(!subscriber.subscribe("split", QoS::AtMostOnce).is_error());
    let mut bytes = connect_packet(ProtocolVersion::V5, "split");
    for number in 0..5_u8 {
        let publish = Publish { topic: "split", payload: &[number; 50], ..Publish::default() };
        publish.encode(ProtocolVersion::V5, &mut bytes);
    }
    for portion in [1, 7, bytes.len()] {
        let mut client = RawClient::over(open(&broker, "mqtt"));
        client.send_split(&bytes, portion);
        assert!(!client.receive().reason().is_error());
        for number in 0..5_u8 {
            assert_eq!(subscriber.receive_publish().publish().payload, [number; 50]);
        }
    }
    // One message in fragments, with a ping in between.
    let mut socket = open(&broker, "mqtt");
    socket.send_frame(0x02, &bytes[..5]).unwrap();
    socket.ping(b"are you there");
    socket.send_frame(0x00, &bytes[5..20]).unwrap();
    socket.send_frame(0x80, &bytes[20..]).unwrap();
    let mut client = RawClient::over(socket);
    assert!(!client.receive().reason().is_error());
    for number in 0..5_u8 {
        assert_eq!(subscriber.receive_publish().publish().payload, [number; 50]);
    }
}

#[test]
fn what_is_no_binary_frame_ends_the_connection() {
    let broker = start("");
    let mut witness = broker.client("witness");
    let connect = connect_packet(ProtocolVersion::V5, "web");
    for first in [
        0x81, // text [MQTT-6.0.0-1]
        0x83, // an opcode that is none
        0xC2, // a reserved bit: compression was not agreed on
        0x80, // a continuation of nothing
    ] {
        let mut socket = open(&broker, "mqtt");
        let _ = socket.send_frame(first, &connect);
        let mut client = RawClient::over(socket);
        assert_eq!(client.receive_or_end(), None, "{first:02X}");
    }
    // A packet that announces more than its frame holds waits for the next frame, as on TCP.
    let mut socket = open(&broker, "mqtt");
    socket.send_frame(0x82, &connect).unwrap();
    socket.send_frame(0x82, &[0x30, 100, 0, 1, b'a']).unwrap();
    socket.ping(b"alive");
    let mut client = RawClient::over(socket);
    assert!(!client.receive().reason().is_error());
    client.finish();
    client.reason_of_end();
    witness.ping();
}

#[test]
fn a_malformed_packet_is_answered_as_on_tcp() {
    let broker = start("");
    let mut client = RawClient::over(open(&broker, "mqtt"));
    client.connect("web");
    client.send_bytes(&[0x00, 0x00]);
    assert_eq!(client.reason_of_end(), Some(ReasonCode::MalformedPacket));
}

#[test]
fn foreign_pages_are_turned_away() {
    let broker = start("");
    let answer = |origin: &str| {
        WebSocket::try_upgrade(dial(&broker), "/mqtt", &format!("Origin: {origin}\r\n"))
    };
    assert!(answer("http://localhost:8080").starts_with("HTTP/1.1 101"));
    assert!(answer("https://evil.example").starts_with("HTTP/1.1 403"));
    let broker = start("allowed_origins = [\"https://app.example\"]\n");
    let answer = |origin: &str| {
        WebSocket::try_upgrade(dial(&broker), "/mqtt", &format!("Origin: {origin}\r\n"))
    };
    assert!(answer("https://app.example").starts_with("HTTP/1.1 101"));
    assert!(answer("https://evil.example").starts_with("HTTP/1.1 403"));
}

fn start(settings: &str) -> Broker {
    crate::broker(&format!("[[listeners]]\nurl = \"ws://127.0.0.1:0/mqtt\"\n{settings}"))
}

fn dial(broker: &Broker) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port("ws"))).unwrap()
}

fn open(broker: &Broker, protocols: &str) -> Socket {
    WebSocket::upgrade(dial(broker), "/mqtt", protocols).unwrap()
}
