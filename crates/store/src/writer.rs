//! The one thread that writes: everything that has arrived while the disk was busy becomes the next
//! commit.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentmq_log::{Disk, LogError};
use agentmq_session::{Condition, Ticket};

use crate::engine::{DiskEngine, records};
use crate::store::Store;

/// What shards and writer share.
#[derive(Debug)]
pub struct Shared {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    condition: AtomicU8,
    keys: AtomicU64,
    /// Commits and records so far.
    commits: AtomicU64,
    records: AtomicU64,
}

#[derive(Debug, Default)]
struct Inbox {
    batches: Vec<Batch>,
    is_closing: bool,
    /// The writer waits for something to arrive.
    is_idle: bool,
}

#[derive(Debug)]
struct Batch {
    place: usize,
    ticket: Ticket,
    records: Vec<u8>,
}

/// A shard as the writer sees it.
struct Client {
    completed: Arc<AtomicU64>,
    wake: Waker,
}

/// The writer's thread. Ends when it is dropped, after a last commit.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Shared {
    pub(crate) fn new(newest_key: u64) -> Self {
        Self {
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            condition: AtomicU8::new(0),
            keys: AtomicU64::new(newest_key + 1),
            commits: AtomicU64::new(0),
            records: AtomicU64::new(0),
        }
    }

    pub(crate) fn next_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn condition(&self) -> Condition {
        match self.condition.load(Ordering::Acquire) {
            0 => Condition::Good,
            1 => Condition::Full,
            _ => Condition::Failed,
        }
    }

    fn set_condition(&self, condition: Condition) {
        let number = match condition {
            Condition::Good => 0,
            Condition::Full => 1,
            Condition::Failed => 2,
        };
        self.condition.store(number, Ordering::Release);
    }

    pub(crate) fn submit(&self, place: usize, ticket: Ticket, records: Vec<u8>) {
        let mut inbox = self.lock();
        inbox.batches.push(Batch { place, ticket, records });
        let is_idle = inbox.is_idle;
        drop(inbox);
        if is_idle {
            self.arrived.notify_one();
        }
    }

    /// Commits and records so far.
    pub fn written(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Starts the thread. `guard` is dropped when nothing is written any more.
    pub(crate) fn start<D>(
        mut committer: Committer<D>,
        guard: Box<dyn Any + Send>,
    ) -> std::io::Result<Self>
    where
        D: Disk<File: Send> + Send + 'static,
    {
        let shared = Arc::clone(&committer.shared);
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            committer.run();
            drop(guard);
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What it shares with the engines.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told already.
            let _ = thread.join();
        }
    }
}

/// What the writer does, a commit at a time. The simulation drives it without a thread.
#[derive(Debug)]
pub struct Committer<D: Disk> {
    store: Store<D>,
    shared: Arc<Shared>,
    clients: Vec<Client>,
    /// Tickets that become durable with the next commit.
    done: Vec<(usize, Ticket)>,
    /// The disk is full, and cleaning is getting room.
    gets_room: bool,
}

impl<D: Disk> Committer<D> {
    /// One for a store, and an engine for each of `wakers`, which are called when tickets of that
    /// engine have become durable.
    pub(crate) fn new(store: Store<D>, wakers: Vec<Waker>) -> (Self, Vec<DiskEngine>) {
        let shared = Arc::new(Shared::new(store.state().newest_key));
        let clients: Vec<Client> =
            wakers.into_iter().map(|wake| Client { completed: Arc::default(), wake }).collect();
        let engines = clients.iter().enumerate().map(|(place, client)| {
            DiskEngine::new(Arc::clone(&shared), Arc::clone(&client.completed), place)
        });
        let engines = engines.collect();
        if let Some(what) = store.log().failed() {
            tracing::error!(what, "what has survived cannot be made safe: nothing more is kept");
            shared.set_condition(Condition::Failed);
        }
        (Self { store, shared, clients, done: Vec::new(), gets_room: false }, engines)
    }

    fn run(&mut self) {
        let mut next_look = Instant::now() + LOOK_AGAIN;
        loop {
            let (batches, is_closing) = self.wait(next_look);
            self.write(batches);
            if Instant::now() >= next_look {
                next_look = Instant::now() + LOOK_AGAIN;
                self.look_again();
            }
            if is_closing {
                // A failure has been told.
                let _ = self.store.log_mut().sync();
                return;
            }
        }
    }

    /// Commits everything that has arrived, and cleans a little.
    pub fn step(&mut self) {
        let batches = std::mem::take(&mut self.shared.lock().batches);
        self.write(batches);
    }

    fn write(&mut self, batches: Vec<Batch>) {
        self.add(batches);
        self.commit();
        self.clean();
    }

    /// A full disk is cleaned too: what has been delivered in the meantime makes room.
    fn clean(&mut self) {
        self.gets_room = false;
        let condition = self.shared.condition();
        if condition == Condition::Failed || self.store.has_pending() {
            return;
        }
        match self.store.clean(condition == Condition::Full) {
            Ok(has_done) => self.gets_room = has_done && condition == Condition::Full,
            Err(error) => self.failed(&error),
        }
    }

    /// Everything that has arrived; waits for something if there is nothing else to do.
    fn wait(&mut self, until: Instant) -> (Vec<Batch>, bool) {
        let works = match self.shared.condition() {
            Condition::Good => self.store.has_work(),
            Condition::Full => self.gets_room,
            Condition::Failed => false,
        };
        let mut inbox = self.shared.lock();
        while inbox.batches.is_empty() && !inbox.is_closing && !works {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            inbox.is_idle = true;
            let woken = self.shared.arrived.wait_timeout(inbox, left);
            inbox = woken.unwrap_or_else(PoisonError::into_inner).0;
            inbox.is_idle = false;
        }
        (std::mem::take(&mut inbox.batches), inbox.is_closing)
    }

    fn add(&mut self, batches: Vec<Batch>) {
        if self.shared.condition() == Condition::Failed {
            return; // nothing is acknowledged any more, and nothing is kept in vain
        }
        for batch in batches {
            for record in records(&batch.records) {
                if let Err(error) = self.store.add(record) {
                    self.failed(&error);
                }
            }
            self.done.push((batch.place, batch.ticket));
        }
    }

    fn commit(&mut self) {
        if !self.store.has_pending() || self.shared.condition() == Condition::Failed {
            return;
        }
        let before = self.store.log().next_sequence();
        match self.store.commit(self.shared.condition() == Condition::Full) {
            Ok(()) => {
                let records = self.store.log().next_sequence() - before;
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.shared.records.fetch_add(records, Ordering::Relaxed);
                self.complete();
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Tells the shards what is durable now.
    fn complete(&mut self) {
        let mut woken = vec![false; self.clients.len()];
        for (place, ticket) in self.done.drain(..) {
            if let Some(client) = self.clients.get(place) {
                client.completed.store(ticket.0, Ordering::Release);
                woken[place] = true;
            }
        }
        let awake = self.clients.iter().zip(woken).filter(|(_, woken)| *woken);
        awake.for_each(|(client, _)| (client.wake)());
    }

    fn failed(&mut self, error: &LogError) {
        if let LogError::Full { .. } = error {
            if self.shared.condition() == Condition::Good {
                tracing::error!(%error, "what must survive is refused until there is room");
                self.set_condition(Condition::Full);
            }
        } else if self.shared.condition() != Condition::Failed {
            tracing::error!(%error, "nothing is acknowledged any more that must survive");
            self.set_condition(Condition::Failed);
            self.done.clear();
        }
    }

    /// Once in a while: is there room again, and is everything on the disk?
    pub fn look_again(&mut self) {
        if self.shared.condition() == Condition::Full {
            self.commit();
            self.store.log_mut().refill_reserve();
            if self.store.log().has_reserve() && !self.store.has_pending() {
                tracing::warn!("there is room again for what must survive");
                self.set_condition(Condition::Good);
            }
        }
        if self.shared.condition() != Condition::Failed
            && let Err(error) = self.store.log_mut().sync()
        {
            self.failed(&error);
        }
    }

    fn set_condition(&self, condition: Condition) {
        self.shared.set_condition(condition);
        self.clients.iter().for_each(|client| (client.wake)());
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("completed", &self.completed).finish_non_exhaustive()
    }
}

/// What is called when tickets have become durable.
pub type Waker = Box<dyn Fn() + Send>;

/// How often the writer looks at the disk when nothing arrives; with `durability = "os"`, what a
/// power loss may cost.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use agentmq_codec::{ProtocolVersion, QoS};
    use agentmq_log::SimulatedDisk;
    use agentmq_session::{SessionKey, Time};

    use super::*;
    use crate::record::{MessageRecord, RecipientRecord, Record, SessionRecord};
    use crate::{Clocks, OpenedStore, Settings};

    const SESSION: SessionKey = SessionKey(1);

    fn open(disk: &SimulatedDisk) -> Committer<SimulatedDisk> {
        let folder = std::path::PathBuf::new();
        let settings = Settings { folder, syncs: true, segment_bytes: 16 << 20, seed: 1 };
        let clocks = Clocks { now: Time::ZERO, wall: 0 };
        let opened = OpenedStore::open(disk.clone(), &settings, clocks).expect("opens");
        opened.by_hand(vec![Box::new(|| {})]).0
    }

    fn submit(committer: &mut Committer<SimulatedDisk>, record: &Record<'_>) {
        let mut content = Vec::new();
        record.encode(&mut content);
        let mut batch = (content.len() as u32).to_le_bytes().to_vec();
        batch.extend(content);
        committer.shared.submit(0, Ticket(1), batch);
        committer.step();
    }

    fn session() -> Record<'static> {
        Record::Session(SessionRecord {
            key: SESSION,
            client_id: "worker",
            version: ProtocolVersion::V5,
            name: None,
            expiry: u32::MAX,
            is_connected: false,
            expires_at: 0,
            will: None,
        })
    }

    fn message(ordinal: u64, packet: &[u8]) -> Record<'_> {
        Record::Message(MessageRecord {
            id: 0,
            qos: QoS::AtLeastOnce,
            is_retained: false,
            expires_at: 0,
            arrived: None,
            will_of: SessionKey::NONE,
            recipients: vec![RecipientRecord {
                session: SESSION,
                ordinal,
                packet_id: 0,
                qos: QoS::AtLeastOnce,
                retain: false,
                ids: Vec::new(),
                group: None,
            }],
            packet,
        })
    }

    #[test]
    fn what_is_taken_out_of_a_full_disk_makes_room() {
        let disk = SimulatedDisk::default();
        disk.set_capacity(Some(24 << 20));
        let mut committer = open(&disk);
        submit(&mut committer, &session());
        let packet = vec![0; 1000];
        let mut ordinal = 0;
        while committer.shared.condition() == Condition::Good {
            ordinal += 1;
            submit(&mut committer, &message(ordinal, &packet));
        }
        assert_eq!(committer.shared.condition(), Condition::Full);
        for ordinal in 1..=ordinal {
            submit(&mut committer, &Record::Dropped { session: SESSION, ordinal });
        }
        while committer.gets_room {
            committer.step();
        }
        committer.look_again();
        assert_eq!(committer.shared.condition(), Condition::Good);
        drop(committer);
        assert_eq!(open(&disk).store.state().sessions.len(), 1, "what counts was kept");
    }
    #[test]
    fn a_small_disk_suffices_for_much_that_is_delivered() {
        let disk = SimulatedDisk::default();
        disk.set_capacity(Some(24 << 20));
        let mut committer = open(&disk);
        submit(&mut committer, &session());
        let packet = vec![0; 100_000];
        for ordinal in 1..500 {
            submit(&mut committer, &message(ordinal, &packet));
            submit(&mut committer, &Record::Dropped { session: SESSION, ordinal });
            assert_eq!(committer.shared.condition(), Condition::Good, "message {ordinal}");
        }
    }
}
