//! A client that shuts its sending side right behind its packets, and reads what is answered.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use agentmq_broker::{Broker, ClientPlacement, Config, Durability, ListenerConfig};
use agentmq_codec::{Connect, ProtocolVersion, frame};

#[test]
fn every_answer_comes_before_the_end() {
    let (broker, port) = start(1, ClientPlacement::ByLoad);
    for round in 0..ROUNDS {
        let packets = [connect(&format!("burst-{round}")), REQUESTS.to_vec()].concat();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(answers(stream, &packets), [0x20, 0x90, 0x40, 0x50, 0xB0, 0xD0]);
    }
    end(broker);
}

#[test]
fn those_of_an_open_connection_too() {
    let (broker, port) = start(1, ClientPlacement::ByLoad);
    for round in 0..ROUNDS {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(&connect(&format!("open-{round}"))).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap(); // CONNACK
        assert_eq!(answers(stream, REQUESTS), [0x90, 0x40, 0x50, 0xB0, 0xD0]);
    }
    end(broker);
}

/// A SUBACK waits until the other shard knows of the subscription.
#[test]
fn an_answer_that_waits_for_another_shard_comes() {
    let (broker, port) = start(2, ClientPlacement::Spread);
    for round in 0..ROUNDS {
        let packets = [connect(&format!("spread-{round}")), REQUESTS.to_vec()].concat();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut answers = answers(stream, &packets);
        answers.sort_unstable(); // PINGRESP waits for nothing
        assert_eq!(answers, [0x20, 0x40, 0x50, 0x90, 0xB0, 0xD0]);
    }
    end(broker);
}

/// Says everything, shuts the sending side, and returns the first bytes of what comes until the
/// broker closes.
fn answers(mut stream: TcpStream, packets: &[u8]) -> Vec<u8> {
    // Longer than any of this takes: a test that would wait for ever fails instead.
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(packets).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let (mut rest, mut answers) = (bytes.as_slice(), Vec::new());
    while let Some(cut) = frame::cut(rest, usize::MAX).unwrap() {
        answers.push(cut.first);
        rest = &rest[cut.total..];
    }
    assert!(rest.is_empty(), "the last packet is whole");
    answers
}

fn connect(client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let version = ProtocolVersion::V311;
    Connect { version, clean_start: true, client_id, ..Connect::default() }.encode(&mut bytes);
    bytes
}

fn start(shards: u16, placement: ClientPlacement) -> (Broker, u16) {
    let mut config = Config {
        listeners: vec![ListenerConfig::new("mqtt://127.0.0.1:0")],
        durability: Durability::Memory,
        ..Config::default()
    };
    config.threads.shards = shards;
    config.threads.placement = placement;
    config.sys.interval_secs = 0;
    let broker = Broker::start(config).unwrap();
    let address = broker.endpoints()[0].to_string();
    (broker, address.rsplit(':').next().unwrap().parse().unwrap())
}

fn end(broker: Broker) {
    broker.drain();
    broker.wait().unwrap();
}

/// SUBSCRIBE, PUBLISH with QoS 1 and 2 to another topic, UNSUBSCRIBE and PINGREQ.
const REQUESTS: &[u8] = b"\x82\x06\0\x01\0\x01s\x01\
    \x32\x06\0\x01t\0\x02x\
    \x34\x06\0\x01t\0\x03x\
    \xa2\x05\0\x04\0\x01s\
    \xc0\0";
const ROUNDS: usize = 100;
