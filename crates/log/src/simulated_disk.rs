//! A disk in memory that crashes: what was not synced may be lost, torn or come in another order.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Room};

/// A simulated folder. Clones are the same folder, so that a test keeps a hold of it while a log
/// owns it.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<Folder>>);

/// A file in it.
#[derive(Debug)]
pub struct SimulatedFile {
    folder: Arc<Mutex<Folder>>,
    file: u64,
}

/// What is to go wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The write fails, with this error and nothing written.
    Write(io::ErrorKind),
    /// The write fails in the middle: a half of it is in the file.
    HalfWrite(io::ErrorKind),
    /// The sync fails, and what it was to make durable never will be, though readers see it.
    Sync(io::ErrorKind),
    /// There is no room for a new file.
    Create(io::ErrorKind),
    /// A file that is there is not opened.
    Open(io::ErrorKind),
}

#[derive(Debug, Default)]
struct Folder {
    files: BTreeMap<u64, Content>,
    next: u64,
    /// The names as they are seen, and as they are durable.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// What goes wrong after so many further operations of its kind.
    faults: Vec<(u64, Fault)>,
    /// Writes and syncs so far, for those who want to stop at each.
    operations: u64,
    /// Operations that still work: then the power is gone.
    power_for: Option<u64>,
    /// Bytes that all files together may take; `None` for no bound.
    capacity: Option<u64>,
    /// Parts of files that cannot be read.
    unreadable: Vec<(u64, Range<u64>)>,
}

#[derive(Debug, Default)]
struct Content {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What a crash cannot take.
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl SimulatedDisk {
    /// Lets the power fail now: of what was not synced, each sector survives or not, as `random`
    /// decides, and so does each change of names.
    pub fn crash(&self, random: &mut dyn FnMut() -> u64) {
        let mut folder = lock(&self.0);
        folder.power_for = None;
        folder.faults.clear();
        let (seen, durable) = (folder.names.clone(), folder.durable_names.clone());
        let mut names = durable.clone();
        for (name, file) in &seen {
            if durable.get(name) != Some(file) && random().is_multiple_of(2) {
                names.insert(name.clone(), *file);
            }
        }
        for name in durable.keys() {
            if !seen.contains_key(name) && random().is_multiple_of(2) {
                names.remove(name);
            }
        }
        for content in folder.files.values_mut() {
            content.crash(random);
        }
        folder.durable_names.clone_from(&names);
        folder.names = names;
    }

    /// What was to go wrong does not.
    pub fn forget_faults(&self) {
        let mut folder = lock(&self.0);
        folder.faults.clear();
        folder.power_for = None;
    }

    /// Lets something go wrong after `after` more operations of its kind.
    pub fn plan(&self, after: u64, fault: Fault) {
        lock(&self.0).faults.push((after, fault));
    }

    /// Everything fails after `operations` more writes, syncs and changes of names.
    pub fn power_for(&self, operations: u64) {
        lock(&self.0).power_for = Some(operations);
    }

    /// Writes, syncs and changes of names so far.
    pub fn operations(&self) -> u64 {
        lock(&self.0).operations
    }

    /// Bounds what all files together may take.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.0).capacity = bytes;
    }

    /// Changes a file behind everybody's back, as a failing disk does.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut folder = lock(&self.0);
        let Some(&file) = folder.names.get(name) else { return };
        if let Some(content) = folder.files.get_mut(&file) {
            change(&mut content.seen);
            content.durable.clone_from(&content.seen);
            content.unsynced.clear();
        }
    }

    /// Lets every read of a part of a file fail.
    pub fn make_unreadable(&self, name: &str, part: Range<u64>) {
        let mut folder = lock(&self.0);
        let Some(&file) = folder.names.get(name) else { return };
        folder.unreadable.push((file, part));
    }

    /// A file as a reader sees it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let folder = lock(&self.0);
        let file = folder.names.get(name)?;
        Some(folder.files.get(file)?.seen.clone())
    }
}

impl Content {
    fn crash(&mut self, random: &mut dyn FnMut() -> u64) {
        let size = self.seen.len();
        self.durable.resize(size, 0);
        for (offset, bytes) in self.unsynced.drain(..) {
            // All, nothing, or some of its sectors.
            let mode = random() % 4;
            let (mut at, end) = (offset as usize, offset as usize + bytes.len());
            while at < end {
                let sector = (at / SECTOR + 1) * SECTOR;
                let stop = sector.min(end);
                let survives = match mode {
                    0 => false,
                    1 => true,
                    _ => random().is_multiple_of(2),
                };
                if survives && stop <= size {
                    let from = at - offset as usize;
                    self.durable[at..stop].copy_from_slice(&bytes[from..from + stop - at]);
                }
                at = stop;
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

impl Folder {
    /// Counts an operation; fails when there is no power left for it.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.power_for {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The fault that is due for an operation of this kind.
    fn fault(&mut self, concerns: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut due = None;
        self.faults.retain_mut(|(after, fault)| {
            if !concerns(*fault) {
                return true;
            }
            if *after > 0 || due.is_some() {
                *after = after.saturating_sub(1);
                return true;
            }
            due = Some(*fault);
            false
        });
        due
    }

    fn size(&self) -> u64 {
        self.names.values().filter_map(|it| self.files.get(it)).map(|it| it.seen.len() as u64).sum()
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).names.keys().cloned().collect())
    }

    fn create(&mut self, name: &str, bytes: u64) -> io::Result<SimulatedFile> {
        let mut folder = lock(&self.0);
        folder.operate()?;
        if let Some(Fault::Create(kind)) = folder.fault(|it| matches!(it, Fault::Create(_))) {
            return Err(kind.into());
        }
        folder.names.remove(name);
        if folder.capacity.is_some_and(|capacity| folder.size() + bytes > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = folder.next;
        folder.next += 1;
        let zeros = vec![0; bytes as usize];
        let content = Content { seen: zeros.clone(), durable: zeros, unsynced: Vec::new() };
        folder.files.insert(file, content);
        folder.names.insert(name.into(), file);
        drop(folder);
        Ok(SimulatedFile { folder: Arc::clone(&self.0), file })
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut folder = lock(&self.0);
        if let Some(Fault::Open(kind)) = folder.fault(|it| matches!(it, Fault::Open(_))) {
            return Err(kind.into());
        }
        let file = *folder.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        drop(folder);
        Ok(SimulatedFile { folder: Arc::clone(&self.0), file })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut folder = lock(&self.0);
        folder.operate()?;
        folder.names.remove(name);
        Ok(())
    }

    fn link(&mut self, name: &str, second: &str) -> io::Result<()> {
        let mut folder = lock(&self.0);
        folder.operate()?;
        let file = *folder.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        folder.names.entry(second.into()).or_insert(file);
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut folder = lock(&self.0);
        folder.operate()?;
        if let Some(Fault::Sync(kind)) = folder.fault(|it| matches!(it, Fault::Sync(_))) {
            return Err(kind.into());
        }
        folder.durable_names = folder.names.clone();
        Ok(())
    }

    fn room(&self) -> io::Result<Option<Room>> {
        let folder = lock(&self.0);
        let free = |size: u64| size.saturating_sub(folder.size());
        Ok(folder.capacity.map(|size| Room { free: free(size), size }))
    }
}

impl SimulatedFile {
    fn with<T>(&self, act: impl FnOnce(&mut Folder, u64) -> io::Result<T>) -> io::Result<T> {
        act(&mut lock(&self.folder), self.file)
    }
}

impl DiskFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|folder, file| Ok(content(folder, file)?.seen.len() as u64))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|folder, file| {
            let last = offset + bytes.len() as u64;
            let is_bad = |(bad, part): &(u64, Range<u64>)| {
                *bad == file && part.start < last && offset < part.end
            };
            if folder.unreadable.iter().any(is_bad) {
                return Err(io::Error::other("the disk cannot read this"));
            }
            let seen = &content(folder, file)?.seen;
            let end = offset as usize + bytes.len();
            let range = seen.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
            bytes.copy_from_slice(range);
            Ok(())
        })
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|folder, file| {
            folder.operate()?;
            let is_write = |it| matches!(it, Fault::Write(_) | Fault::HalfWrite(_));
            let fault = folder.fault(is_write);
            let (bytes, failure) = match fault {
                Some(Fault::Write(kind)) => return Err(kind.into()),
                Some(Fault::HalfWrite(kind)) => (&bytes[..bytes.len() / 2], Some(kind)),
                _ => (bytes, None),
            };
            let content = content(folder, file)?;
            let end = offset as usize + bytes.len();
            if content.seen.len() < end {
                content.seen.resize(end, 0);
            }
            content.seen[offset as usize..end].copy_from_slice(bytes);
            content.unsynced.push((offset, bytes.to_vec()));
            failure.map_or(Ok(()), |kind| Err(kind.into()))
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|folder, file| {
            folder.operate()?;
            let fault = folder.fault(|it| matches!(it, Fault::Sync(_)));
            let content = content(folder, file)?;
            let unsynced = std::mem::take(&mut content.unsynced);
            if let Some(Fault::Sync(kind)) = fault {
                // Readers see what was written, but no later sync will write it.
                return Err(kind.into());
            }
            content.durable.resize(content.seen.len(), 0);
            for (offset, bytes) in unsynced {
                let at = offset as usize;
                content.durable[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            Ok(())
        })
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.with(|folder, file| {
            folder.operate()?;
            let content = content(folder, file)?;
            content.seen.truncate(size as usize);
            content.durable.truncate(size as usize);
            content
                .unsynced
                .retain(|(offset, bytes)| *offset as usize + bytes.len() <= size as usize);
            Ok(())
        })
    }
}

fn content(folder: &mut Folder, file: u64) -> io::Result<&mut Content> {
    folder.files.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn lock(folder: &Mutex<Folder>) -> MutexGuard<'_, Folder> {
    folder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a disk writes in one piece, in bytes.
const SECTOR: usize = 512;
