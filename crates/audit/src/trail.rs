//! The log of a running broker: how it is kept, and how those who are no shard put rows down.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use agentmq_session::AuditCondition;
use serde_json::{Map, Value};

use crate::appender::{Appender, Bounds};
use crate::inbox::{Asker, Batch, Shared};
use crate::row::{REFUSE, Row};
use crate::shard_trail::ShardTrail;
use crate::wall_time::now;
use crate::writer::{Waker, Writer};

/// How the log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it lies.
    pub folder: PathBuf,
    /// How large it may become.
    pub bounds: Bounds,
    /// Whether an answer waits until the disk has the row, or only until the system has it.
    pub syncs: bool,
    /// Whether clients go on being served, without rows, while it cannot be written.
    pub goes_on: bool,
    /// Whether it says who comes and goes.
    pub connections: bool,
    /// Whether it says what is refused.
    pub refusals: bool,
}

/// Puts rows down, from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trail(Option<Arc<Shared>>);

/// How long somebody waits for his row.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a row could not be put down: what it tells must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: the log of the server says why")]
pub struct TrailError;

impl Trail {
    /// Of a broker that keeps no log: takes everything and forgets it.
    pub const NONE: Self = Self(None);

    /// Opens the log and starts to write it. `wakers` are called when rows of that shard are safe;
    /// each shard gets an end of the log. Who drops the writer waits until all is written.
    pub fn start(
        settings: Settings,
        wakers: Vec<Waker>,
    ) -> io::Result<(Self, Vec<ShardTrail>, Writer)> {
        let appender = Appender::open(&settings.folder, settings.bounds)?;
        let shared = Arc::new(Shared::new(settings));
        let completed: Vec<_> = wakers.iter().map(|_| Arc::default()).collect();
        let ends = completed.iter().enumerate();
        let ends = ends
            .map(|(place, completed)| {
                ShardTrail::new(Arc::clone(&shared), Arc::clone(completed), place)
            })
            .collect();
        let writer =
            Writer::start(Arc::clone(&shared), appender, completed.into_iter().zip(wakers))?;
        Ok((Self(Some(shared)), ends, writer))
    }

    /// Puts down that something was refused, and waits for nothing.
    pub fn refused(&self, says: Map<String, Value>) {
        let Some(shared) = &self.0 else { return };
        let at = now();
        if !shared.settings.refusals {
            return;
        }
        if shared.condition() != AuditCondition::Good || !shared.takes_refusal(at) {
            return shared.leave_out(1);
        }
        let (answer, _) = sync_channel(1);
        let rows = vec![(at, Row::new(REFUSE, says))];
        shared.submit(Batch { rows, asker: Asker::Caller(answer) });
    }

    /// Whether what must be put down can be.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| {
            shared.settings.goes_on || shared.condition() != AuditCondition::Failed
        })
    }

    /// Puts a row down and waits until it is safe.
    pub fn append(&self, row: Row) -> Result<(), TrailError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let (answer, answered) = sync_channel(1);
        shared.submit(Batch { rows: vec![(now(), row)], asker: Asker::Caller(answer) });
        match answered.recv_timeout(PATIENCE) {
            Ok(true) => Ok(()),
            _ if shared.settings.goes_on => Ok(()),
            _ => Err(TrailError),
        }
    }
}
