//! A connection that moves to another shard takes along what has been read of it, whatever it
//! travels on: its CONNECT and all that came with it, decrypted or not, framed or not.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use agentmq_testkit::codec::{
    Connect, Disconnect, Packet, Properties, ProtocolVersion, Publish, QoS, ReasonCode, Will,
};
use agentmq_testkit::{Broker, RawClient, Signal, Transport, WebSocket, connect_packet};

use crate::authority::Authority;

/// Bytes of a payload: from what fits in one read three times to what takes many.
const SIZES: [usize; 3] = [1, 40_000, 300_000];

#[test]
fn a_burst_moves_along_whatever_it_travels_on() {
    let (authority, broker) = start();
    for round in 0..4 {
        for way in WAYS {
            for size in SIZES {
                // More than there are shards, so that all of them get some.
                let client_id = format!("{way}-{size}-{round}");
                let mut client = say(&authority, &broker, way, &burst(&client_id, size));
                expect_answers(&mut client, size, &client_id);
                client.disconnect();
                assert_eq!(client.receive_or_end(), None, "{client_id}");
            }
        }
    }
    for shard in 1..SHARDS {
        broker.wait_for_log(&format!("active from now on shard={shard}"), 0);
    }
}

/// All of it has come when the broker first reads, and is a little more than one read takes: no
/// later event tells of the rest.
#[test]
fn a_burst_that_is_longer_than_one_read_moves_along() {
    let (authority, broker) = start();
    for round in 0..2 * SHARDS {
        for way in ["mqtt", "mqtts", "ws", "wss"] {
            for size in [21_800, 21_900, 24_000] {
                let client_id = format!("{way}-{size}-{round}");
                let mut client = say(&authority, &broker, way, b"");
                broker.signal(Signal::STOP);
                // Two TLS records, or frames: the second ends behind what one read takes.
                let bytes = burst(&client_id, size);
                client.send_bytes(&bytes[..1_000]);
                client.send_bytes(&bytes[1_000..]);
                broker.signal(Signal::CONT);
                expect_answers(&mut client, size, &client_id);
            }
        }
    }
}

#[test]
fn a_client_that_leaves_without_listening_is_heard_on_every_shard() {
    let (authority, broker) = start();
    let mut subscribers: Vec<RawClient> =
        (0..SHARDS).map(|number| broker.client(&format!("subscriber-{number}"))).collect();
    for subscriber in &mut subscribers {
        assert!(!subscriber.subscribe("newcomer/+", QoS::AtMostOnce).is_error());
    }
    let mut missing = BTreeSet::new();
    for round in 0..20 {
        for way in WAYS {
            let topic = format!("newcomer/{way}-{round}");
            let mut bytes = connect_packet(ProtocolVersion::V5, "");
            let publish = Publish { topic: &topic, payload: b"x", ..Publish::default() };
            publish.encode(ProtocolVersion::V5, &mut bytes);
            Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION))
                .encode(ProtocolVersion::V5, &mut bytes);
            drop(say(&authority, &broker, way, &bytes));
            missing.insert(topic);
        }
    }
    for subscriber in &mut subscribers {
        let mut missing = missing.clone();
        while !missing.is_empty() {
            let received = subscriber.receive_publish();
            let topic = received.publish().topic;
            assert!(missing.remove(topic), "{topic} came twice");
        }
    }
}

#[test]
fn a_connect_in_pieces_moves_once_it_is_whole() {
    let (_, broker) = start();
    let payload = vec![b'w'; 60_000];
    let will = Will {
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "will",
        payload: &payload,
        properties: Properties::EMPTY,
    };
    let mut heir = broker.client("heir");
    assert!(!heir.subscribe("will", QoS::AtMostOnce).is_error());
    for number in 0..2 * SHARDS {
        let client_id = format!("pieces-{number}");
        let (version, client_id) = (ProtocolVersion::V5, client_id.as_str());
        let mut bytes = Vec::new();
        Connect { version, client_id, will: Some(will), ..Connect::default() }.encode(&mut bytes);
        bytes.extend_from_slice(&[0xC0, 0]);
        let mut client = broker.dial();
        client.send_split(&bytes, [1_000, 17_000, 70_000][number % 3]);
        assert_eq!(client.receive().reason(), ReasonCode::Success);
        client.ping();
        drop(client);
        assert_eq!(heir.receive_publish().publish().payload, payload);
    }
}

/// A broker with three shards, clients spread by force, and a listener of every kind.
fn start() -> (Authority, Broker) {
    let authority = Authority::new();
    authority.issue("server");
    let tls = format!(
        "tls.cert = {:?}\ntls.key = {:?}\n",
        authority.path("server.pem").display().to_string(),
        authority.path("server.key").display().to_string(),
    );
    let socket = authority.path("mqtt.sock").display().to_string();
    let config = format!(
        "{}[[listeners]]\nurl = \"mqtts://127.0.0.1:0\"\n{tls}\
         [[listeners]]\nurl = \"ws://127.0.0.1:0/mqtt\"\n\
         [[listeners]]\nurl = \"wss://127.0.0.1:0/mqtt\"\n{tls}\
         [[listeners]]\nurl = \"unix://{socket}\"\n\
         [[listeners]]\nurl = \"mqtt://127.0.0.1:0\"\nproxy_from = [\"127.0.0.0/8\"]\n\
         [threads]\nshards = {SHARDS}\nplacement = \"spread\"\n",
        crate::TCP
    );
    (authority, Broker::start(crate::BINARY, &config))
}

/// Opens a connection and says `first` with the first bytes that can carry it.
fn say(authority: &Authority, broker: &Broker, way: &str, first: &[u8]) -> RawClient {
    let dial = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut client = match way {
        "mqtt" => broker.dial(),
        "mqtts" => {
            let port = broker.port("mqtts");
            return RawClient::over(authority.dial_saying(port, None, first).unwrap());
        }
        "ws" => RawClient::over(framed(dial(broker.port("ws")), first)),
        "wss" => {
            let stream = authority.dial(broker.port("wss"), None).unwrap();
            RawClient::over(framed(stream, first))
        }
        "unix" => RawClient::over(UnixStream::connect(authority.path("mqtt.sock")).unwrap()),
        "proxy" => {
            let url = broker.urls().last().unwrap();
            let mut stream = dial(url.rsplit(':').next().unwrap().parse().unwrap());
            let header = b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 1883\r\n";
            stream.write_all(&[header, first].concat()).unwrap();
            return RawClient::over(stream);
        }
        other => unreachable!("{other} is not in the list"),
    };
    if !way.starts_with("ws") {
        client.send_bytes(first);
    }
    client
}

/// A WebSocket whose first frames leave in one write, cut where no packet ends.
fn framed<T: Transport>(stream: T, first: &[u8]) -> WebSocket<Corked<T>> {
    let stream = Corked { stream, held: Vec::new(), is_corked: false };
    let mut socket = WebSocket::upgrade(stream, "/mqtt", "mqtt").unwrap();
    socket.stream_mut().is_corked = true;
    for part in first.chunks(first.len().div_ceil(3).max(1)) {
        socket.send_frame(0x82, part).unwrap();
    }
    socket.stream_mut().uncork().unwrap();
    socket
}

/// CONNECT, SUBSCRIBE, a PUBLISH of each QoS to itself, and PINGREQ.
fn burst(client_id: &str, size: usize) -> Vec<u8> {
    let version = ProtocolVersion::V5;
    let mut bytes = connect_packet(version, client_id);
    let length = client_id.len() as u8;
    bytes.extend_from_slice(&[0x82, length + 6, 0, 9, 0, 0, length]);
    bytes.extend_from_slice(client_id.as_bytes());
    bytes.push(2);
    let payload = &vec![7; size];
    for (qos, packet_id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
        Publish { qos, packet_id, topic: client_id, payload, ..Publish::default() }
            .encode(version, &mut bytes);
    }
    bytes.extend_from_slice(&[0xC0, 0]);
    bytes
}

fn expect_answers(client: &mut RawClient, size: usize, name: &str) {
    assert_eq!(client.receive().reason(), ReasonCode::Success, "{name}");
    let (mut delivered, mut acknowledged, mut subscribed, mut answered) = (vec![], vec![], 0, 0);
    for _ in 0..7 {
        let received = client.receive();
        match received.packet() {
            Packet::Publish(publish) => {
                assert_eq!(publish.payload.len(), size, "{name}");
                delivered.push(publish.qos);
            }
            Packet::Ack(ack) => acknowledged.push(ack.packet_id),
            Packet::SubAck(_) => subscribed += 1,
            Packet::PingResp => answered += 1,
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(delivered, [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce], "{name}");
    assert_eq!(acknowledged, [1, 2], "{name}");
    assert_eq!((subscribed, answered), (1, 1), "{name}");
}

/// Holds back what is written while it is corked.
struct Corked<T> {
    stream: T,
    held: Vec<u8>,
    is_corked: bool,
}

impl<T: Write> Corked<T> {
    fn uncork(&mut self) -> io::Result<()> {
        self.is_corked = false;
        self.stream.write_all(&std::mem::take(&mut self.held))?;
        self.stream.flush()
    }
}

impl<T: Read> Read for Corked<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl<T: Write> Write for Corked<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_corked {
            return self.stream.write(bytes);
        }
        self.held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<T: Transport> Transport for Corked<T> {
    fn limit_reads(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.limit_reads(patience)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.finish()
    }
}

const WAYS: [&str; 6] = ["mqtt", "mqtts", "ws", "wss", "unix", "proxy"];
const SHARDS: usize = 3;
