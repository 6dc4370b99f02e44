//! What those who have rows hand to the writer, and what they see of it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentmq_session::{AuditCondition, AuditStatistics, Ticket};

use crate::chain::Head;
use crate::refusal_budget::RefusalBudget;
use crate::row::Row;
use crate::trail::Settings;
use crate::wall_time::now;

/// What writer and others share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    /// Rows cannot be written.
    has_failed: AtomicBool,
    /// Bytes of rows that the writer has not finished with.
    waiting: AtomicUsize,
    /// Since when the writer has written the rows that it is writing, in milliseconds since 1970;
    /// 0: it waits for some.
    busy_since: AtomicU64,
    /// Rows that were not taken, and those of them that no row tells of yet.
    left_out: AtomicU64,
    untold: AtomicU64,
    /// Refusals of those who are no shards.
    refusals: Mutex<RefusalBudget>,
    seen: Mutex<Seen>,
}

/// How the log was when the writer last looked.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    head: Head,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Inbox {
    batches: Vec<Batch>,
    is_closing: bool,
}

/// Rows, and who waits for them.
#[derive(Debug)]
pub(crate) struct Batch {
    /// With their times, in milliseconds since 1970.
    pub(crate) rows: Vec<(u64, Row)>,
    pub(crate) asker: Asker,
}

/// Who waits for rows.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A shard, for the ticket.
    Shard(usize, Ticket),
    /// Somebody who can do nothing else meanwhile. He gets `true` when they are safe.
    Caller(SyncSender<bool>),
}

impl Batch {
    fn bytes(&self) -> usize {
        self.rows.iter().map(|(_, row)| row.members().len()).sum()
    }
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            has_failed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            refusals: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Whether the log can be written, and the writer keeps up. A disk that does not answer for
    /// seconds is as good as one that cannot be written.
    pub(crate) fn condition(&self) -> AuditCondition {
        if self.has_failed.load(Ordering::Acquire) || self.is_stuck() {
            return AuditCondition::Failed;
        }
        match self.waiting.load(Ordering::Relaxed) {
            0..MUCH => AuditCondition::Good,
            MUCH..MOST => AuditCondition::Behind,
            _ => AuditCondition::Failed,
        }
    }

    fn is_stuck(&self) -> bool {
        let since = self.busy_since.load(Ordering::Relaxed);
        since > 0 && now().saturating_sub(since) > PATIENCE_MS
    }

    /// The writer begins to write, or has written.
    pub(crate) fn set_busy(&self, is_busy: bool) {
        self.busy_since.store(if is_busy { now() } else { 0 }, Ordering::Relaxed);
    }

    pub(crate) fn set_failed(&self, has_failed: bool) -> bool {
        self.has_failed.swap(has_failed, Ordering::AcqRel) != has_failed
    }

    /// Whether there is room for one more refusal of those who are no shards.
    pub(crate) fn takes_refusal(&self, at: u64) -> bool {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).takes_one(at)
    }

    /// So many rows are not taken.
    pub(crate) fn leave_out(&self, rows: u64) {
        self.left_out.fetch_add(rows, Ordering::Relaxed);
        self.untold.fetch_add(rows, Ordering::Relaxed);
    }

    /// How many rows were left out of which none tells.
    pub(crate) fn untold(&self) -> u64 {
        self.untold.load(Ordering::Relaxed)
    }

    /// A row tells of so many.
    pub(crate) fn told(&self, rows: u64) {
        self.untold.fetch_sub(rows, Ordering::Relaxed);
    }

    pub(crate) fn submit(&self, batch: Batch) {
        self.waiting.fetch_add(batch.bytes(), Ordering::Relaxed);
        self.lock().batches.push(batch);
        self.arrived.notify_one();
    }

    /// The writer is through with a batch.
    pub(crate) fn done(&self, batch: &Batch) {
        self.waiting.fetch_sub(batch.bytes(), Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.lock().is_closing = true;
        self.arrived.notify_one();
    }

    /// What has arrived, after a wait of `patience` at most, and whether nothing follows.
    pub(crate) fn take(&self, patience: Option<Duration>) -> (Vec<Batch>, bool) {
        let is_idle = |inbox: &mut Inbox| inbox.batches.is_empty() && !inbox.is_closing;
        let mut inbox = match patience {
            None => self
                .arrived
                .wait_while(self.lock(), is_idle)
                .unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.arrived.wait_timeout_while(self.lock(), patience, is_idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        (std::mem::take(&mut inbox.batches), inbox.is_closing)
    }

    pub(crate) fn saw(&self, head: Head, bytes: u64) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { head, bytes };
    }

    pub(crate) fn statistics(&self) -> AuditStatistics {
        let Seen { head, bytes } = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        AuditStatistics {
            is_good: self.condition() != AuditCondition::Failed,
            rows: head.row,
            bytes,
            left_out: self.left_out.load(Ordering::Relaxed),
            head: head.to_string(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of rows with which the writer does not keep up, and with which nothing more is taken.
const MUCH: usize = 4 * 1024 * 1024;
const MOST: usize = 16 * 1024 * 1024;
/// How long the disk may take.
const PATIENCE_MS: u64 = 10_000;
