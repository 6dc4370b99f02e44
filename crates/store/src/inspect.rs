//! Looking at a data directory without changing it.

use std::path::Path;

use agentmq_log::{Damage, ReadOnlyDisk};

use crate::open::{OpenError, format_of, lock_if_there, refused, unreadable};
use crate::store::{self, Store};

/// What a start would find in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Sessions that are not over.
    pub sessions: usize,
    /// Their subscriptions.
    pub subscriptions: usize,
    /// Messages, each once, however many sessions must get it.
    pub messages: usize,
    /// Deliveries that sessions must still get.
    pub deliveries: usize,
    /// Retained messages.
    pub retained: usize,
    /// Acknowledged records that cannot be read.
    pub damage: Vec<Damage>,
    /// Bytes of a commit that was not finished: nothing of it was acknowledged.
    pub unfinished: u64,
    /// Records that this version does not know.
    pub unknown: u64,
    /// The files of the log, oldest first.
    pub segments: Vec<InspectedSegment>,
}

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedSegment {
    /// Its name.
    pub file: String,
    /// Bytes that it takes on the disk.
    pub size: u64,
    /// Bytes of what has been written to it.
    pub used: u64,
    /// About as many bytes of these still count.
    pub live: u64,
}

impl Inspection {
    /// Whether everything that was acknowledged can be read.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty() && self.unknown == 0
    }
}

/// Looks at a data directory that nobody uses; nothing in it is changed.
pub fn inspect(folder: &Path) -> Result<Inspection, OpenError> {
    let disk = ReadOnlyDisk::new(&folder.join("log")).map_err(|source| refused(folder, source))?;
    let _lock = lock_if_there(folder)?;
    format_of(folder)?;
    // Nothing is created, so only the reading of it matters.
    let log = agentmq_log::Settings { segment_bytes: 0, reserve_bytes: 0, seed: 0 };
    let opened = Store::open(disk, store::Settings { log, syncs: false });
    let (store, recovered) = opened.map_err(|source| unreadable(folder, source))?;
    let state = store.state();
    let segments = store.log().segments().map(|it| InspectedSegment {
        file: it.file(),
        size: it.size,
        used: it.used,
        live: state.live.of(it.number),
    });
    Ok(Inspection {
        sessions: state.sessions.len(),
        subscriptions: state.sessions.values().map(|it| it.subscriptions.len()).sum(),
        messages: state.messages.len(),
        deliveries: state.sessions.values().map(|it| it.entries.len()).sum(),
        retained: state.retained.len(),
        unknown: store.unknown(),
        segments: segments.collect(),
        damage: recovered.damage,
        unfinished: recovered.unfinished,
    })
}
