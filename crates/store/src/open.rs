//! Opening a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use agentmq_log::{Damage, Disk, LogError, RealDisk};

use crate::DiskEngine;
use crate::restore::{Clocks, Restored, restore};
use crate::store::{self, Store};
use crate::writer::{Committer, Waker, Writer};

/// How a data directory is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it lies.
    pub folder: PathBuf,
    /// Whether an acknowledgement waits until the disk has what it promises, or only until the
    /// system has it.
    pub syncs: bool,
    /// Bytes of a file of the log.
    pub segment_bytes: u64,
    /// Random bits that no client can guess.
    pub seed: u64,
}

/// An open data directory, in use by this process alone.
#[derive(Debug)]
pub struct OpenedStore<D: Disk> {
    store: Store<D>,
    /// Held as long as the store is open.
    lock: Option<File>,
    /// What survived.
    pub restored: Restored,
    /// Acknowledged records that cannot be read.
    pub damage: Vec<Damage>,
    /// Bytes of a commit that was not finished.
    pub unfinished: u64,
    /// Records that this version does not know.
    pub unknown: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{folder} is in use by another process: stop that one, or give this one a data directory \
         of its own (data_dir)"
    )]
    InUse {
        /// The data directory.
        folder: Shown,
    },
    /// Another version has written it.
    #[error(
        "{folder} was written by a newer version (format {found}, this one knows {FORMAT}): start \
         that version, or give this one another data directory (data_dir)"
    )]
    Newer {
        /// The data directory.
        folder: Shown,
        /// Its format.
        found: String,
    },
    /// The system refuses.
    #[error("{folder}: {source}")]
    Folder {
        /// The data directory.
        folder: Shown,
        /// What the system says.
        source: io::Error,
    },
    /// The log cannot be read.
    #[error("the data directory {folder}: {source}")]
    Log {
        /// The data directory.
        folder: Shown,
        /// What is wrong with it.
        source: LogError,
    },
}

/// A path as people read it.
type Shown = String;

/// Opens a data directory, which is made if it is not there, and finds out what survived.
pub fn open(settings: &Settings, clocks: Clocks) -> Result<OpenedStore<RealDisk>, OpenError> {
    let folder = &settings.folder;
    let shown = || folder.display().to_string();
    let io = |source| OpenError::Folder { folder: shown(), source };
    let disk = RealDisk::new(&folder.join("log")).map_err(io)?;
    let lock = lock(folder)?;
    check_format(folder)?;
    let opened = OpenedStore::open(disk, settings, clocks);
    let opened = opened.map_err(|source| OpenError::Log { folder: shown(), source })?;
    Ok(OpenedStore { lock: Some(lock), ..opened })
}

impl<D: Disk> OpenedStore<D> {
    /// Opens the store on a disk, and finds out what survived.
    pub fn open(disk: D, settings: &Settings, clocks: Clocks) -> Result<Self, LogError> {
        let log = agentmq_log::Settings {
            segment_bytes: settings.segment_bytes,
            reserve_bytes: settings.segment_bytes.min(RESERVE_BYTES),
            seed: settings.seed,
        };
        let settings = store::Settings { log, syncs: settings.syncs };
        let (mut store, recovered) = Store::open(disk, settings)?;
        let restored = restore(store.state(), clocks);
        store.drop_packets();
        store.end(&restored.ended)?;
        store.drop_entries(&restored.dropped)?;
        Ok(Self {
            unknown: store.unknown(),
            store,
            lock: None,
            restored,
            damage: recovered.damage,
            unfinished: recovered.unfinished,
        })
    }

    /// A committer to be driven by hand, with an engine for each of `wakers`.
    pub fn by_hand(self, wakers: Vec<Waker>) -> (Committer<D>, Vec<DiskEngine>) {
        Committer::new(self.store, wakers)
    }
}

impl<D: Disk<File: Send> + Send + 'static> OpenedStore<D> {
    /// Starts the writer, with an engine for each of `wakers`, which are called when tickets of
    /// that engine have become durable.
    pub fn start(self, wakers: Vec<Waker>) -> io::Result<(Writer, Vec<DiskEngine>)> {
        let (committer, engines) = Committer::new(self.store, wakers);
        Ok((Writer::start(committer, Box::new(self.lock))?, engines))
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let shown = || folder.display().to_string();
    let io = |source| OpenError::Folder { folder: shown(), source };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(folder.join("lock"));
    let file = file.map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { folder: shown() }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Reads the format's number, or writes it into a new directory.
fn check_format(folder: &Path) -> Result<(), OpenError> {
    let shown = || folder.display().to_string();
    let io = |source| OpenError::Folder { folder: shown(), source };
    let path = folder.join("format");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim() == FORMAT => Ok(()),
        // A file that was never finished: nothing has been acknowledged from here.
        Ok(text) if !text.trim().is_empty() => {
            Err(OpenError::Newer { folder: shown(), found: text.trim().into() })
        }
        Ok(_) => write_format(&path).map_err(io),
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_format(&path).map_err(io),
        Err(error) => Err(io(error)),
    }
}

fn write_format(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(FORMAT.as_bytes())?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The format of what the log's records say.
const FORMAT: &str = "1";
/// Room kept aside for what makes room, in bytes.
const RESERVE_BYTES: u64 = 8 << 20;
