//! Thousands of connections that are reset at once: every will is sent, nothing stays behind.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpStream};

use agentmq_testkit::codec::{Connect, Properties, QoS, ReasonCode, Will};
use agentmq_testkit::{RawClient, raise_open_files, reset};

#[test]
fn wills_are_sent_and_descriptors_freed() {
    raise_open_files(CLIENTS as u64 + 500);
    let broker = crate::broker("[sys]\ninterval_secs = 1\n[limits]\nin_flight = 65_535\n");
    let mut heir = broker.client("heir");
    assert!(!heir.subscribe("will/+", QoS::AtLeastOnce).is_error());
    let files = broker.gauges().open_files;
    let streams: Vec<TcpStream> = (0..CLIENTS).map(|n| connect(broker.port("mqtt"), n)).collect();
    assert_eq!(broker.gauges().open_files, files + CLIENTS);
    streams.into_iter().for_each(reset);
    let mut missing: BTreeSet<String> = (0..CLIENTS).map(|n| format!("will/{n}")).collect();
    while !missing.is_empty() {
        let received = heir.receive_publish();
        let topic = received.publish().topic;
        assert!(missing.remove(topic), "{topic} came twice");
    }
    heir.ping(); // the turn of the last will is over
    assert_eq!(broker.gauges().open_files, files);
    broker.wait_for_statistic("clients/total", |count| count == 2); // the heir and who asks
}

fn connect(port: u16, number: usize) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let topic = format!("will/{number}");
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: &topic,
        payload: b"gone",
        properties: Properties::EMPTY,
    };
    let client_id = format!("reset-{number}");
    let connect = Connect {
        client_id: &client_id,
        clean_start: true,
        will: Some(will),
        ..Connect::default()
    };
    let mut client = RawClient::over(stream.try_clone().unwrap());
    assert_eq!(client.connect_with(connect).reason(), ReasonCode::Success);
    stream
}

const CLIENTS: usize = 2_500;
