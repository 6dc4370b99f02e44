//! Statistics of a broker with sockets; `sys.interval_secs` changes at once, as its reload rule
//! says.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod plain_client;

use agentmq_broker::{Broker, Config, Durability, ListenerConfig};
use plain_client::PlainClient;

#[test]
fn a_reload_turns_statistics_on() {
    let mut config = Config {
        listeners: vec![ListenerConfig::new("mqtt://127.0.0.1:0")],
        durability: Durability::Memory,
        ..Config::default()
    };
    config.sys.interval_secs = 0;
    let mut broker = Broker::start(config.clone()).unwrap();
    let port = broker.endpoints()[0].to_string().rsplit(':').next().unwrap().parse().unwrap();
    let (mut client, _) = PlainClient::connect(port, "watcher", true);
    client.subscribe("$SYS/broker/uptime", 0);
    config.sys.interval_secs = 1;
    broker.reload(&config).unwrap();
    assert!(client.receive().ends_with(" seconds"));
    assert!(client.receive().ends_with(" seconds"), "and so on, while nothing else happens");
    broker.drain();
    broker.wait().unwrap();
}

#[test]
fn what_sockets_bring_and_take_is_counted() {
    let mut config = Config {
        listeners: vec![ListenerConfig::new("mqtt://127.0.0.1:0")],
        durability: Durability::Memory,
        ..Config::default()
    };
    config.sys.interval_secs = 1;
    let broker = Broker::start(config).unwrap();
    let port = broker.endpoints()[0].to_string().rsplit(':').next().unwrap().parse().unwrap();
    for (topic, nothing) in [("bytes/sent", "0"), ("load/sockets/1min", "0.00")] {
        let (mut client, _) = PlainClient::connect(port, topic, true);
        client.subscribe(&format!("$SYS/broker/{topic}"), 0);
        // The first publication may be older than the client.
        let value = std::iter::repeat_with(|| client.receive()).find(|value| value != nothing);
        let value: f64 = value.unwrap().parse().unwrap();
        let least = if topic == "bytes/sent" { CONNACK_AND_SUBACK } else { 0.01 };
        assert!(value >= least, "{topic}: {value}");
    }
    broker.drain();
    broker.wait().unwrap();
}

/// Bytes.
const CONNACK_AND_SUBACK: f64 = 9.0;
