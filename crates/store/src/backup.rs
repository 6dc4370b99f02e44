//! A copy of a data directory while a broker writes to it.
//!
//! The copy is what a crash at some moment would have left, and a start treats it as that. Three
//! things make it so:
//!
//! * Files are only appended to, and removed from the oldest on. All are opened before any is
//!   copied, so that one that is removed meanwhile can still be read.
//! * A file is removed when what counted in it stands in later ones. The list of names is read
//!   again after all were opened, and everything begins anew if it has changed: so no file is
//!   missing into which something had moved.
//! * The newest file grows while it is copied. First its end is looked for, then it is read up to
//!   there: of all commits but the last one that reading finds every byte, and the last one is cut
//!   off as one that was not finished, if need be.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use agentmq_log::{Disk, ReadOnlyDisk, is_segment};

use crate::open::{OpenError, format_of, refused, shown, write_format};

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Files of the log.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Copies a data directory, in use or not, to a folder that must not be there. Everything that was
/// acknowledged before it is called is in the copy, which is durable when it returns.
pub fn backup(folder: &Path, target: &Path) -> Result<Backup, OpenError> {
    format_of(folder)?;
    let files = open_all(&folder.join("log")).map_err(|source| refused(folder, source))?;
    fs::create_dir(target).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => OpenError::Exists { folder: shown(target) },
        _ => refused(target, source),
    })?;
    write_all(&files, target).map_err(|source| refused(target, source))
}

/// Every file of the log, oldest first, as they were at one moment.
fn open_all(log: &Path) -> io::Result<Vec<(String, File)>> {
    let disk = ReadOnlyDisk::new(log)?;
    let names = || -> io::Result<Vec<String>> {
        let mut names = disk.list()?;
        names.retain(|name| is_segment(name));
        names.sort_unstable();
        Ok(names)
    };
    for _ in 0..ATTEMPTS {
        let wanted = names()?;
        let open = |name: &String| Ok((name.clone(), File::open(log.join(name))?));
        match wanted.iter().map(open).collect::<io::Result<Vec<_>>>() {
            Ok(files) if names()? == wanted => return Ok(files),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {} // the log has moved on meanwhile
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "the log's files change all the time"))
}

fn write_all(files: &[(String, File)], target: &Path) -> io::Result<Backup> {
    let log = target.join("log");
    fs::create_dir(&log)?;
    let mut bytes = 0;
    for (name, file) in files {
        bytes += copy(file, &log.join(name))?;
    }
    File::open(&log)?.sync_all()?;
    // Last: a copy that was interrupted is none.
    write_format(target, &target.join("format"))?;
    let parent = target.canonicalize()?;
    parent.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
    Ok(Backup { segments: files.len(), bytes })
}

/// Copies a file that may grow at its end.
fn copy(from: &File, to: &Path) -> io::Result<u64> {
    let size = from.metadata()?.len();
    let to = File::create_new(to)?;
    to.set_len(size)?; // what is not written is zeros, as in the file: room taken beforehand
    let mut part = vec![0; PART];
    let end = end_of(from, size, &mut part)?;
    let mut at = 0;
    while at < end {
        let wanted = (end - at).min(PART as u64) as usize;
        let read = read_up_to(from, &mut part[..wanted], at)?;
        if read == 0 {
            break;
        }
        to.write_all_at(&part[..read], at)?;
        at += read as u64;
    }
    to.sync_all()?;
    Ok(end)
}

/// Where the last byte stands that is not 0.
fn end_of(file: &File, size: u64, part: &mut [u8]) -> io::Result<u64> {
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(part.len() as u64);
        let read = read_up_to(file, &mut part[..(end - start) as usize], start)?;
        if let Some(last) = part[..read].iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Fills `bytes`, or as much as there is: a file that is done with gives unused room back.
fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// How often the list of files is looked at for one moment without a change.
const ATTEMPTS: usize = 100;
/// Bytes that are copied at once.
const PART: usize = 1 << 20;
