//! The one thread that writes: everything that has arrived while the disk was busy is appended at
//! once.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use serde_json::{Map, json};

use crate::appender::Appender;
use crate::inbox::{Asker, Batch, Shared};
use crate::row::Row;
use crate::wall_time;

/// Is called when rows of a shard are safe.
pub type Waker = Box<dyn Fn() + Send>;

/// The writer's thread. It ends when this is dropped, when all is written.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// Closes when the thread has ended.
    ended: Receiver<()>,
}

impl Writer {
    pub(crate) fn start(
        shared: Arc<Shared>,
        appender: Appender,
        shards: impl Iterator<Item = (Arc<AtomicU64>, Waker)>,
    ) -> io::Result<Self> {
        shared.saw(appender.head(), appender.bytes());
        let mut writing = Writing {
            shared: Arc::clone(&shared),
            appender,
            shards: shards.collect(),
            backlog: Vec::new(),
            retry_at: None,
            looks_at: None,
            told_at: None,
        };
        let (ends, ended) = channel();
        Builder::new().name("audit".into()).spawn(move || {
            writing.run();
            drop(ends);
        })?;
        Ok(Self { shared, ended })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.close();
        if self.ended.recv_timeout(LAST_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let folder = self.shared.settings.folder.display();
            tracing::error!("the end of the audit log in {folder} cannot be written in time");
        }
    }
}

struct Writing {
    shared: Arc<Shared>,
    appender: Appender,
    shards: Vec<(Arc<AtomicU64>, Waker)>,
    /// What is not written yet.
    backlog: Vec<Batch>,
    /// After a failure: not before this.
    retry_at: Option<Instant>,
    /// Something was written since the last look.
    looks_at: Option<Instant>,
    /// When a row last told what was left out.
    told_at: Option<Instant>,
}

impl Writing {
    fn run(&mut self) {
        loop {
            let next = self.retry_at.into_iter().chain(self.looks_at).min();
            let patience = next.map(|at| at.saturating_duration_since(Instant::now()));
            let (batches, is_closing) = self.shared.take(patience);
            self.backlog.extend(batches);
            let now = Instant::now();
            if is_closing || self.retry_at.is_none_or(|at| at <= now) {
                self.tell_left_out(now, is_closing);
                self.write(now);
            } else {
                self.give_up(); // who can be told that it failed is
            }
            if is_closing || self.looks_at.is_some_and(|at| at <= now) {
                self.look();
            }
            if is_closing {
                let lost: usize = self.backlog.iter().map(|batch| batch.rows.len()).sum();
                if lost > 0 {
                    tracing::error!(rows = lost, "the last rows of the audit log are lost");
                }
                return;
            }
        }
    }

    /// Appends what waits, and tells those who wait for it.
    fn write(&mut self, now: Instant) {
        let resumes =
            self.retry_at.take().map(|_| (wall_time::now(), Row::new(RESUME, Map::new())));
        if self.backlog.is_empty() && resumes.is_none() {
            return;
        }
        let rows = self.backlog.iter().flat_map(|batch| &batch.rows).chain(&resumes);
        let rows = rows.map(|(at, row)| (*at, row));
        self.shared.set_busy(true);
        let written = self.appender.append(rows, self.shared.settings.syncs);
        self.shared.set_busy(false);
        let folder = self.shared.settings.folder.display();
        match written {
            Ok(()) => {
                self.looks_at.get_or_insert(now + LOOK);
                self.shared.saw(self.appender.head(), self.appender.bytes());
                if self.shared.set_failed(false) {
                    tracing::info!("the audit log in {folder} is written again");
                }
                for batch in std::mem::take(&mut self.backlog) {
                    self.finish(batch, true);
                }
            }
            Err(error) => {
                self.retry_at = Some(now + RETRY);
                if self.shared.set_failed(true) {
                    let what = match self.shared.settings.goes_on {
                        true => "clients are served without it (audit.on_failure)",
                        false => "what must be in it is refused until it can (audit.on_failure)",
                    };
                    tracing::error!(%error, "the audit log in {folder} cannot be written: {what}");
                }
                self.give_up();
            }
        }
    }

    /// Rows that cannot be written are left out where that may be; who can be told is.
    fn give_up(&mut self) {
        let goes_on = self.shared.settings.goes_on;
        for batch in std::mem::take(&mut self.backlog) {
            match batch.asker {
                Asker::Shard(..) if !goes_on => self.backlog.push(batch),
                _ => {
                    self.shared.leave_out(batch.rows.len() as u64);
                    self.finish(batch, false);
                }
            }
        }
    }

    fn finish(&self, batch: Batch, is_safe: bool) {
        self.shared.done(&batch);
        match batch.asker {
            Asker::Shard(place, ticket) => {
                if let Some((completed, wake)) = self.shards.get(place) {
                    completed.store(ticket.0, Ordering::Release);
                    wake();
                }
            }
            Asker::Caller(answer) => {
                let _ = answer.send(is_safe); // unless he has gone
            }
        }
    }

    /// A row says how many were left out, once a minute.
    fn tell_left_out(&mut self, now: Instant, is_closing: bool) {
        let rows = self.shared.untold();
        let is_early = self.told_at.is_some_and(|at| now < at + TELL);
        if rows == 0 || is_early && !is_closing {
            return;
        }
        let says = Map::from_iter([("rows".to_owned(), json!(rows))]);
        let row = Row::new("left_out", says);
        if self.appender.append([(wall_time::now(), &row)].into_iter(), false).is_ok() {
            self.told_at = Some(now);
            self.looks_at.get_or_insert(now + LOOK);
            self.shared.told(rows);
        }
    }

    /// What is done now and then: the disk gets what the system has, and the folder says how far
    /// the log has come.
    fn look(&mut self) {
        let folder = self.shared.settings.folder.display();
        self.looks_at = (self.shared.untold() > 0).then(|| Instant::now() + TELL);
        if !self.appender.is_there() {
            tracing::error!("somebody has removed the audit log in {folder}: another is begun");
            let _ = self.appender.tell_head(); // what follows is to say what it follows
            match Appender::open(&self.shared.settings.folder, self.shared.settings.bounds) {
                Ok(appender) => self.appender = appender,
                Err(error) => tracing::error!(%error, "the audit log in {folder}"),
            }
        }
        let told = self.appender.sync().and_then(|()| self.appender.tell_head());
        if let Err(error) = told {
            tracing::warn!(%error, "the end of the audit log in {folder} cannot be noted");
        }
        self.shared.saw(self.appender.head(), self.appender.bytes());
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("backlog", &self.backlog.len()).finish_non_exhaustive()
    }
}

/// The row that says that the log could not be written for a while.
const RESUME: &str = "resume";
/// How long the end of a broker waits for its last rows.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// Between looks, while something is written.
const LOOK: Duration = Duration::from_secs(1);
/// Between attempts to write, after one has failed.
const RETRY: Duration = Duration::from_secs(1);
/// Between rows that tell what was left out.
const TELL: Duration = Duration::from_secs(60);
