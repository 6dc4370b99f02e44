//! `publishes_per_second`: a client over its rate is not read until the second is over. It loses
//! nothing, is not disconnected, and nobody else waits.

use std::net::{Ipv4Addr, TcpStream};

use agentmq_testkit::codec::{Packet, ProtocolVersion, Publish, QoS, ReasonCode};
use agentmq_testkit::{Broker, RawClient, connect_packet};

#[test]
fn a_client_over_its_rate_waits_and_loses_nothing() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let broker = start();
        let mut subscriber = subscriber(&broker);
        let mut fast = broker.client("fast");
        let mut other = broker.client("other");
        let mut burst = publications(qos);
        burst.extend_from_slice(&[0xC0, 0]); // PINGREQ, behind everything
        fast.send_bytes(&burst);
        // Once the burst has begun, somebody else's messages pass in the pauses.
        assert_eq!(subscriber.receive_publish().publish().payload, [0]);
        for number in 0..RATE {
            let reason = other.publish("rate/other", &[number], QoS::AtLeastOnce);
            assert_eq!(reason, ReasonCode::Success);
        }
        let (mut fasts, mut others) = (vec![0], Vec::new());
        while fasts.len() < usize::from(BURST) {
            let received = subscriber.receive_publish();
            let publish = received.publish();
            let list = if publish.topic == "rate/fast" { &mut fasts } else { &mut others };
            list.extend_from_slice(publish.payload);
        }
        assert_eq!(fasts, (0..BURST).collect::<Vec<_>>(), "all, in order");
        assert_eq!(others, (0..RATE).collect::<Vec<_>>(), "they overtook the end of the burst");
        let mut acknowledged = 0;
        while !matches!(fast.receive().packet(), Packet::PingResp) {
            acknowledged += 1;
        }
        assert_eq!(acknowledged, if qos == QoS::AtMostOnce { 0 } else { BURST });
    }
}

/// Bytes already received count, whatever has become of their connection.
#[test]
fn a_client_that_leaves_while_it_waits_loses_nothing() {
    let broker = start();
    let mut subscriber = subscriber(&broker);
    let mut bytes = connect_packet(ProtocolVersion::V5, "leaves");
    bytes.extend_from_slice(&publications(QoS::AtMostOnce));
    bytes.extend_from_slice(&[0xE0, 0]);
    let mut client = broker.dial();
    client.send_bytes(&bytes);
    drop(client);
    for number in 0..BURST {
        assert_eq!(subscriber.receive_publish().publish().payload, [number]);
    }
}

/// Its connection ends in order, not in a reset for what was left unread, which could destroy the
/// DISCONNECT before the client reads it.
#[test]
fn a_client_that_waits_can_be_taken_over() {
    let broker = start();
    let mut subscriber = subscriber(&broker);
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port("mqtt"))).unwrap();
    let mut fast = RawClient::over(stream.try_clone().unwrap());
    fast.connect("fast");
    fast.send_bytes(&publications(QoS::AtMostOnce));
    subscriber.receive_publish();
    // Behind the pause, so that it stays in the socket.
    fast.send_bytes(&[0xC0, 0]);
    let mut again = broker.client("fast");
    let files = broker.gauges().open_files;
    assert_eq!(fast.reason_of_end(), Some(ReasonCode::SessionTakenOver));
    while broker.gauges().open_files == files {
        again.ping(); // until the broker has closed for good
    }
    assert!(stream.take_error().unwrap().is_none(), "the connection was reset");
}

fn start() -> Broker {
    crate::broker(&format!("[limits]\npublishes_per_second = {RATE}\n"))
}

fn subscriber(broker: &Broker) -> RawClient {
    let mut subscriber = broker.client("subscriber");
    assert!(!subscriber.subscribe("rate/#", QoS::AtLeastOnce).is_error());
    subscriber
}

/// More than three seconds' worth.
fn publications(qos: QoS) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..BURST {
        let payload = &[number];
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { u16::from(number) + 1 };
        Publish { qos, packet_id, topic: "rate/fast", payload, ..Publish::default() }
            .encode(ProtocolVersion::V5, &mut bytes);
    }
    bytes
}

const RATE: u8 = 10;
const BURST: u8 = 3 * RATE + 1;
