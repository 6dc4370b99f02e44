//! `sys.interval_secs` changes at once, as its reload rule says.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod plain_client;

use agentmq_broker::{Broker, Config, ListenerConfig};
use plain_client::PlainClient;

#[test]
fn a_reload_turns_statistics_on() {
    let mut config =
        Config { listeners: vec![ListenerConfig::new("mqtt://127.0.0.1:0")], ..Config::default() };
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
