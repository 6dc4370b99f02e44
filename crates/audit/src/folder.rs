//! The folder of the log: one file after the other, each named by its first row.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::chain::{Hash, Head, unseal};

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The number of its first row.
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl Segment {
    pub(crate) fn path(folder: &Path, first: u64) -> PathBuf {
        folder.join(format!("{first:020}{EXTENSION}"))
    }

    /// The hash of the row before its first, as its first row says.
    pub(crate) fn after(&self) -> io::Result<Hash> {
        let mut line = String::new();
        BufReader::new(File::open(&self.path)?.take(TAIL)).read_line(&mut line)?;
        let row: Map<String, Value> = serde_json::from_str(&line)?;
        let after = row.get(AFTER).and_then(Value::as_str).and_then(|hash| hash.parse().ok());
        after.ok_or_else(|| io::Error::other("its first row does not say what it follows"))
    }
}

/// All files, in order.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|it| it.strip_suffix(EXTENSION));
        if let Some(first) = first.and_then(|it| it.parse().ok()) {
            let bytes = entry.metadata()?.len();
            all.push(Segment { first, path: entry.path(), bytes });
        }
    }
    all.sort_by_key(|segment| segment.first);
    Ok(all)
}

/// The end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastRow {
    /// Its last row.
    pub(crate) head: Head,
    /// How many bytes end with it.
    pub(crate) end: u64,
    /// Bytes behind it that are lines, but no rows. An unfinished row is no line.
    pub(crate) foreign: u64,
}

/// Looks for the last row of a file; `None`: there is none.
pub(crate) fn last_row(file: &mut File) -> io::Result<Option<LastRow>> {
    let len = file.seek(SeekFrom::End(0))?;
    let start = len.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let lines_end = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut end = lines_end;
    while end > 0 {
        let from = tail[..end - 1].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let line = str::from_utf8(&tail[from..end - 1]).ok();
        if let Some((row, (_, hash))) = line.and_then(|line| row_number(line).zip(unseal(line))) {
            let (head, end) = (Head { row, hash }, end as u64);
            let foreign = lines_end as u64 - end;
            return Ok(Some(LastRow { head, end: start + end, foreign }));
        }
        end = from;
    }
    Ok(None)
}

/// The number of the row in a line.
pub(crate) fn row_number(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("{\"row\":")?;
    rest[..rest.find(',')?].parse().ok()
}

/// What the broker last told of the end of the log.
pub(crate) fn told_head(folder: &Path) -> Option<Head> {
    fs::read_to_string(folder.join(HEAD)).ok()?.trim_end().parse().ok()
}

/// The file that says how far the log has come.
pub(crate) const HEAD: &str = "head";
/// The file by which those who write take turns.
pub(crate) const LOCK: &str = "lock";
/// The member of a file's first row that has the hash of the row before.
pub(crate) const AFTER: &str = "after";
/// Bytes that a row has at most, with room.
pub(crate) const TAIL: u64 = 256 * 1024;
const EXTENSION: &str = ".jsonl";
