//! The data directory: opening it, saying what was found, and who writes to it.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::mem::take;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use agentmq_log::RealDisk;
use agentmq_router::Place;
use agentmq_session::{CommitEngine, RestoredRetained, RestoredSession, RestoredWill, Time};
use agentmq_shard::Mailboxes;
use agentmq_store::{Clocks, OpenError, OpenedStore, Settings, Waker, Watermarks, Writer};

use crate::{Config, Durability};

/// Opens the data directory, if the configuration asks for one, and tells what was found in it.
pub(crate) fn open(config: &Config, now: Time) -> Result<Option<OpenedStore<RealDisk>>, OpenError> {
    if config.durability == Durability::Memory {
        return Ok(None);
    }
    let settings = Settings {
        folder: config.data_dir.clone(),
        syncs: config.durability == Durability::Fsync,
        segment_bytes: SEGMENT_BYTES,
        seed: RandomState::new().hash_one(std::process::id()),
        watermarks: Watermarks {
            warn_below: config.disk.warn_below,
            refuse_below: config.disk.refuse_below,
        },
    };
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let opened = agentmq_store::open(&settings, Clocks { now, wall: wall.as_millis() as u64 })?;
    report(config, &opened);
    Ok(Some(opened))
}

/// What an operator must know of what was found.
fn report(config: &Config, opened: &OpenedStore<RealDisk>) {
    let folder = config.data_dir.display();
    let promise = match config.durability {
        Durability::Fsync => "the disk has it",
        Durability::Os => "the operating system has it",
        Durability::Memory => "the broker has it",
    };
    tracing::info!(
        durability = config.durability.name(),
        "what must survive is kept in {folder}, and acknowledged when {promise}"
    );
    for damage in &opened.damage {
        let kept = damage.kept_as.as_deref().unwrap_or("nowhere: it could not be linked");
        tracing::error!(
            file = %damage.file,
            at = damage.offset,
            records = damage.records,
            what = ?damage.origin,
            kept,
            "the data directory {folder} is damaged: acknowledged records are lost, everything \
             else is served"
        );
    }
    if opened.unknown > 0 {
        let records = opened.unknown;
        tracing::error!(
            records,
            "records in {folder} that this version does not know are left out"
        );
    }
    if opened.unfinished > 0 {
        let bytes = opened.unfinished;
        tracing::info!(bytes, "a commit in {folder} was not finished: none of it was acknowledged");
    }
    let sessions = opened.restored.sessions.len();
    let messages = opened.restored.sessions.iter();
    let messages: usize = messages.map(|it| it.in_flight.len() + it.waiting.len()).sum();
    let retained = opened.restored.retained.len();
    if sessions + retained > 0 {
        tracing::info!(sessions, messages, retained, "taken up from {folder}");
    }
}

/// Takes out what survived.
pub(crate) fn take_restored(
    opened: &mut OpenedStore<RealDisk>,
) -> (Vec<RestoredSession>, Vec<RestoredRetained>, Vec<RestoredWill>) {
    let restored = &mut opened.restored;
    let (sessions, retained) = (&mut restored.sessions, &mut restored.retained);
    (take(sessions), take(retained), take(&mut restored.wills))
}

/// The engines of the shards, the last shard's last.
type Engines = Vec<Box<dyn CommitEngine + Send>>;

/// Starts the writer and gives each shard its engine; none where everything is in memory.
pub(crate) fn start(
    opened: Option<OpenedStore<RealDisk>>,
    mailboxes: &Arc<Mailboxes>,
    shards: usize,
) -> io::Result<(Option<Writer>, Engines)> {
    let Some(opened) = opened else { return Ok((None, Vec::new())) };
    let wakers = (0..shards).map(|number| -> Waker {
        let (mailboxes, place) = (Arc::clone(mailboxes), Place(number as u8));
        Box::new(move || mailboxes.wake(place))
    });
    let (writer, engines) = opened.start(wakers.collect())?;
    let boxed =
        engines.into_iter().map(|engine| -> Box<dyn CommitEngine + Send> { Box::new(engine) });
    Ok((Some(writer), boxed.collect()))
}

/// Bytes of a file of the log.
const SEGMENT_BYTES: u64 = 64 << 20;
