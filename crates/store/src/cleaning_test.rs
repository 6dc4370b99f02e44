//! What cleaning leaves behind, and what it never takes.

use std::io;
use std::sync::{Arc, Mutex};

use agentmq_codec::{Packet, ProtocolVersion, Publish, QoS, SubscriptionOptions};
use agentmq_log::{Disk, Fault, Room, SimulatedDisk, SimulatedFile};
use agentmq_session::{Condition, Recall, SessionKey, Ticket};

use crate::Watermarks;
use crate::bodies::{Bodies, LogBodies};
use crate::record::{MessageRecord, RecipientRecord, Record, SessionRecord};
use crate::store::{Settings, Store};
use crate::writer::Committer;

const SESSION: SessionKey = SessionKey(1);

fn settings(segment_bytes: u64, reserve_bytes: u64) -> Settings {
    let log = agentmq_log::Settings { segment_bytes, reserve_bytes, seed: 3 };
    Settings { log, syncs: true }
}

fn open(disk: &SimulatedDisk, settings: Settings) -> Store<SimulatedDisk> {
    Store::open(disk.clone(), settings).expect("a store").0
}

fn add(store: &mut Store<SimulatedDisk>, record: &Record<'_>) {
    let mut content = Vec::new();
    record.encode(&mut content);
    store.add(&content).expect("small");
}

fn session(expiry: u32) -> Record<'static> {
    Record::Session(SessionRecord {
        key: SESSION,
        client_id: "client",
        version: ProtocolVersion::V5,
        principal: None,
        expiry,
        is_connected: true,
        expires_at: 0,
        will: None,
    })
}

fn packet(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let publish = Publish { retain: true, topic, payload, ..Publish::default() };
    Packet::Publish(publish).encode(ProtocolVersion::V5, &mut packet);
    packet
}

/// A message for the session, and a retained one.
fn message(packet: &[u8], ordinal: u64, is_retained: bool, expires_at: u64) -> MessageRecord<'_> {
    let recipient = RecipientRecord {
        session: SESSION,
        ordinal,
        packet_id: 0,
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: Vec::new(),
        group: None,
    };
    let recipients = if ordinal > 0 { vec![recipient] } else { Vec::new() };
    MessageRecord { is_retained, expires_at, recipients, ..MessageRecord::clearing(packet) }
}

fn used(store: &Store<SimulatedDisk>) -> u64 {
    store.log().segments().map(|it| it.used).sum()
}

/// Commits and cleans until there is nothing to clean; panics if that never ends.
fn clean(store: &mut Store<SimulatedDisk>, wall: u64) {
    for _ in 0..1000 {
        store.commit(false).expect("room");
        let has_more = store.clean(wall, None).expect("room");
        if !has_more && !store.has_pending() {
            return;
        }
    }
    panic!("cleaning goes on for ever");
}

#[test]
fn a_session_recorded_again_and_again_is_written_again_once() {
    let mut store = open(&SimulatedDisk::default(), settings(64 * 1024, 0));
    let mut added = 0;
    for number in 0..1_000 {
        add(&mut store, &session(number));
        added += 1;
    }
    for _ in 0..3_000 {
        for _ in 0..10 {
            add(&mut store, &Record::Ended(SessionKey(9)));
            added += 1;
        }
        clean(&mut store, 0);
    }
    let again = store.log().next_sequence() - 1 - added;
    assert!((1..20).contains(&again), "{again} records were written again");
    assert!(used(&store) < 4 * 64 * 1024, "{}", used(&store));
    store.state().assert_exact();
}

#[test]
fn long_filters_do_not_keep_the_writer_busy() {
    let mut store = open(&SimulatedDisk::default(), settings(16 * 1024, 0));
    add(&mut store, &session(1));
    let options = SubscriptionOptions::at(QoS::AtLeastOnce);
    for number in 0..2_000 {
        let filter = format!("{number}/{}", "x".repeat(200));
        add(&mut store, &Record::Subscribed { session: SESSION, filter: &filter, options, id: 0 });
        if number % 50 == 0 {
            clean(&mut store, 0);
        }
    }
    clean(&mut store, 0);
    assert_eq!(store.state().sessions[&SESSION].subscriptions.len(), 2_000);
}

#[test]
fn cleaning_is_faster_than_what_comes_in() {
    let segment = 4 << 20;
    let mut store = open(&SimulatedDisk::default(), settings(segment, 0));
    add(&mut store, &session(1));
    let (large, small) = (packet("large", &vec![7; 1 << 20]), packet("small", b"waits"));
    for number in 1..=100 {
        // One that waits in every megabyte that is over at once.
        add(&mut store, &Record::Message(message(&small, number, false, 0)));
        add(&mut store, &Record::Message(message(&large, 0, true, 0)));
        store.commit(false).expect("room");
        store.clean(0, None).expect("room");
    }
    assert!(used(&store) < 5 * segment, "{}", used(&store));
    assert_eq!(store.state().sessions[&SESSION].entries.len(), 100);
}

#[test]
fn what_has_expired_is_not_written_again_for_ever() {
    let disk = SimulatedDisk::default();
    let mut store = open(&disk, settings(8 * 1024, 0));
    add(&mut store, &session(1));
    let (expired, lasting) = (packet("expired", b"1"), packet("lasting", b"2"));
    add(&mut store, &Record::Message(message(&expired, 1, true, 1_000)));
    add(&mut store, &Record::Message(message(&expired, 2, false, 1_000)));
    add(&mut store, &Record::Sent { session: SESSION, ordinal: 2, packet_id: 9 });
    add(&mut store, &Record::Message(message(&lasting, 3, true, u64::MAX)));
    for number in 0..2_000 {
        add(&mut store, &session(number));
        if number % 10 == 0 {
            clean(&mut store, 1_000_000);
            store.state().assert_exact();
        }
    }
    let check = |store: &Store<SimulatedDisk>| {
        let ordinals: Vec<_> = store.state().sessions[&SESSION].entries.keys().copied().collect();
        assert_eq!(ordinals, [2, 3], "in flight, and not expired");
        let topics: Vec<_> = store.state().retained.keys().map(ToString::to_string).collect();
        assert_eq!(topics, ["lasting"]);
        assert_eq!(store.state().messages.len(), 2);
    };
    check(&store);
    drop(store);
    check(&open(&disk, settings(8 * 1024, 0)));
}

#[test]
fn a_record_that_cannot_be_read_any_more_keeps_its_file() {
    let disk = SimulatedDisk::default();
    let mut store = open(&disk, settings(8 * 1024, 0));
    add(&mut store, &session(1));
    let waits = packet("waits", &[b'w'; 300]);
    add(&mut store, &Record::Message(message(&waits, 1, false, 0)));
    store.commit(false).expect("room");
    // A bit goes bad while the broker runs.
    let name = "0000000000.log";
    disk.damage(name, |bytes| {
        let at = bytes.windows(300).position(|it| it == [b'w'; 300]).expect("there");
        bytes[at] ^= 1;
    });
    for number in 0..3_000 {
        add(&mut store, &session(number));
        if number % 10 == 0 {
            clean(&mut store, 0);
        }
    }
    assert!(disk.content(name).is_none(), "the log has let go of it");
    assert!(disk.content("0000000000.log.bad").is_some(), "it is kept for whoever wants to look");
}

/// A file that cannot be removed is nothing that what was committed has to wait for.
#[test]
fn a_commit_does_not_fail_when_a_cleaned_file_cannot_be_removed() {
    let disk = SimulatedDisk::default();
    let mut store = open(&disk, settings(64 << 10, 0));
    add(&mut store, &session(1));
    let large = packet("large", &[7; 1000]);
    let mut failed = 0;
    for ordinal in 1..2000 {
        add(&mut store, &Record::Message(message(&large, ordinal, false, 0)));
        if ordinal > 3 {
            add(&mut store, &Record::Dropped { session: SESSION, ordinal: ordinal - 3 });
        }
        store.commit(false).expect("room");
        let Ok(_) = store.clean(0, None) else { continue };
        let newest = store.log().segments().last().expect("one");
        if store.has_pending() && newest.size - newest.used > store.pending_bytes() as u64 {
            disk.power_for(2); // a write and its sync
            store.commit(false).expect("written and synced");
            failed += usize::from(store.clean(0, None).is_err());
            disk.forget_faults();
        }
    }
    assert!(failed > 0, "no file was let go of without power");
}

/// What has been acknowledged makes room on a full disk, without anybody's help.
#[test]
fn a_full_disk_becomes_good_when_what_waits_is_acknowledged() {
    let disk = SimulatedDisk::default();
    disk.set_capacity(Some(16 << 20));
    let store = open(&disk, settings(4 << 20, 1 << 20));
    let (mut committer, _engines) =
        Committer::new(store, Watermarks::default(), 0, vec![Box::new(|| {})]);
    let shared = Arc::clone(committer.shared());
    let mut ticket = 0;
    let mut submit = |committer: &mut Committer<SimulatedDisk>, records: &[Record<'_>]| {
        let mut batch = Vec::new();
        for record in records {
            let mut content = Vec::new();
            record.encode(&mut content);
            batch.extend((content.len() as u32).to_le_bytes());
            batch.extend(content);
        }
        ticket += 1;
        committer.shared().submit(0, Ticket(ticket), batch, true);
        committer.step();
    };
    submit(&mut committer, &[session(1)]);
    let large = packet("large", &vec![7; 200_000]);
    let mut newest = 0;
    while shared.condition() == Condition::Good {
        newest += 1;
        assert!(newest < 200, "it is never full");
        submit(&mut committer, &[Record::Message(message(&large, newest, false, 0))]);
    }
    assert_eq!(shared.condition(), Condition::Full);
    for ordinal in 1..=newest {
        submit(&mut committer, &[Record::Dropped { session: SESSION, ordinal }]);
        committer.look_again();
    }
    for _ in 0..100 {
        committer.step();
        committer.look_again();
    }
    assert_eq!(shared.condition(), Condition::Good, "{:?}", committer.state().live);
    committer.state().assert_exact();
}

/// A start that has no room for what it must make durable goes on when there is some.
#[test]
fn a_disk_that_is_full_at_the_start_becomes_good_by_itself() {
    let disk = SimulatedDisk::default();
    let mut store = open(&disk, Settings { syncs: false, ..settings(4 << 20, 0) });
    add(&mut store, &session(1));
    store.commit(false).expect("room");
    drop(store); // killed between a write and its sync
    (0..4).for_each(|_| disk.plan(0, Fault::Write(io::ErrorKind::StorageFull)));
    let store = open(&disk, settings(4 << 20, 0));
    let (mut committer, _engines) =
        Committer::new(store, Watermarks::default(), 0, vec![Box::new(|| {})]);
    let shared = Arc::clone(committer.shared());
    assert_eq!(shared.condition(), Condition::Full);
    committer.look_again();
    assert_eq!(shared.condition(), Condition::Full, "there is no room yet");
    for _ in 0..2 {
        committer.look_again();
    }
    assert_eq!(shared.condition(), Condition::Good);
}

#[test]
fn a_small_disk_suffices_for_much_that_is_delivered() {
    let disk = SimulatedDisk::default();
    disk.set_capacity(Some(24 << 20));
    let store = open(&disk, settings(16 << 20, 1 << 20));
    let (mut committer, _engines) =
        Committer::new(store, Watermarks::default(), 0, vec![Box::new(|| {})]);
    let mut ticket = 0;
    let mut submit = |committer: &mut Committer<SimulatedDisk>, record: &Record<'_>| {
        let mut content = Vec::new();
        record.encode(&mut content);
        let mut batch = (content.len() as u32).to_le_bytes().to_vec();
        batch.extend(content);
        ticket += 1;
        committer.shared().submit(0, Ticket(ticket), batch, true);
        committer.step();
    };
    submit(&mut committer, &session(1));
    let large = packet("large", &[0; 100_000]);
    for ordinal in 1..500 {
        submit(&mut committer, &Record::Message(message(&large, ordinal, false, 0)));
        submit(&mut committer, &Record::Dropped { session: SESSION, ordinal });
        assert_eq!(committer.shared().condition(), Condition::Good, "message {ordinal}");
    }
}

/// A disk on which something happens just before a file is opened.
#[derive(Clone)]
struct Meddled {
    disk: SimulatedDisk,
    meddle: Arc<Mutex<Option<Meddling>>>,
}

type Meddling = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Meddled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(formatter)
    }
}

impl Disk for Meddled {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&mut self, name: &str, bytes: u64) -> io::Result<SimulatedFile> {
        self.disk.create(name, bytes)
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let meddle = self.meddle.lock().expect("no panic").take();
        if let Some(meddle) = meddle {
            meddle();
        }
        self.disk.open(name)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn link(&mut self, name: &str, second: &str) -> io::Result<()> {
        self.disk.link(name, second)
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.disk.sync_folder()
    }

    fn room(&self) -> io::Result<Option<Room>> {
        self.disk.room()
    }
}

/// A shard has looked up where a message is; before it reads, cleaning moves that, or takes it.
#[test]
fn what_cleaning_moves_under_a_reader_is_found() {
    for expires_at in [0, 1_000] {
        let disk = SimulatedDisk::default();
        let mut store = open(&disk, settings(4 * 1024, 0));
        add(&mut store, &session(9));
        let body = packet("jobs", b"body");
        add(&mut store, &Record::Message(message(&body, 1, false, expires_at)));
        clean(&mut store, 0);
        let (state, is_moved) = (store.shared_state(), Arc::new(Mutex::new(None)));
        let oldest = store.log().segments().next().expect("one").number;
        let meddle: Meddling = Box::new(move || {
            while store.log().segments().next().is_some_and(|it| it.number == oldest) {
                add(&mut store, &Record::Ended(SessionKey(9)));
                clean(&mut store, 1_000_000);
            }
        });
        *is_moved.lock().expect("no panic") = Some(meddle);
        let bodies = LogBodies::new(Meddled { disk, meddle: Arc::clone(&is_moved) }, state);
        for _ in 0..2 {
            match (expires_at, bodies.recall(SESSION, &[1]).pop()) {
                (0, Some(Recall::Message(it))) => assert_eq!(it.message.payload(), b"body"),
                (1_000, Some(Recall::Gone)) => {}
                (_, other) => panic!("{other:?}"),
            }
        }
        assert!(is_moved.lock().expect("no panic").is_none(), "it was moved");
    }
}
