//! Logins whose verdict takes long: nobody else waits for them, and what comes behind a CONNECT
//! waits for its verdict; who must wait for another server holds up nobody who need not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use agentmq_identity::{Authenticator, Credentials, Outcome, Principal, Refusal, Work};
use agentmq_net::{Listener, ListenerOptions};
use agentmq_router::Settings;
use agentmq_session::MemoryEngine;
use agentmq_shard::{
    Clock, Command, Directory, Door, Mailboxes, Placement, ReportBoard, Shard, ShardHandle,
    ShardOptions, Workers,
};
use agentmq_testkit::codec::{Connect, Packet, ProtocolVersion, Publish, QoS, ReasonCode};
use agentmq_testkit::{RawClient, connect_from};

/// What the test lets a piece of work come to.
type Answer = Result<(), ReasonCode>;

/// Lets in who has no user name; about the others the test decides.
#[derive(Debug)]
struct Slow {
    started: Sender<String>,
    answers: Arc<Mutex<Receiver<Answer>>>,
}

#[derive(Debug)]
struct Question {
    name: String,
    started: Sender<String>,
    answers: Arc<Mutex<Receiver<Answer>>>,
}

impl Authenticator for Slow {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        let Some(name) = credentials.username else {
            return Outcome::Accepted(Principal::ANONYMOUS.into());
        };
        let (started, answers) = (self.started.clone(), Arc::clone(&self.answers));
        Outcome::Later(Box::new(Question { name: name.to_owned(), started, answers }))
    }
}

impl Work for Question {
    fn run(self: Box<Self>) -> Outcome {
        self.started.send(self.name.clone()).unwrap();
        let answer = self.answers.lock().unwrap().recv().expect("the test answers");
        assert!(self.name != "panics", "sabotage");
        match answer {
            Ok(()) => Outcome::Accepted(Principal::named(self.name.as_str()).into()),
            Err(reason) => Outcome::Refused(Refusal { reason, why: "the test says so".into() }),
        }
    }

    fn waits(&self) -> bool {
        self.name.starts_with("asked")
    }
}

struct World {
    handle: ShardHandle,
    port: u16,
    started: Receiver<String>,
    answers: Sender<Answer>,
}

impl World {
    fn start(waiting_logins: u32) -> Self {
        let address = "mqtt://127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&ListenerOptions::new(address)).unwrap();
        let port = listener.endpoint().to_string().rsplit(':').next().unwrap().parse().unwrap();
        let mut settings = Settings::default();
        settings.limits.waiting_logins = waiting_logins;
        let ((started, names), (answers, answered)) = (channel(), channel());
        let slow = Slow { started, answers: Arc::new(Mutex::new(answered)) };
        let (handle, _) = Shard::spawn(ShardOptions {
            number: 0,
            doors: vec![Door::new(listener)],
            settings: Arc::new(settings),
            authenticator: Arc::new(slow),
            quotas: Arc::default(),
            commit: Box::new(MemoryEngine),
            audit: Box::new(agentmq_session::NoAudit),
            sessions: Vec::new(),
            retained: Vec::new(),
            wills: Vec::new(),
            clock: Clock::new(),
            entropy: 1,
            board: Arc::new(ReportBoard::new(1)),
            sys_interval_secs: 0,
            version: String::new(),
            directory: Arc::new(Directory::new(1)),
            mailboxes: Arc::new(Mailboxes::new(1)),
            placement: Placement::Spread,
            workers: Workers::new(1),
        })
        .unwrap();
        Self { handle, port, started: names, answers }
    }

    fn login(&self, name: &str) -> RawClient {
        self.login_from(1, name)
    }

    /// From the address 127.0.0.`last`.
    fn login_from(&self, last: u8, name: &str) -> RawClient {
        let mut client = RawClient::over(connect_from(last, self.port));
        client.speak(ProtocolVersion::V5);
        client.send(&Packet::Connect(Box::new(connect(name))));
        client
    }

    fn bystander(&self) -> RawClient {
        let mut client = RawClient::tcp(self.port);
        client.connect("bystander");
        client
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.handle.send(Command::Drain);
    }
}

fn connect(name: &str) -> Connect<'_> {
    let version = ProtocolVersion::V5;
    Connect {
        client_id: name,
        username: Some(name),
        version,
        clean_start: true,
        ..Connect::default()
    }
}

fn reason(client: &mut RawClient) -> ReasonCode {
    client.receive().reason()
}

#[test]
fn others_go_on_and_what_stands_behind_a_connect_waits_for_its_verdict() {
    let world = World::start(10);
    let mut bystander = world.bystander();
    bystander.subscribe("t", QoS::AtMostOnce);
    let mut client = RawClient::tcp(world.port);
    client.speak(ProtocolVersion::V5);
    // All in one segment, and more once the server waits.
    let publish = |payload| Publish { topic: "t", payload, ..Publish::default() };
    let mut bytes = Vec::new();
    for packet in [Packet::Connect(Box::new(connect("a"))), Packet::Publish(publish(b"1"))] {
        packet.encode(ProtocolVersion::V5, &mut bytes);
    }
    client.send_bytes(&bytes);
    assert_eq!(world.started.recv().unwrap(), "a");
    client.send(&Packet::Publish(publish(b"2")));
    bystander.ping();
    bystander.ping();
    world.answers.send(Ok(())).unwrap();
    assert_eq!(reason(&mut client), ReasonCode::Success);
    client.send(&Packet::Publish(publish(b"3")));
    for expected in [b"1", b"2", b"3"] {
        assert_eq!(bystander.receive_publish().publish().payload, expected);
    }
}

#[test]
fn who_is_refused_reads_why_and_what_it_sent_has_no_effect() {
    let world = World::start(10);
    let mut bystander = world.bystander();
    bystander.subscribe("t", QoS::AtMostOnce);
    let mut client = world.login("a");
    client.send(&Packet::Publish(Publish { topic: "t", payload: b"x", ..Publish::default() }));
    world.started.recv().unwrap();
    world.answers.send(Err(ReasonCode::BadUserNameOrPassword)).unwrap();
    assert_eq!(reason(&mut client), ReasonCode::BadUserNameOrPassword);
    assert!(client.receive_or_end().is_none(), "closed");
    bystander.publish("t", b"mine", QoS::AtLeastOnce);
    assert_eq!(bystander.receive_publish().publish().payload, b"mine");
}

#[test]
fn a_client_that_leaves_or_whose_verdict_panics_harms_nobody() {
    let world = World::start(10);
    let mut bystander = world.bystander();
    drop(world.login("leaves"));
    assert_eq!(world.started.recv().unwrap(), "leaves");
    world.answers.send(Ok(())).unwrap();
    let mut client = world.login("panics");
    assert_eq!(world.started.recv().unwrap(), "panics");
    world.answers.send(Ok(())).unwrap();
    assert_eq!(reason(&mut client), ReasonCode::ServerUnavailable);
    let mut client = world.login("last");
    assert_eq!(world.started.recv().unwrap(), "last");
    world.answers.send(Ok(())).unwrap();
    assert_eq!(reason(&mut client), ReasonCode::Success);
    bystander.ping();
}

#[test]
fn when_as_many_wait_as_may_the_next_is_told_to_come_again() {
    let world = World::start(1);
    let (reasons, told) = channel();
    for number in 0..4 {
        let (mut client, reasons) = (world.login("some"), reasons.clone());
        if number == 0 {
            world.started.recv().unwrap(); // one is being worked on
        }
        std::thread::spawn(move || reasons.send(client.receive().reason()));
    }
    for _ in 0..2 {
        assert_eq!(told.recv().unwrap(), ReasonCode::ServerBusy);
    }
    for _ in 0..2 {
        world.answers.send(Ok(())).unwrap();
        assert_eq!(told.recv().unwrap(), ReasonCode::Success);
    }
}

#[test]
fn networks_take_turns_and_who_has_the_most_makes_room() {
    let world = World::start(3);
    let (reasons, told) = channel();
    let login = |last, name: &str| {
        let (mut client, reasons) = (world.login_from(last, name), reasons.clone());
        std::thread::spawn(move || reasons.send(client.receive().reason()));
    };
    login(1, "first");
    assert_eq!(world.started.recv().unwrap(), "first");
    for _ in 0..4 {
        login(1, "many");
    }
    assert_eq!(told.recv().unwrap(), ReasonCode::ServerBusy, "three wait");
    login(2, "other");
    assert_eq!(told.recv().unwrap(), ReasonCode::ServerBusy, "one of the many");
    for expected in ["many", "other", "many"] {
        world.answers.send(Ok(())).unwrap();
        assert_eq!(told.recv().unwrap(), ReasonCode::Success);
        assert_eq!(world.started.recv().unwrap(), expected);
    }
    world.answers.send(Ok(())).unwrap();
    assert_eq!(told.recv().unwrap(), ReasonCode::Success);
}

#[test]
fn who_waits_for_another_server_holds_up_nobody_who_does_not() {
    let world = World::start(10);
    let mut asked: Vec<_> = (0..3).map(|number| world.login(&format!("asked-{number}"))).collect();
    for _ in 0..3 {
        assert!(world.started.recv().unwrap().starts_with("asked"), "all of them at once");
    }
    let mut hashed = world.login("hashed");
    assert_eq!(world.started.recv().unwrap(), "hashed", "on the only thread that computes");
    for _ in 0..4 {
        world.answers.send(Ok(())).unwrap();
    }
    for client in asked.iter_mut().chain([&mut hashed]) {
        assert_eq!(reason(client), ReasonCode::Success);
    }
}
