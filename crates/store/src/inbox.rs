//! What shards hand to the writer, and what they see of it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentmq_session::{Condition, QueueMemory, StoreStatistics, Ticket};

use crate::watermarks::Level;

/// What shards and writer share.
#[derive(Debug)]
pub struct Shared {
    inbox: Mutex<Inbox>,
    pub(crate) arrived: Condvar,
    condition: AtomicU8,
    keys: AtomicU64,
    /// Commits and records so far.
    pub(crate) commits: AtomicU64,
    pub(crate) records: AtomicU64,
    /// What the writer has seen when it last looked.
    seen: Mutex<Seen>,
    /// What all queues hold of what survives.
    pub(crate) queue_memory: Arc<QueueMemory>,
    /// What the simulation says that the time is; 0: the system says it.
    pub(crate) pretended: AtomicU64,
}

/// What changes slowly, and is told as it was when the writer last looked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) bytes: u64,
    pub(crate) segments: u64,
    pub(crate) damage: u64,
    pub(crate) free: Option<u64>,
    pub(crate) level: Level,
}

/// What waits for the writer.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) batches: Vec<Batch>,
    /// Somebody waits for one of them, or for one that has been taken already.
    is_urgent: bool,
    /// When the oldest of them has arrived.
    since: Option<Instant>,
    pub(crate) is_closing: bool,
    /// The writer waits for something to arrive.
    pub(crate) is_idle: bool,
}

/// What a shard has recorded in one turn.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) place: usize,
    pub(crate) ticket: Ticket,
    pub(crate) records: Vec<u8>,
    /// Bytes of it that are in a commit.
    pub(crate) taken: usize,
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
            queue_memory: Arc::default(),
            pretended: AtomicU64::new(0),
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

    pub(crate) fn set_condition(&self, condition: Condition) {
        let number = match condition {
            Condition::Good => 0,
            Condition::Full => 1,
            Condition::Failed => 2,
        };
        self.condition.store(number, Ordering::Release);
    }

    /// Hands a batch to the writer. Unless it is urgent it may wait a little, for others that are:
    /// then it costs no sync of its own.
    pub(crate) fn submit(&self, place: usize, ticket: Ticket, records: Vec<u8>, is_urgent: bool) {
        if self.condition() == Condition::Failed {
            return; // nobody takes it
        }
        let mut inbox = self.lock();
        let is_first = inbox.batches.is_empty();
        inbox.batches.push(Batch { place, ticket, records, taken: 0 });
        inbox.since.get_or_insert_with(Instant::now);
        // The first one makes the writer look at the clock, an urgent one makes it write.
        let wakes = inbox.is_idle && (is_first || is_urgent && !inbox.is_urgent);
        inbox.is_urgent |= is_urgent;
        drop(inbox);
        if wakes {
            self.arrived.notify_one();
        }
    }

    /// Somebody has begun to wait for what was submitted.
    pub(crate) fn urge(&self) {
        let mut inbox = self.lock();
        let wakes = inbox.is_idle && !inbox.is_urgent && !inbox.batches.is_empty();
        inbox.is_urgent |= !inbox.batches.is_empty();
        drop(inbox);
        if wakes {
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
            queued: self.queue_memory.all(),
            queued_in_memory: self.queue_memory.resident(),
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn wall(&self) -> u64 {
        match self.pretended.load(Ordering::Relaxed) {
            0 => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                wall.as_millis() as u64
            }
            pretended => pretended,
        }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    pub(crate) fn take(&mut self) -> Vec<Batch> {
        (self.is_urgent, self.since) = (false, None);
        std::mem::take(&mut self.batches)
    }

    /// How long the writer may wait for more, at most until `until`; `None` when it is to begin.
    pub(crate) fn patience(&self, now: Instant, until: Instant) -> Option<Duration> {
        if self.is_urgent {
            return None;
        }
        let end = self.since.map_or(until, |since| until.min(since + PATIENCE));
        end.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

/// How long something waits that nobody waits for.
const PATIENCE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agentmq_session::{Change, CommitEngine, SessionKey, Time};

    use super::*;
    use crate::engine::DiskEngine;
    use crate::writer::LOOK_AGAIN;

    #[test]
    fn the_writer_waits_a_bounded_time_and_not_at_all_when_it_is_urgent() {
        let now = Instant::now();
        let until = now + LOOK_AGAIN;
        let mut inbox = Inbox::default();
        assert_eq!(inbox.patience(now, until), Some(LOOK_AGAIN));
        inbox.since = Some(now);
        assert_eq!(inbox.patience(now, until), Some(PATIENCE));
        assert_eq!(inbox.patience(now + PATIENCE, until), None);
        inbox.is_urgent = true;
        assert_eq!(inbox.patience(now, until), None);
        inbox.take();
        assert_eq!(inbox.patience(now, until), Some(LOOK_AGAIN));
    }

    #[test]
    fn who_begins_to_wait_for_what_was_submitted_is_heard() {
        let shared = Arc::new(Shared::new(0));
        let mut engine = DiskEngine::new(Arc::clone(&shared), Arc::new(()), Arc::default(), 0);
        let recorded = engine.record(Change::Completed { session: SessionKey(1), packet_id: 1 });
        engine.submit(Time::ZERO);
        assert!(!shared.lock().is_urgent);
        engine.draw(recorded);
        engine.submit(Time::ZERO);
        assert!(shared.lock().is_urgent);
        shared.lock().take();
        engine.draw(recorded);
        engine.submit(Time::ZERO);
        assert!(!shared.lock().is_urgent, "the writer knows");
    }
}
