//! Sends one client's publications through a router a fixed number of times, so that
//! `valgrind --tool=callgrind` can count the instructions of a message, which do not depend on
//! what else the machine does:
//!
//! ```text
//! cargo bench -p agentmq-router --bench instructions --no-run
//! valgrind --tool=callgrind target/release/deps/instructions-… qos0 10000
//! ```
//!
//! The number for one message is the difference between a run of 2 N and a run of N, divided by
//! N. Without arguments it names the operations and runs each once.

use std::sync::Arc;

use agentmq_codec::{Connect, ProtocolVersion, Publish, QoS, frame};
use agentmq_identity::Open;
use agentmq_router::{ConnectionId, Router, Settings};
use agentmq_session::{MemoryEngine, Time};

type Operation = (&'static str, fn(usize));

const OPERATIONS: &[Operation] = &[
    ("qos0", |n| run(1, QoS::AtMostOnce, false, n)),
    ("qos1", |n| run(1, QoS::AtLeastOnce, false, n)),
    ("qos0-to-10", |n| run(10, QoS::AtMostOnce, false, n)),
    ("retained", |n| run(1, QoS::AtMostOnce, true, n)),
    ("shared-qos0", |n| run_shared(QoS::AtMostOnce, n)),
    ("shared-qos1", |n| run_shared(QoS::AtLeastOnce, n)),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [operation, repeat] = arguments.as_slice() else {
        for (name, run) in OPERATIONS {
            run(1);
            report(name);
        }
        return;
    };
    let repeat: usize = repeat.parse().expect("a number of repetitions");
    let (_, run) =
        OPERATIONS.iter().find(|(name, _)| name == operation).expect("the name of an operation");
    run(repeat);
}

#[expect(clippy::print_stdout, reason = "a program that lists its operations")]
fn report(name: &str) {
    println!("{name}");
}

/// One publisher, `subscribers` that get everything, `count` messages.
fn run(subscribers: u32, qos: QoS, retain: bool, count: usize) {
    let mut router = router(subscribers, b"\x82\x0E\0\x01\0\x09sensors/#\x01");
    let publish = publish(qos, retain);
    let mut dirty = Vec::new();
    for id in 1..=count {
        feed(&mut router, 0, &publish);
        if qos == QoS::AtLeastOnce {
            acknowledge(&mut router, 1, id);
        }
        flush(&mut router, &mut dirty);
    }
}

/// One publisher, four members of a group that get `count` messages in turn.
fn run_shared(qos: QoS, count: usize) {
    let mut router = router(MEMBERS, b"\x82\x17\0\x01\0\x12$share/g/sensors/#\x01");
    let publish = publish(qos, false);
    let mut dirty = Vec::new();
    for number in 0..count {
        feed(&mut router, 0, &publish);
        if qos == QoS::AtLeastOnce {
            let (turn, member) = (number / MEMBERS as usize, number as u32 % MEMBERS);
            acknowledge(&mut router, 1 + member, turn + 1);
        }
        flush(&mut router, &mut dirty);
    }
}

/// A router with a publisher, client 0, and subscribers.
fn router(subscribers: u32, subscribe: &[u8]) -> Router {
    let (settings, open) = (Arc::new(Settings::default()), Arc::new(Open));
    let mut router = Router::new(settings, open, Box::new(MemoryEngine), 7);
    let mut dirty = Vec::new();
    let version = ProtocolVersion::V311;
    for client in 0..=subscribers {
        let client_id = format!("client-{client}");
        let mut bytes = Vec::new();
        Connect { version, clean_start: true, client_id: &client_id, ..Connect::default() }
            .encode(&mut bytes);
        feed(&mut router, client, &bytes);
        if client > 0 {
            feed(&mut router, client, subscribe);
        }
        flush(&mut router, &mut dirty);
    }
    router
}

fn publish(qos: QoS, retain: bool) -> Vec<u8> {
    let mut publish = Vec::new();
    let topic = "sensors/room-17/temper";
    Publish { qos, retain, topic, packet_id: 7, payload: &[b'x'; 64], ..Publish::default() }
        .encode(ProtocolVersion::V311, &mut publish);
    publish
}

/// PUBACK for the publication `number`, counted from 1, to a client.
fn acknowledge(router: &mut Router, client: u32, number: usize) {
    let id = ((number - 1) % 65_535 + 1) as u16;
    let [high, low] = id.to_be_bytes();
    feed(router, client, &[0x40, 2, high, low]);
}

fn feed(router: &mut Router, client: u32, bytes: &[u8]) {
    let frame = frame::cut(bytes, 1 << 20).ok().flatten().expect("a whole packet");
    let body = &bytes[frame.body_at..frame.total];
    router.packet(ConnectionId(client), frame.first, body, Time::ZERO);
}

fn flush(router: &mut Router, dirty: &mut Vec<ConnectionId>) {
    router.dirty(dirty);
    for id in dirty.drain(..) {
        let outbox = router.outbox(id).expect("a connection that was in the list");
        let bytes = outbox.len();
        assert!(bytes > 0, "something to write");
        outbox.consume(bytes);
        router.flushed(id, bytes, Time::ZERO);
    }
}

/// Members of the shared group.
const MEMBERS: u32 = 4;
