//! The one thread that writes: everything that has arrived while the disk was busy becomes the next
//! commit.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentmq_log::{Disk, LogError};
use agentmq_session::{Condition, StoreStatistics, Ticket};

use crate::engine::{DiskEngine, records};
use crate::store::Store;
use crate::watermarks::{Level, Watermarks};

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
    /// What the writer has seen when it last looked.
    seen: Mutex<Seen>,
}

/// What changes slowly, and is told as it was when the writer last looked.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    bytes: u64,
    segments: u64,
    damage: u64,
    free: Option<u64>,
    level: Level,
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
            seen: Mutex::default(),
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

    /// How it is with the store; sizes as they were half a second ago.
    pub fn statistics(&self) -> StoreStatistics {
        let seen = *self.seen();
        StoreStatistics {
            condition: self.condition(),
            is_low: seen.level > Level::Enough,
            commits: self.commits.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            bytes: seen.bytes,
            segments: seen.segments,
            damage: seen.damage,
            free: seen.free,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
    watermarks: Watermarks,
    /// How much room there was at the last look.
    level: Level,
    /// Bytes that the disk had then.
    free: u64,
    /// The log is being cleaned.
    cleans: bool,
    /// What waits found no room: it is tried again at the next look.
    is_stuck: bool,
}

impl<D: Disk> Committer<D> {
    /// One for a store, and an engine for each of `wakers`, which are called when tickets of that
    /// engine have become durable.
    pub(crate) fn new(
        store: Store<D>,
        watermarks: Watermarks,
        damage: u64,
        wakers: Vec<Waker>,
    ) -> (Self, Vec<DiskEngine>) {
        let shared = Arc::new(Shared::new(store.state().newest_key));
        shared.seen().damage = damage;
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
        let mut committer = Self {
            store,
            shared,
            clients,
            done: Vec::new(),
            watermarks,
            level: Level::default(),
            free: 0,
            cleans: false,
            is_stuck: false,
        };
        committer.look_at_room();
        (committer, engines)
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
        // Also when there is little room, which it makes; but nothing waits before what it adds.
        let may_clean = self.shared.condition() != Condition::Failed && !self.store.has_pending();
        self.cleans = may_clean && {
            let is_short = self.level == Level::Short || self.shared.condition() == Condition::Full;
            let cleaned = self.store.clean(is_short.then_some(self.free));
            cleaned.unwrap_or_else(|error| {
                self.failed(&error);
                false
            })
        };
    }

    /// Everything that has arrived; waits for something if there is nothing else to do.
    fn wait(&mut self, until: Instant) -> (Vec<Batch>, bool) {
        let can_write = self.shared.condition() != Condition::Failed && !self.is_stuck;
        let works = can_write && (self.cleans || self.store.has_pending());
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
                self.is_stuck = false;
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
            self.is_stuck = true;
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

    /// Once in a while: is there room, and is everything on the disk?
    pub fn look_again(&mut self) {
        if self.shared.condition() == Condition::Full {
            self.commit();
            self.store.log_mut().refill_reserve();
        }
        self.look_at_room();
        let has_room = self.store.log().has_reserve() && !self.store.has_pending();
        if self.shared.condition() == Condition::Full && has_room && self.level < Level::Short {
            tracing::warn!("there is room again for what must survive");
            self.set_condition(Condition::Good);
        }
        if self.shared.condition() != Condition::Failed
            && let Err(error) = self.store.log_mut().sync()
        {
            self.failed(&error);
        }
    }

    /// Notes what the statistics tell, and how much room the disk has.
    fn look_at_room(&mut self) {
        let (mut bytes, mut segments) = (0, 0);
        for segment in self.store.log().segments() {
            (bytes, segments) = (bytes + segment.used, segments + 1);
        }
        // A disk that does not say how much it has is used until it is full.
        let room = self.store.log().disk().room().ok().flatten();
        let before = self.level;
        self.level = room.map_or(Level::Enough, |it| self.watermarks.level(it, before));
        let mut seen = self.shared.seen();
        (seen.bytes, seen.segments, seen.level) = (bytes, segments, self.level);
        seen.free = room.map(|it| it.free);
        drop(seen);
        let free = room.map_or(0, |it| it.free);
        self.free = free;
        if self.level == Level::Short && self.shared.condition() == Condition::Good {
            tracing::error!(
                free,
                "the disk has too little room left (disk.refuse_below): what must survive is \
                 refused until there is more"
            );
            self.set_condition(Condition::Full);
        } else if self.level == Level::Low && before < Level::Low {
            tracing::warn!(
                free,
                "the disk's room runs low (disk.warn_below): free some, or what must survive will \
                 be refused"
            );
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
