//! A panic in the work for one connection costs that connection only.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "modules of a test")]

mod saboteur;

use std::sync::Arc;
use std::thread::JoinHandle;

use agentmq_net::{Listener, ListenerOptions};
use agentmq_router::{Counters, Settings};
use agentmq_shard::{
    Clock, Command, Directory, Door, Mailboxes, Placement, ReportBoard, Shard, ShardError,
    ShardHandle, ShardOptions, Workers,
};
use agentmq_testkit::RawClient;
use agentmq_testkit::codec::{
    Ack, AckKind, Auth, Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion,
    Publish, QoS, ReasonCode, Will,
};
use saboteur::{Fuse, IN_EXCHANGE, NOW, Saboteur, WHEN_DROPPED};

#[test]
fn a_connect_that_panics_ends_alone() {
    let mut world = World::start();
    let mut victim = world.client("victim");
    for data in [NOW, IN_EXCHANGE] {
        let mut client = world.dial();
        send_connect(&mut client, "victim", data, None);
        if data == IN_EXCHANGE {
            assert!(matches!(client.receive().packet(), Packet::Auth(_)));
            send_auth(&mut client, ReasonCode::ContinueAuthentication, b"");
        }
        assert_eq!(client.receive_or_end(), None, "closed");
        victim.ping(); // nothing was taken over
        world.prove_that_messages_flow();
    }
    let counters = world.end();
    assert_eq!(counters.panics, 2);
}

/// The client leaves in the middle of the exchange: the panic is not in the work on a packet.
#[test]
fn a_connection_whose_end_panics_leaves_its_number_free() {
    let mut world = World::start();
    for _ in 0..3 {
        let mut client = world.dial();
        send_connect(&mut client, "leaves", WHEN_DROPPED, None);
        assert!(matches!(client.receive().packet(), Packet::Auth(_)));
        client.finish();
        assert_eq!(client.receive_or_end(), None);
        let mut next = world.client("next"); // gets the number
        next.ping();
        world.prove_that_messages_flow();
    }
    assert_eq!(world.end().panics, 3);
}

#[test]
fn a_session_survives_the_panic_of_its_connection() {
    let world = World::start();
    let mut heir = world.client("heir");
    assert!(!heir.subscribe("will", QoS::AtMostOnce).is_error());
    let mut client = world.dial();
    send_connect(&mut client, "lasting", b"", Some("will"));
    assert_eq!(client.receive().reason(), ReasonCode::Success);
    assert!(!client.subscribe("to/lasting", QoS::AtLeastOnce).is_error());
    send_auth(&mut client, ReasonCode::ReAuthenticate, NOW);
    assert_eq!(client.receive_or_end(), None, "closed");
    assert_eq!(heir.receive_publish().publish().topic, "will");
    let reason = heir.publish("to/lasting", b"waits", QoS::AtLeastOnce);
    assert_eq!(reason, ReasonCode::Success);
    let mut client = world.dial();
    assert!(resume(&mut client, "lasting"));
    assert_eq!(client.receive_publish().publish().payload, b"waits");
    client.ping();
    assert_eq!(world.end().panics, 1);
}

/// The packet has had its effect, its acknowledgement never leaves.
#[test]
fn a_publish_that_panics_can_be_repeated() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::start();
        let mut subscriber = world.client("subscriber");
        assert!(!subscriber.subscribe("t", QoS::AtLeastOnce).is_error());
        let mut client = world.dial();
        assert!(!resume(&mut client, "publisher"));
        let publish = Publish { topic: "t", qos, packet_id: 7, ..Publish::default() };
        world.fuse.light();
        client.send(&Packet::Publish(publish));
        assert_eq!(client.receive_or_end(), None, "closed");
        assert_eq!(subscriber.receive_publish().publish().topic, "t");
        let mut client = world.dial();
        assert!(resume(&mut client, "publisher"));
        client.send(&Packet::Publish(Publish { dup: true, ..publish }));
        assert_eq!(client.receive().reason(), ReasonCode::Success);
        if qos == QoS::AtLeastOnce {
            assert_eq!(subscriber.receive_publish().publish().topic, "t");
        } else {
            // Once in spite of all; and so does its release.
            world.fuse.light();
            let release = Packet::Ack(Ack::new(AckKind::PubRel, 7, ReasonCode::Success));
            client.send(&release);
            assert_eq!(client.receive_or_end(), None, "closed");
            let mut client = world.dial();
            assert!(resume(&mut client, "publisher"));
            client.send(&release);
            assert!(matches!(client.receive().packet(), Packet::Ack(ack) if ack.packet_id == 7));
        }
        expect_nothing_more(&mut subscriber);
        world.prove_that_messages_flow();
        world.end();
    }
}

#[test]
fn a_subscribe_that_panics_can_be_repeated() {
    for filter in ["t", "$share/group/t"] {
        let world = World::start();
        let mut client = world.dial();
        assert!(!resume(&mut client, "subscriber"));
        world.fuse.light();
        client.send_bytes(&subscribe(filter));
        assert_eq!(client.receive_or_end(), None, "closed");
        let mut client = world.dial();
        assert!(resume(&mut client, "subscriber"));
        assert!(!client.subscribe(filter, QoS::AtLeastOnce).is_error());
        let mut publisher = world.client("publisher");
        assert_eq!(publisher.publish("t", b"1", QoS::AtLeastOnce), ReasonCode::Success);
        assert_eq!(client.receive_publish().publish().payload, b"1");
        expect_nothing_more(&mut client);
        // A clean session takes its half subscription with it.
        let mut clean = world.client("clean");
        world.fuse.light();
        clean.send_bytes(&subscribe("only/clean"));
        assert_eq!(clean.receive_or_end(), None, "closed");
        let reason = publisher.publish("only/clean", b"1", QoS::AtLeastOnce);
        assert_eq!(reason, ReasonCode::NoMatchingSubscribers);
        drop(client);
        let counters = world.end();
        assert_eq!(counters.panics, 2);
        assert_eq!(counters.subscriptions_now, 1, "the lasting one");
    }
}

/// One shard and two clients that must never notice anything.
struct World {
    handle: ShardHandle,
    thread: JoinHandle<Result<(), ShardError>>,
    board: Arc<ReportBoard>,
    fuse: Fuse,
    port: u16,
    witnesses: [RawClient; 2],
}

impl World {
    fn start() -> Self {
        let address = "mqtt://127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&ListenerOptions::new(address)).unwrap();
        let port = listener.endpoint().to_string().rsplit(':').next().unwrap().parse().unwrap();
        let (fuse, board) = (Fuse::default(), Arc::new(ReportBoard::new(1)));
        let (handle, thread) = Shard::spawn(ShardOptions {
            number: 0,
            doors: vec![Door::new(listener)],
            settings: Arc::new(Settings::default()),
            authenticator: Arc::new(Saboteur),
            quotas: Arc::default(),
            commit: Box::new(fuse.clone()),
            audit: Box::new(agentmq_session::NoAudit),
            sessions: Vec::new(),
            retained: Vec::new(),
            wills: Vec::new(),
            clock: Clock::new(),
            entropy: 1,
            board: Arc::clone(&board),
            sys_interval_secs: 0,
            version: String::new(),
            directory: Arc::new(Directory::new(1)),
            mailboxes: Arc::new(Mailboxes::new(1)),
            placement: Placement::Spread,
            workers: Workers::new(1),
        })
        .unwrap();
        let mut witnesses = ["witness", "sender"].map(|client_id| {
            let mut client = RawClient::tcp(port);
            client.connect(client_id);
            client
        });
        assert!(!witnesses[0].subscribe("witness", QoS::AtMostOnce).is_error());
        Self { handle, thread, board, fuse, port, witnesses }
    }

    fn dial(&self) -> RawClient {
        RawClient::tcp(self.port)
    }

    fn client(&self, client_id: &str) -> RawClient {
        let mut client = self.dial();
        client.connect(client_id);
        client
    }

    fn prove_that_messages_flow(&mut self) {
        let [witness, sender] = &mut self.witnesses;
        assert_eq!(sender.publish("witness", b"x", QoS::AtLeastOnce), ReasonCode::Success);
        assert_eq!(witness.receive_publish().publish().payload, b"x");
    }

    /// Looks once more at the witnesses, ends the shard, and returns what it has counted.
    fn end(mut self) -> Counters {
        self.prove_that_messages_flow();
        self.handle.send(Command::Drain);
        for witness in &mut self.witnesses {
            assert_eq!(witness.reason_of_end(), Some(ReasonCode::ServerShuttingDown));
        }
        self.thread.join().expect("the shard has not panicked").unwrap();
        let counters = self.board.total();
        assert_eq!(counters.connections_now, 0, "connections are counted right");
        counters
    }
}

/// A CONNECT whose session lasts, with Authentication Data.
fn send_connect(client: &mut RawClient, client_id: &str, data: &[u8], will: Option<&str>) {
    let properties = PropertiesBuf::new()
        .with(Property::U32(PropertyId::SessionExpiryInterval, 600))
        .with(Property::Text(PropertyId::AuthenticationMethod, METHOD))
        .with(Property::Binary(PropertyId::AuthenticationData, data));
    let will = will.map(|topic| Will {
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        payload: b"",
        properties: Default::default(),
    });
    client.send(&Packet::Connect(Box::new(Connect {
        version: ProtocolVersion::V5,
        client_id,
        will,
        properties: properties.view(),
        ..Connect::default()
    })));
}

/// Connects with a session that lasts; says whether it was there.
fn resume(client: &mut RawClient, client_id: &str) -> bool {
    send_connect(client, client_id, b"", None);
    let connack = client.receive();
    let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
    assert_eq!(packet.reason, ReasonCode::Success);
    packet.session_present
}

fn send_auth(client: &mut RawClient, reason: ReasonCode, data: &[u8]) {
    let properties = PropertiesBuf::new()
        .with(Property::Text(PropertyId::AuthenticationMethod, METHOD))
        .with(Property::Binary(PropertyId::AuthenticationData, data));
    client.send(&Packet::Auth(Auth { reason, properties: properties.view() }));
}

fn expect_nothing_more(client: &mut RawClient) {
    client.send(&Packet::PingReq);
    let next = client.receive();
    assert!(matches!(next.packet(), Packet::PingResp), "{next:?}");
}

/// A SUBSCRIBE with QoS 1.
fn subscribe(filter: &str) -> Vec<u8> {
    let length = filter.len() as u8;
    [&[0x82, length + 6, 0, 9, 0, 0, length], filter.as_bytes(), &[1]].concat()
}

const METHOD: &str = "sabotage";
