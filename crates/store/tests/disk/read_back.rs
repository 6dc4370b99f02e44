//! Messages are read back while the writer writes and the log lets go of its oldest files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agentmq_codec::{Properties, ProtocolVersion, QoS};
use agentmq_session::{
    Change, CommitEngine, Durable, Recall, Recipient, RecordedMessage, Session, SessionKey, Ticket,
    Time,
};
use agentmq_store::{Clocks, DiskEngine, Waker, open};

use crate::shard::{KIB, settings};

/// Messages that stay, and messages that come and go behind them.
const LASTING: u64 = 60;
const PASSING: u64 = 1_500;

fn payload(ordinal: u64) -> Vec<u8> {
    vec![ordinal as u8; 300 + (ordinal % 500) as usize]
}

fn enqueue(engine: &mut DiskEngine, session: SessionKey, ordinal: u64) -> Ticket {
    let recipient = Recipient {
        session,
        ordinal,
        packet_id: 0,
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: None,
        group: None,
    };
    engine.record(Change::Message(&RecordedMessage {
        topic: "jobs",
        payload: &payload(ordinal),
        properties: Properties::EMPTY,
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: None,
        recipients: &[recipient],
        is_retained: false,
        author: None,
        arrived: None,
        depends_on: None,
        will_of: SessionKey::NONE,
    }))
}

fn expect(recalls: &[Recall], first: u64) {
    for (ordinal, recall) in (first..).zip(recalls) {
        let Recall::Message(recalled) = recall else { panic!("{ordinal}: {recall:?}") };
        assert!(*recalled.message.payload() == payload(ordinal), "another message at {ordinal}");
    }
}

#[test]
fn a_message_is_found_wherever_cleaning_has_put_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path().to_str().unwrap(), 16 * KIB);
    settings.syncs = false; // more happens meanwhile
    let clocks = Clocks { now: Time::ZERO, wall: 1_000_000 };
    let opened = open(&settings, clocks).unwrap();
    let wakers: Vec<Waker> = (0..2).map(|_| -> Waker { Box::new(|| {}) }).collect();
    let (writer, mut engines) = opened.start(wakers).unwrap();
    let (mut reader, mut engine) = (engines.remove(0), engines.remove(0));
    let key = engine.new_key();
    let mut session = Session::new("worker".into(), 0, ProtocolVersion::V5);
    session.expiry = u32::MAX;
    let none = Ticket::default();
    let durable = Durable { key, next_ordinal: 0, exchanges: none, posted: none };
    session.durable = Some(Box::new(durable));
    engine.record(Change::Session(&session));
    let mut ticket = none;
    for ordinal in 1..=LASTING {
        ticket = enqueue(&mut engine, key, ordinal);
    }
    commit(&mut engine, ticket);
    let (is_done, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stop, count) = (Arc::clone(&is_done), Arc::clone(&rounds));
    let reading = std::thread::spawn(move || {
        let lasting: Vec<u64> = (1..=LASTING).collect();
        while !stop.load(Ordering::Acquire) {
            let recalls = reader.recall(key, &lasting);
            assert_eq!(recalls.len(), lasting.len());
            expect(&recalls, 1);
            count.fetch_add(1, Ordering::Release);
        }
    });
    for ordinal in LASTING + 1..=LASTING + PASSING {
        let ticket = enqueue(&mut engine, key, ordinal);
        commit(&mut engine, ticket);
        expect(&engine.recall(key, &[ordinal]), ordinal);
        engine.record(Change::Dropped { session: key, ordinal });
        if reading.is_finished() {
            break;
        }
    }
    is_done.store(true, Ordering::Release);
    reading.join().expect("everything was found");
    let statistics = engine.statistics().unwrap();
    assert_eq!(statistics.damage, 0);
    assert!(statistics.segments < 20, "the log was cleaned meanwhile");
    assert!(rounds.load(Ordering::Acquire) > 10, "and read");
    drop(writer);
}

fn commit(engine: &mut DiskEngine, ticket: Ticket) {
    engine.draw(ticket);
    engine.submit(Time::ZERO);
    while engine.completed() < ticket {
        std::thread::yield_now();
    }
}
