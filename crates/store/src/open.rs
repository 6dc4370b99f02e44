//! Opening a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use agentmq_log::{Damage, Disk, LogError, RealDisk};

use crate::DiskEngine;
use crate::restore::{Clocks, Restored, restore};
use crate::store::{self, Store};
use crate::watermarks::Watermarks;
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
    /// From which room on the disk is watched.
    pub watermarks: Watermarks,
}

/// An open data directory, in use by this process alone.
#[derive(Debug)]
pub struct OpenedStore<D: Disk> {
    store: Store<D>,
    /// Held as long as the store is open.
    lock: Option<File>,
    watermarks: Watermarks,
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
    /// A copy was to be made where something is.
    #[error("{folder} exists already, and a copy replaces nothing: name a folder that does not")]
    Exists {
        /// The copy's folder.
        folder: Shown,
    },
    /// The system refuses.
    #[error(
        "the data directory cannot be used: {path}: {source}; let this process read and write \
         there, or choose another folder (data_dir)"
    )]
    Folder {
        /// The data directory, or a file in it.
        path: Shown,
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
    let path = folder.join("log");
    let disk = RealDisk::new(&path).map_err(|source| refused(&path, source))?;
    let lock = lock(folder)?;
    check_format(folder)?;
    let opened = OpenedStore::open(disk, settings, clocks);
    let opened = opened.map_err(|source| unreadable(folder, source))?;
    Ok(OpenedStore { lock: Some(lock), ..opened })
}

impl<D: Disk + Clone + Send + Sync + 'static> OpenedStore<D> {
    /// Opens the store on a disk, and finds out what survived.
    pub fn open(disk: D, settings: &Settings, clocks: Clocks) -> Result<Self, LogError> {
        let log = agentmq_log::Settings {
            segment_bytes: settings.segment_bytes,
            reserve_bytes: settings.segment_bytes.min(RESERVE_BYTES),
            seed: settings.seed,
        };
        let watermarks = settings.watermarks;
        let settings = store::Settings { log, syncs: settings.syncs };
        let (mut store, recovered) = Store::open(disk, settings)?;
        let restored = restore(&store.state(), store.log().disk(), clocks);
        store.drop_entries(&restored.dropped)?;
        Ok(Self {
            unknown: store.unknown(),
            store,
            lock: None,
            watermarks,
            restored,
            damage: recovered.damage,
            unfinished: recovered.unfinished,
        })
    }

    /// A committer to be driven by hand, with an engine for each of `wakers`.
    pub fn by_hand(self, wakers: Vec<Waker>) -> (Committer<D>, Vec<DiskEngine>) {
        Committer::new(self.store, self.watermarks, self.damage.len() as u64, wakers)
    }
}

impl<D: Disk<File: Send> + Clone + Send + Sync + 'static> OpenedStore<D> {
    /// Starts the writer, with an engine for each of `wakers`, which are called when tickets of
    /// that engine have become durable.
    pub fn start(mut self, wakers: Vec<Waker>) -> io::Result<(Writer, Vec<DiskEngine>)> {
        let lock = Box::new(self.lock.take());
        let (committer, engines) = self.by_hand(wakers);
        Ok((Writer::start(committer, lock)?, engines))
    }
}

/// Makes the directory this process's own.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&path);
    take(file.map_err(|source| refused(&path, source))?, folder)
}

/// The same without a trace: a directory without the file is used by nobody.
pub(crate) fn lock_if_there(folder: &Path) -> Result<Option<File>, OpenError> {
    let path = folder.join(LOCK);
    match File::open(&path) {
        Ok(file) => take(file, folder).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(refused(&path, source)),
    }
}

fn take(file: File, folder: &Path) -> Result<File, OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { folder: shown(folder) }),
        Err(TryLockError::Error(source)) => Err(refused(&folder.join(LOCK), source)),
    }
}

/// Reads the format's number, or writes it into a new directory.
fn check_format(folder: &Path) -> Result<(), OpenError> {
    if format_of(folder)? {
        return Ok(());
    }
    let path = folder.join("format");
    write_format(folder, &path).map_err(|source| refused(&path, source))
}

/// Whether the directory has this version's format; false where it has none yet, because nothing
/// has been acknowledged from it.
pub(crate) fn format_of(folder: &Path) -> Result<bool, OpenError> {
    let path = folder.join("format");
    let content = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|source| refused(&path, source))?,
    };
    match content.trim_ascii() {
        found if found == FORMAT.as_bytes() => Ok(true),
        b"" => Ok(false), // a file that was never finished
        found if found.iter().all(u8::is_ascii_digit) => Err(OpenError::Newer {
            folder: shown(folder),
            found: String::from_utf8_lossy(found).into_owned(),
        }),
        _ => Err(refused(&path, io::Error::other(NO_NUMBER))),
    }
}

pub(crate) fn write_format(folder: &Path, path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(FORMAT.as_bytes())?;
    file.sync_all()?;
    File::open(folder.canonicalize()?)?.sync_all()
}

pub(crate) fn refused(path: &Path, source: io::Error) -> OpenError {
    OpenError::Folder { path: shown(path), source }
}

pub(crate) fn unreadable(folder: &Path, source: LogError) -> OpenError {
    OpenError::Log { folder: shown(folder), source }
}

pub(crate) fn shown(path: &Path) -> Shown {
    path.display().to_string()
}

/// Why a file is not the one that says the format.
const NO_NUMBER: &str = "it says which version wrote the directory, by a number, and holds \
    something else: it is damaged, or the folder is not AgentMQ's";
/// Locked by whoever uses the directory.
const LOCK: &str = "lock";
/// The format of what the log's records say.
const FORMAT: &str = "1";
/// Room kept aside for what makes room, in bytes.
const RESERVE_BYTES: u64 = 8 << 20;
