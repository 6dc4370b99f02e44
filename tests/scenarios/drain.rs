//! SIGTERM: every client is told, then the process ends with success.

use agentmq_testkit::codec::{ProtocolVersion, QoS, ReasonCode};
use agentmq_testkit::{RawClient, Signal, connect_with_small_buffer};

#[test]
fn clients_are_told_that_the_server_shuts_down() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut broker = crate::broker("");
        let mut clients: Vec<RawClient> =
            (0..10).map(|number| broker.client(&format!("client-{number}"))).collect();
        let mut old = broker.dial();
        old.speak(ProtocolVersion::V311);
        old.connect("old");
        let mut connecting = broker.dial();
        connecting.send_bytes(&[0x10]);
        clients[0].ping();
        broker.signal(signal);
        for mut client in clients {
            assert_eq!(client.reason_of_end(), Some(ReasonCode::ServerShuttingDown));
        }
        assert_eq!(old.receive_or_end(), None, "3.1.1 has no DISCONNECT from the server");
        assert_eq!(connecting.receive_or_end(), None);
        let status = broker.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        broker.wait_for_log("draining shard=0 connections=11", 0);
    }
}

#[test]
fn what_was_accepted_before_is_still_delivered() {
    let mut broker = crate::broker("");
    let mut subscriber = broker.client("subscriber");
    assert!(!subscriber.subscribe("last/words", QoS::AtLeastOnce).is_error());
    let mut publisher = broker.client("publisher");
    for _ in 0..100 {
        assert!(!publisher.publish("last/words", &[0; 10_000], QoS::AtLeastOnce).is_error());
    }
    broker.terminate();
    for _ in 0..100 {
        assert_eq!(subscriber.receive().publish().payload.len(), 10_000);
    }
    assert_eq!(subscriber.reason_of_end(), Some(ReasonCode::ServerShuttingDown));
    assert!(broker.wait().success());
}

#[test]
fn a_client_that_never_reads_does_not_hold_up_the_end() {
    let mut broker = crate::broker("");
    let stream = connect_with_small_buffer(broker.port("mqtt"), 4096);
    let _open = stream.try_clone().unwrap();
    let mut never_reading = RawClient::over(stream);
    never_reading.connect("never-reading");
    never_reading.subscribe("load", QoS::AtMostOnce);
    let mut publisher = broker.client("publisher");
    for _ in 0..100 {
        publisher.publish("load", &[0; 100_000], QoS::AtLeastOnce);
    }
    broker.terminate();
    assert_eq!(publisher.reason_of_end(), Some(ReasonCode::ServerShuttingDown));
    assert!(broker.wait().success());
}
