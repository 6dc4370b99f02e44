//! The log and its index together: committing changes, and cleaning the log behind them.
//!
//! The log is cleaned from its oldest end only. What still counts in the oldest segment is written
//! again at the newest end, and then the segment goes. So a record is never gone before what it
//! took back.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use agentmq_log::{Disk, Log, LogError, Position, RECORD_OVERHEAD, ReadError, Recovered};
use agentmq_session::SessionKey;

use crate::bodies::LogBodies;
use crate::encoding::Reader;
use crate::record::Record;
use crate::state::State;

/// How the store treats its log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// The log's.
    pub log: agentmq_log::Settings,
    /// Whether a commit waits until the disk has it.
    pub syncs: bool,
}

/// What must survive, on a disk.
#[derive(Debug)]
pub(crate) struct Store<D: Disk> {
    log: Log<D>,
    /// Shards look up in it what they read back.
    state: Arc<RwLock<State>>,
    settings: Settings,
    /// What the next commit makes durable: where each record will lie, and its content.
    pending: Vec<(u32, Box<[u8]>)>,
    cleaning: Option<Cleaning>,
    /// Bytes committed since the last look at what is to be cleaned.
    written: u64,
    /// Records that no version could read.
    unknown: u64,
}

/// The oldest segment, on its way out.
#[derive(Debug, Clone, Copy)]
struct Cleaning {
    segment: u32,
    /// What stands before it has been written again.
    offset: u64,
    is_done: bool,
}

impl<D: Disk> Store<D> {
    /// Opens the log and makes of it what counts.
    pub(crate) fn open(disk: D, settings: Settings) -> Result<(Self, Recovered), LogError> {
        let (mut state, mut unknown) = (State::default(), 0);
        let (log, recovered) = Log::open(disk, settings.log, |position, content| {
            let mut changes = Changes::of(position, content);
            changes.by_ref().for_each(|it| it.apply(&mut state));
            unknown += u64::from(changes.is_unknown);
        })?;
        state.forget_unknown();
        let state = Arc::new(RwLock::new(state));
        let store =
            Self { log, state, settings, pending: Vec::new(), cleaning: None, written: 0, unknown };
        Ok((store, recovered))
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_of(&self, segment: u32) -> u64 {
        self.state().live.of(segment)
    }

    pub(crate) fn log(&self) -> &Log<D> {
        &self.log
    }

    pub(crate) fn log_mut(&mut self) -> &mut Log<D> {
        &mut self.log
    }

    /// Records that could not be read, though their checksums agree: of a later version.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Adds one record to the next commit: one or several changes that count together.
    pub(crate) fn add(&mut self, content: &[u8]) -> Result<(), LogError> {
        let offset = self.log.append(content)?;
        self.pending.push((offset, content.into()));
        Ok(())
    }

    /// Takes deliveries out of sessions' lines: before anything new is recorded, so that the
    /// exchange that they depended on can be used again.
    pub(crate) fn drop_entries(&mut self, entries: &[(SessionKey, u64)]) -> Result<(), LogError> {
        for &(session, ordinal) in entries {
            let mut content = Vec::new();
            Record::Dropped { session, ordinal }.encode(&mut content);
            self.add(&content)?;
        }
        Ok(())
    }

    /// Whether anything waits for a commit.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Bytes that wait for a commit.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.log.pending_bytes()
    }

    /// Makes everything added durable, and everything after it follow. When it fails for want of
    /// room everything still waits; it may be tried again, with more.
    pub(crate) fn commit(&mut self, urgent: bool) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = self.log.pending_bytes() as u64;
        let commit = self.log.commit(self.settings.syncs, urgent)?;
        self.written = self.written.saturating_add(bytes);
        let mut changes = self.pending.iter().enumerate().flat_map(|(index, (offset, content))| {
            Changes::of(commit.position(index as u32, *offset), content)
        });
        loop {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let applied = changes.by_ref().take(APPLIED_AT_ONCE).map(|it| it.apply(&mut state));
            if applied.count() < APPLIED_AT_ONCE {
                break;
            }
            drop(state);
            // A shard may want to look something up, or the core that this thread is on.
            std::thread::yield_now();
        }
        drop(changes);
        self.pending.clear();
        Ok(())
    }

    /// Adds what counts in the next part of the oldest segment to the next commit, if the log has
    /// become too long; lets go of the segment when all of that is committed. Only right after a
    /// commit: what is added since may take back what is written again here. `wall` is the time,
    /// in milliseconds since 1970. Returns whether there is more to do.
    ///
    /// When the disk is short of room, `free` says how much it has. Less is too long then, but a
    /// segment is begun only if what counts in it fits: else it would take the last room in vain.
    pub(crate) fn clean(&mut self, wall: u64, free: Option<u64>) -> Result<bool, LogError> {
        debug_assert!(self.pending.is_empty(), "cleaning goes before what is new");
        let written = std::mem::take(&mut self.written);
        let Some(mut cleaning) = self.cleaning.or_else(|| self.begin_cleaning(free.is_some()))
        else {
            return Ok(false);
        };
        let live = self.live_of(cleaning.segment);
        if free.is_some_and(|free| live + live / 4 > free + self.log.room_left()) {
            return Ok(false);
        }
        if live == 0 {
            return self.let_go(cleaning.segment).map(|()| true);
        }
        let mut again = Vec::new();
        // Faster than what is new comes in, or it would never be done.
        let mut budget = CLEAN_BYTES.max(written.saturating_mul(4));
        while budget > 0 && !cleaning.is_done {
            let state = self.state();
            let next =
                self.log.read_block(cleaning.segment, cleaning.offset, |position, content| {
                    renew(&state, position, content, wall, &mut again);
                });
            drop(state);
            let next = match next {
                Ok(Some(next)) => next,
                Ok(None) | Err(ReadError::Gone(_) | ReadError::Damaged { .. }) => {
                    cleaning.is_done = true;
                    break;
                }
                Err(error @ (ReadError::Io { .. } | ReadError::NotOpened { .. })) => {
                    let at = cleaning.offset;
                    tracing::error!(%error, at, "a part of the log is unreadable");
                    (cleaning.offset / PAGE + 1) * PAGE
                }
            };
            budget = budget.saturating_sub(next - cleaning.offset);
            cleaning.offset = next;
        }
        self.cleaning = Some(cleaning);
        for content in again {
            self.add(&content)?;
        }
        if self.pending.is_empty() && cleaning.is_done {
            return self.let_go(cleaning.segment).map(|()| true);
        }
        Ok(true)
    }

    /// Lets the oldest segment go if nothing in it counts, whatever waits for a commit.
    pub(crate) fn drop_dead(&mut self) -> Result<(), LogError> {
        match self.log.oldest_sealed() {
            Some(segment) if self.live_of(segment) == 0 => self.let_go(segment),
            _ => Ok(()),
        }
    }

    /// The oldest segment goes: all that counts in it has been written again.
    fn let_go(&mut self, segment: u32) -> Result<(), LogError> {
        self.cleaning = None;
        // What has taken its place must not be lost without it.
        self.log.sync()?;
        let bytes = self.live_of(segment);
        if bytes > 0 {
            // Something in it counts and could not be read.
            let kept_as = self.log.keep_oldest();
            let kept = kept_as.as_deref().unwrap_or("nowhere: it could not be linked");
            tracing::error!(
                segment,
                bytes,
                kept,
                "the log is damaged: acknowledged records could not be read when their file was \
                 cleaned; what waits in memory is served, but a restart will not find it"
            );
            self.state.write().unwrap_or_else(PoisonError::into_inner).live.forget(segment);
        }
        self.log.remove_oldest()
    }

    /// The oldest segment is cleaned when all together are more than twice what counts.
    fn begin_cleaning(&self, is_short: bool) -> Option<Cleaning> {
        let segment = self.log.oldest_sealed()?;
        let used: u64 = self.log.segments().map(|it| it.used).sum();
        // Small ones on a small disk.
        let slack = if is_short { 0 } else { 2 * self.log.segment_bytes() };
        let is_long = used > 2 * self.state().live.bytes() + slack;
        let is_dead = self.live_of(segment) == 0;
        (is_long || is_dead).then_some(Cleaning { segment, offset: 0, is_done: false })
    }
}

impl<D: Disk + Clone> Store<D> {
    /// What shards read back with.
    pub(crate) fn bodies(&self) -> LogBodies<D> {
        LogBodies::new(self.log.disk().clone(), Arc::clone(&self.state))
    }
}

#[cfg(test)]
impl<D: Disk> Store<D> {
    pub(crate) fn shared_state(&self) -> Arc<RwLock<State>> {
        Arc::clone(&self.state)
    }
}

/// One change of a record that lies at `position`.
struct Change<'c> {
    position: Position,
    /// Bytes that it takes in the log.
    bytes: u64,
    /// Where in the record's content it ends.
    end: usize,
    record: Record<'c>,
}

impl Change<'_> {
    fn apply(self, state: &mut State) {
        state.apply(self.position, self.bytes, self.end, &self.record);
    }
}

/// The changes of one record, up to one that is unknown.
struct Changes<'c> {
    position: Position,
    content: &'c [u8],
    reader: Reader<'c>,
    is_unknown: bool,
}

impl<'c> Changes<'c> {
    fn of(position: Position, content: &'c [u8]) -> Self {
        Self { position, content, reader: Reader::new(content), is_unknown: false }
    }
}

impl<'c> Iterator for Changes<'c> {
    type Item = Change<'c>;

    fn next(&mut self) -> Option<Change<'c>> {
        let before = self.reader.rest().len();
        if before == 0 || self.is_unknown {
            return None;
        }
        let record = Record::decode(&mut self.reader);
        self.is_unknown = record.is_none();
        let left = self.reader.rest().len();
        let (bytes, end) = ((before - left + RECORD_OVERHEAD) as u64, self.content.len() - left);
        Some(Change { position: self.position, bytes, end, record: record? })
    }
}

/// Writes again what counts of one record.
fn renew(state: &State, position: Position, content: &[u8], wall: u64, again: &mut Vec<Vec<u8>>) {
    let mut reader = Reader::new(content);
    let mut renewed = Vec::new();
    while !reader.is_empty() {
        let Some(record) = Record::decode(&mut reader) else { break };
        state.renew(position, &record, wall, &mut renewed);
    }
    if !renewed.is_empty() {
        again.push(renewed);
    }
}

/// Changes that are applied while nobody else may look at the state.
const APPLIED_AT_ONCE: usize = 256;
/// Bytes of the oldest segment that one commit looks at, at least.
const CLEAN_BYTES: u64 = 256 * 1024;
/// What a disk cannot read in one piece.
const PAGE: u64 = 4096;
