//! A broker that stood still (a suspended machine, a frozen container) blames nobody for it.

use std::time::{Duration, Instant};

use agentmq_testkit::codec::{Connect, Packet, Properties, ProtocolVersion, QoS, ReasonCode, Will};
use agentmq_testkit::{RawClient, Signal, raise_open_files};

/// Clients that have sent their PINGREQ in time stay, although it waited in the socket for longer
/// than their keep alive; more of them than the system reports as readable at once.
#[test]
fn nobody_is_disconnected_for_the_broker_s_own_silence() {
    raise_open_files(CLIENTS as u64 + 500);
    let broker = crate::broker("");
    let mut heir = broker.client("heir");
    assert!(!heir.subscribe("will", QoS::AtMostOnce).is_error());
    let port = broker.port("mqtt");
    // Nobody waits for an answer before all have asked: setting up must not take a keep alive.
    let mut clients: Vec<RawClient> = (0..CLIENTS).map(|number| connect(port, number)).collect();
    for client in &mut clients {
        assert_eq!(client.receive().reason(), ReasonCode::Success);
        client.send(&Packet::PingReq);
    }
    for client in &mut clients {
        assert!(matches!(client.receive().packet(), Packet::PingResp));
    }
    broker.signal(Signal::STOP);
    let stopped = Instant::now();
    for client in &mut clients {
        client.send(&Packet::PingReq);
    }
    // Time itself is what this waits for.
    while stopped.elapsed() < Duration::from_secs(u64::from(KEEP_ALIVE) * 3 / 2 + 1) {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    broker.signal(Signal::CONT);
    let lost = clients.iter_mut().filter_map(|client| {
        let answer = client.receive_or_end();
        let answered =
            answer.as_ref().is_some_and(|answer| matches!(answer.packet(), Packet::PingResp));
        (!answered).then(|| format!("{answer:?}"))
    });
    let lost: Vec<String> = lost.collect();
    assert!(lost.is_empty(), "{} clients lost, the first by {}", lost.len(), lost[0]);
    heir.send(&Packet::PingReq);
    let next = heir.receive();
    assert!(matches!(next.packet(), Packet::PingResp), "no will is sent: {next:?}");
}

fn connect(port: u16, number: usize) -> RawClient {
    let mut client = RawClient::tcp(port);
    let will = Will {
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "will",
        payload: b"gone",
        properties: Properties::EMPTY,
    };
    let client_id = format!("paused-{number}");
    client.send(&Packet::Connect(Box::new(Connect {
        version: ProtocolVersion::V5,
        client_id: &client_id,
        clean_start: true,
        keep_alive: KEEP_ALIVE,
        will: Some(will),
        ..Connect::default()
    })));
    client
}

const CLIENTS: usize = 1_500;
/// Seconds.
const KEEP_ALIVE: u16 = 10;
