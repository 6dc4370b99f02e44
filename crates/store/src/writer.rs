//! The one thread that writes: everything that has arrived while the disk was busy becomes the next
//! commit.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentmq_log::{Disk, LogError};
use agentmq_session::{Condition, Ticket};

use crate::bodies::Bodies;
use crate::engine::{DiskEngine, first_record};
use crate::inbox::{Batch, Shared};
use crate::store::Store;
use crate::watermarks::{Level, Watermarks};

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
            if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
                tracing::error!("a panic; nothing is acknowledged any more that must survive");
                committer.set_condition(Condition::Failed);
            }
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
    /// What has arrived and is in no commit yet.
    backlog: VecDeque<Batch>,
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

impl<D: Disk + Clone + Send + Sync + 'static> Committer<D> {
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
        let bodies: Arc<dyn Bodies> = Arc::new(store.bodies());
        let engines = clients.iter().enumerate().map(|(place, client)| {
            let (shared, bodies) = (Arc::clone(&shared), Arc::clone(&bodies));
            DiskEngine::new(shared, bodies, Arc::clone(&client.completed), place)
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
            backlog: VecDeque::new(),
            done: Vec::new(),
            watermarks,
            level: Level::default(),
            free: 0,
            cleans: false,
            is_stuck: false,
        };
        committer.look_at_room();
        // What an earlier run has left may want room to be made durable; a failure is told above.
        if let Err(error @ LogError::Full { .. }) = committer.store.log_mut().sync() {
            committer.failed(&error);
        }
        (committer, engines)
    }
}

impl<D: Disk> Committer<D> {
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

    /// Says what time it is, in milliseconds since 1970, in place of the system.
    pub fn pretend(&self, wall: u64) {
        self.shared.pretended.store(wall, Ordering::Relaxed);
    }

    /// Commits everything that has arrived, and cleans a little.
    pub fn step(&mut self) {
        let batches = self.shared.lock().take();
        self.write(batches);
    }

    fn write(&mut self, batches: Vec<Batch>) {
        self.backlog.extend(batches);
        loop {
            self.take_up();
            self.commit();
            if self.backlog.is_empty() || self.store.has_pending() {
                break;
            }
        }
        self.bound_backlog();
        self.clean();
    }

    /// Also when there is little room, which it makes; but nothing waits before what it adds.
    fn clean(&mut self) {
        self.cleans = false;
        if self.shared.condition() == Condition::Failed {
            return;
        }
        let is_short = self.level == Level::Short || self.shared.condition() == Condition::Full;
        let cleaned = match self.store.has_pending() {
            true => self.store.drop_dead().map(|()| false),
            false => self.store.clean(self.shared.wall(), is_short.then_some(self.free)),
        };
        match cleaned {
            Ok(has_more) => self.cleans = has_more,
            Err(error) => self.failed(&error),
        }
    }

    /// Everything that has arrived; waits for something if there is nothing else to do.
    fn wait(&mut self, until: Instant) -> (Vec<Batch>, bool) {
        let can_write = self.shared.condition() != Condition::Failed && !self.is_stuck;
        let works = can_write && (self.cleans || self.store.has_pending());
        let mut inbox = self.shared.lock();
        while !works && !inbox.is_closing {
            let Some(left) = inbox.patience(Instant::now(), until) else { break };
            inbox.is_idle = true;
            let woken = self.shared.arrived.wait_timeout(inbox, left);
            inbox = woken.unwrap_or_else(PoisonError::into_inner).0;
            inbox.is_idle = false;
        }
        (inbox.take(), inbox.is_closing)
    }

    /// Adds what has arrived to the next commit, as much as one commit takes.
    fn take_up(&mut self) {
        if self.shared.condition() == Condition::Failed {
            self.backlog.clear(); // nothing is acknowledged any more, and nothing is kept in vain
        }
        while self.store.pending_bytes() < COMMIT_BYTES
            && let Some(batch) = self.backlog.front_mut()
        {
            let rest = batch.records.get(batch.taken..).unwrap_or_default();
            let added = match first_record(rest) {
                Some((record, size)) => {
                    batch.taken += size;
                    self.store.add(record)
                }
                None => {
                    self.done.push((batch.place, batch.ticket));
                    self.backlog.pop_front();
                    Ok(())
                }
            };
            if let Err(error) = added {
                self.failed(&error);
                self.backlog.clear();
            }
        }
    }

    /// What waits for room must not take all the memory.
    fn bound_backlog(&mut self) {
        let bytes: usize = self.backlog.iter().map(|it| it.records.len()).sum();
        if bytes > BACKLOG_BYTES {
            tracing::error!(
                bytes,
                "too much waits for room on the disk: nothing is acknowledged any more that must \
                 survive; make room, then start again"
            );
            self.done.clear();
            self.backlog.clear();
            self.set_condition(Condition::Failed);
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
            self.done.clear();
            self.set_condition(Condition::Failed);
        }
    }

    /// Once in a while: is there room, and is everything on the disk?
    pub fn look_again(&mut self) {
        if self.shared.condition() == Condition::Full {
            self.write(Vec::new());
            self.store.log_mut().refill_reserve();
            if self.is_stuck && !self.store.has_pending() {
                self.is_stuck = self.store.log_mut().sync().is_err();
            }
        }
        self.look_at_room();
        let has_room = self.store.log().has_reserve() && !self.is_stuck && self.backlog.is_empty();
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

#[cfg(test)]
impl<D: Disk> Committer<D> {
    pub(crate) fn state(&self) -> std::sync::RwLockReadGuard<'_, crate::state::State> {
        self.store.state()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
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
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A commit takes no more when it has this much, in bytes.
const COMMIT_BYTES: usize = 32 << 20;
/// What may wait for room, in bytes.
const BACKLOG_BYTES: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use agentmq_log::SimulatedDisk;
    use agentmq_session::{Change, CommitEngine, SessionKey, Time};

    use super::*;

    fn start(wake: Waker) -> (Writer, DiskEngine) {
        let log = agentmq_log::Settings { segment_bytes: 8192, reserve_bytes: 0, seed: 1 };
        let settings = crate::store::Settings { log, syncs: true };
        let disk = SimulatedDisk::default();
        let (store, _) = Store::open(disk, settings).expect("a store");
        let (committer, mut engines) = Committer::new(store, Watermarks::default(), 0, vec![wake]);
        let writer = Writer::start(committer, Box::new(())).expect("a thread");
        (writer, engines.remove(0))
    }

    #[test]
    fn what_nobody_waits_for_waits_for_what_somebody_does() {
        let (sender, woken) = mpsc::channel();
        let (writer, mut engine) = start(Box::new(move || {
            let _ = sender.send(());
        }));
        let change = Change::Completed { session: SessionKey(1), packet_id: 1 };
        for _ in 0..100 {
            engine.record(change);
            engine.submit(Time::ZERO);
        }
        let recorded = engine.record(change);
        engine.draw(recorded);
        engine.submit(Time::ZERO);
        while engine.completed() < recorded {
            woken.recv().expect("a commit");
        }
        let written = writer.shared().statistics();
        let (commits, records) = (written.commits, written.records);
        assert_eq!(records, 101);
        // One, unless this thread was kept from running for the time that they may wait.
        assert!(commits < 20, "{commits} commits");
        // Without anybody who waits it is written too.
        let recorded = engine.record(change);
        engine.submit(Time::ZERO);
        while engine.completed() < recorded {
            woken.recv().expect("a commit");
        }
    }

    #[test]
    fn a_panic_of_the_writer_is_a_failed_disk_and_not_silence() {
        let (sender, woken) = mpsc::channel();
        let is_first = std::sync::atomic::AtomicBool::new(true);
        let wake: Waker = Box::new(move || {
            sender.send(()).expect("somebody listens");
            assert!(!is_first.swap(false, Ordering::AcqRel), "planted");
        });
        let (writer, mut engine) = start(wake);
        engine.record(Change::Ended(SessionKey(1)));
        engine.submit(Time::ZERO);
        woken.recv().expect("the commit");
        woken.recv().expect("the end of the thread");
        assert_eq!(engine.condition(), Condition::Failed);
        for _ in 0..10 {
            engine.record(Change::Ended(SessionKey(1)));
            engine.submit(Time::ZERO);
        }
        assert!(writer.shared().lock().batches.is_empty(), "nobody would ever take them");
    }
}
