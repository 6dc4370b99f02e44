//! Whoever runs a broker hears when it has ended.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::mpsc::channel;

use agentmq_broker::{Broker, Config, Durability, ListenerConfig};

#[test]
fn the_end_is_told_once_every_shard_has_ended() {
    let config = Config {
        listeners: vec![ListenerConfig::new("mqtt://127.0.0.1:0")],
        durability: Durability::Memory,
        ..Config::default()
    };
    let mut broker = Broker::start(config).unwrap();
    let (sender, ended) = channel();
    broker.when_ended(move || sender.send(()).unwrap()).unwrap();
    assert!(ended.try_recv().is_err(), "it serves");
    broker.drain();
    ended.recv().unwrap();
    broker.wait().unwrap();
}
