//! A broker with several shards, over real sockets. `spread` places clients one after the other,
//! so that a test knows who lives where.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod plain_client;

use agentmq_broker::{Broker, ClientPlacement, Config, Durability, ListenerConfig};
use agentmq_codec::QoS;
use agentmq_net::Endpoint;
use plain_client::PlainClient;

fn start(shards: u16, placement: ClientPlacement) -> (Broker, u16) {
    let mut config = Config {
        listeners: vec![ListenerConfig::new("mqtt://127.0.0.1:0")],
        durability: Durability::Memory,
        ..Config::default()
    };
    config.threads.shards = shards;
    config.threads.placement = placement;
    config.sys.interval_secs = 0;
    config.session.retained_gap_ms = 0;
    let broker = Broker::start(config).unwrap();
    let port = port(&broker.endpoints()[0]);
    (broker, port)
}

fn port(endpoint: &Endpoint) -> u16 {
    endpoint.to_string().rsplit(':').next().unwrap().parse().unwrap()
}

fn end(broker: Broker) {
    broker.drain();
    broker.wait().unwrap();
}

#[test]
fn messages_reach_every_shard() {
    let (broker, port) = start(3, ClientPlacement::Spread);
    let mut clients: Vec<_> = (0..6)
        .map(|number| PlainClient::connect(port, &format!("client-{number}"), true).0)
        .collect();
    for client in &mut clients {
        client.subscribe("news/+", 1);
    }
    for sender in 0..clients.len() {
        let payload = format!("from {sender}");
        clients[sender].publish("news/a", &payload, QoS::AtMostOnce, false);
        for receiver in &mut clients {
            assert_eq!(receiver.receive(), payload);
        }
    }
    end(broker);
}

#[test]
fn nothing_published_after_a_suback_is_missed() {
    let (broker, port) = start(2, ClientPlacement::Spread);
    let (mut publisher, _) = PlainClient::connect(port, "publisher", true);
    let (mut subscriber, _) = PlainClient::connect(port, "subscriber", true);
    for round in 0..500 {
        let topic = format!("round/{round}");
        subscriber.subscribe(&topic, 0);
        publisher.publish(&topic, &topic, QoS::AtMostOnce, false);
        assert_eq!(subscriber.receive(), topic);
    }
    end(broker);
}

#[test]
fn an_order_of_many_messages_is_kept_between_shards() {
    let (broker, port) = start(2, ClientPlacement::Spread);
    let (mut publisher, _) = PlainClient::connect(port, "publisher", true);
    let (mut subscriber, _) = PlainClient::connect(port, "subscriber", true);
    subscriber.subscribe("t", 0);
    // More than a mailbox holds.
    let count = 50_000;
    let sending = std::thread::spawn(move || {
        for number in 0..count {
            publisher.publish("t", &number.to_string(), QoS::AtMostOnce, false);
        }
        publisher
    });
    for number in 0..count {
        assert_eq!(subscriber.receive(), number.to_string());
    }
    drop(sending.join().unwrap());
    end(broker);
}

#[test]
fn a_client_comes_back_to_its_session() {
    let (broker, port) = start(3, ClientPlacement::Spread);
    let (mut publisher, _) = PlainClient::connect(port, "publisher", true);
    for round in 0..4 {
        for number in 0..4 {
            let name = format!("lasting-{number}");
            let (mut client, present) = PlainClient::connect(port, &name, false);
            assert_eq!(present, round > 0, "{name} in round {round}");
            if round == 0 {
                client.subscribe(&name, 1);
            } else {
                assert_eq!(client.receive(), format!("{round}"));
                assert_eq!(client.ping(), None);
            }
            client.write(&[0xE0, 0]);
            client.wait_for_end();
            publisher.publish_acknowledged(&name, &format!("{}", round + 1), false);
        }
    }
    end(broker);
}

#[test]
fn a_second_connection_takes_over_wherever_it_is() {
    let (broker, port) = start(3, ClientPlacement::Spread);
    let mut earlier: Vec<_> =
        (0..6).map(|n| PlainClient::connect(port, &format!("c{n}"), true).0).collect();
    for (number, old) in earlier.iter_mut().enumerate() {
        let (mut new, _) = PlainClient::connect(port, &format!("c{number}"), true);
        old.wait_for_end();
        assert_eq!(new.ping(), None);
    }
    end(broker);
}

#[test]
fn retained_messages_are_everywhere() {
    let (broker, port) = start(3, ClientPlacement::Spread);
    let (mut publisher, _) = PlainClient::connect(port, "publisher", true);
    publisher.publish_acknowledged("state/a", "1", true);
    publisher.publish_acknowledged("state/b", "2", true);
    publisher.publish_acknowledged("state/b", "", true);
    for number in 0..6 {
        let (mut reader, _) = PlainClient::connect(port, &format!("reader-{number}"), true);
        reader.subscribe("state/#", 0);
        assert_eq!(reader.receive(), "1");
        assert_eq!(reader.ping(), None);
    }
    end(broker);
}

#[test]
fn members_of_a_group_on_all_shards_share_its_messages() {
    let (broker, port) = start(3, ClientPlacement::Spread);
    let mut members: Vec<_> =
        (0..3).map(|n| PlainClient::connect(port, &format!("member-{n}"), true).0).collect();
    for member in &mut members {
        member.subscribe("$share/workers/job", 1);
    }
    let (mut publisher, _) = PlainClient::connect(port, "publisher", true);
    for number in 0..30 {
        publisher.publish_acknowledged("job", &number.to_string(), false);
    }
    let mut done: Vec<i32> = Vec::new();
    for member in &mut members {
        done.extend((0..10).map(|_| member.receive().parse::<i32>().unwrap()));
    }
    done.sort_unstable();
    assert_eq!(done, (0..30).collect::<Vec<_>>());
    end(broker);
}

#[test]
fn an_idle_broker_uses_one_shard() {
    let (broker, port) = start(4, ClientPlacement::ByLoad);
    let mut clients: Vec<_> =
        (0..20).map(|n| PlainClient::connect(port, &format!("c{n}"), true).0).collect();
    for client in &mut clients {
        client.subscribe("t", 0);
    }
    clients[0].publish("t", "x", QoS::AtMostOnce, false);
    for client in &mut clients {
        assert_eq!(client.receive(), "x");
    }
    drop(clients);
    end(broker);
}
