//! The folder of the log: one file after the other, each named by its first row.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::chain::{Hash, Head, unseal};
use crate::row::LONGEST_ROW;

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
        folder.join(format!("{first:0DIGITS$}{EXTENSION}"))
    }

    /// The hash of the row before its first, as its first row says.
    pub(crate) fn after(&self) -> io::Result<Hash> {
        let mut line = String::new();
        BufReader::new(File::open(&self.path)?.take(LONGEST_ROW as u64)).read_line(&mut line)?;
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
        let digits = name.to_str().and_then(|it| it.strip_suffix(EXTENSION));
        let digits = digits.filter(|it| it.len() == DIGITS);
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // removed
            metadata => metadata?,
        };
        // What lies beside the files is none of ours.
        if let Some(first) = digits.and_then(|it| it.parse().ok()).filter(|_| metadata.is_file()) {
            all.push(Segment { first, path: entry.path(), bytes: metadata.len() });
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
    let mut window = WINDOW;
    loop {
        let start = len.saturating_sub(window);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.take(window).read_to_end(&mut tail)?;
        if let Some(last) = last_row_in(&tail, start) {
            return Ok(Some(last));
        }
        if start == 0 {
            return Ok(None);
        }
        window *= 4; // somebody has written what is no row
    }
}

fn last_row_in(tail: &[u8], start: u64) -> Option<LastRow> {
    let lines_end = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut end = lines_end;
    while end > 0 {
        let from = tail[..end - 1].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let line = str::from_utf8(&tail[from..end - 1]).ok();
        if let Some((row, (_, hash))) = line.and_then(|line| row_number(line).zip(unseal(line))) {
            let foreign = (lines_end - end) as u64;
            return Some(LastRow { head: Head { row, hash }, end: start + end as u64, foreign });
        }
        end = from;
    }
    None
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
/// What is read at the end of a file first: some rows have room in it.
const WINDOW: u64 = 4 * LONGEST_ROW as u64;
const EXTENSION: &str = ".jsonl";
/// Of the number of its first row in a file's name.
const DIGITS: usize = 20;
