//! What is acknowledged is there after a start, and the writer goes on as long as the broker does.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod plain_client;

use agentmq_broker::{Broker, Config, ListenerConfig};
use plain_client::PlainClient;

fn start(config: &Config) -> (Broker, u16) {
    let broker = Broker::start(config.clone()).unwrap();
    let port = broker.endpoints()[0].to_string().rsplit(':').next().unwrap().parse().unwrap();
    (broker, port)
}

fn config(folder: &tempfile::TempDir) -> Config {
    Config {
        listeners: vec![ListenerConfig::new("mqtt://127.0.0.1:0")],
        data_dir: folder.path().join("data"),
        ..Config::default()
    }
}

#[test]
fn what_is_acknowledged_waits_across_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, port) = start(&config(&folder));
    let (mut client, _) = PlainClient::connect(port, "client", false);
    client.subscribe("t", 1);
    let (mut publisher, _) = PlainClient::connect(port, "publisher", true);
    drop(client);
    publisher.publish_acknowledged("t", "waits", false);
    broker.drain();
    broker.wait().unwrap();
    let (broker, port) = start(&config(&folder));
    let (mut client, is_present) = PlainClient::connect(port, "client", false);
    assert!(is_present);
    assert_eq!(client.receive(), "waits");
    broker.drain();
    broker.wait().unwrap();
}

#[test]
fn a_dropped_broker_goes_on_and_so_does_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, port) = start(&config(&folder));
    drop(broker);
    let (mut publisher, _) = PlainClient::connect(port, "publisher", true);
    publisher.publish_acknowledged("t", "kept", true);
}
