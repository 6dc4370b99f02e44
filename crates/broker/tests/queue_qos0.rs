//! `session.queue_qos0_messages`: QoS 0 messages wait for an absent client where it is on.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod plain_client;

use agentmq_broker::{Broker, Config, Durability, ListenerConfig};
use agentmq_codec::QoS;
use plain_client::PlainClient;

#[test]
fn they_wait_where_the_configuration_says_so() {
    let mut config = Config {
        listeners: vec![ListenerConfig::new("mqtt://127.0.0.1:0")],
        durability: Durability::Memory,
        ..Config::default()
    };
    let mut broker = Broker::start(config.clone()).unwrap();
    let port = broker.endpoints()[0].to_string().rsplit(':').next().unwrap().parse().unwrap();
    let (mut publisher, _) = PlainClient::connect(port, "publisher", true);
    let (mut client, _) = PlainClient::connect(port, "client", false);
    client.subscribe("t", 1);
    for (on, payload) in [(false, "lost"), (true, "kept")] {
        config.session.queue_qos0_messages = on;
        broker.reload(&config).unwrap();
        client.write(&[0xE0, 0]);
        client.wait_for_end();
        publisher.publish("t", payload, QoS::AtMostOnce, false);
        publisher.ping();
        client = PlainClient::connect(port, "client", false).0;
        publisher.publish("t", "end", QoS::AtMostOnce, false);
        if on {
            assert_eq!(client.receive(), payload);
        }
        assert_eq!(client.receive(), "end");
    }
    broker.drain();
    broker.wait().unwrap();
}
