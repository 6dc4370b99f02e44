//! The rows of a log, one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use crate::folder::{Segment, segments};
use crate::row::LONGEST_ROW;

/// Reads the rows of a folder in their order. It needs no more memory than a row.
#[derive(Debug)]
pub struct Rows {
    segments: VecDeque<Segment>,
    file: Option<(Arc<Path>, BufReader<File>)>,
    /// The first row of that.
    first: u64,
    line: u64,
    unfinished: u64,
    has_missed: bool,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOfFile {
    /// Its file.
    pub file: Arc<Path>,
    /// Which line of it; the first is 1.
    pub line: u64,
    /// The line, without its end.
    pub text: String,
}

impl Rows {
    /// All rows of a folder.
    pub fn of(folder: &Path) -> io::Result<Self> {
        Ok(Self::in_files(segments(folder)?))
    }

    pub(crate) fn in_files(files: Vec<Segment>) -> Self {
        let (segments, file) = (files.into(), None);
        Self { segments, file, first: 0, line: 0, unfinished: 0, has_missed: false }
    }

    /// The files from the last so many rows on, or a few more rows.
    pub fn last(folder: &Path, rows: u64) -> io::Result<Self> {
        let mut all = Self::of(folder)?;
        let end = all.segments.back().map_or(0, |last| last.first);
        while all.segments.get(1).is_some_and(|next| next.first + rows <= end) {
            all.segments.pop_front();
        }
        Ok(all)
    }

    /// Goes on where it had ended: with rows that have been written since.
    pub fn look_again(&mut self, folder: &Path) -> io::Result<()> {
        let after = segments(folder)?.into_iter();
        self.segments = after.filter(|segment| segment.first > self.first).collect();
        Ok(())
    }

    /// Bytes behind the last row, of one that is not finished.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// A file was removed before it was read.
    #[must_use]
    pub fn has_missed(&self) -> bool {
        self.has_missed
    }

    fn read(&mut self) -> io::Result<Option<RowOfFile>> {
        loop {
            if let Some((path, file)) = &mut self.file {
                let mut bytes = Vec::new();
                file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
                let is_whole = bytes.pop_if(|last| *last == b'\n').is_some();
                let is_too_long = bytes.len() as u64 == LONGEST_LINE;
                self.unfinished = if is_whole || is_too_long { 0 } else { bytes.len() as u64 };
                if self.unfinished > 0 && self.segments.is_empty() {
                    // It may be being written now: it is read when it is.
                    file.seek_relative(-i64::try_from(self.unfinished).unwrap_or_default())?;
                    return Ok(None);
                }
                if is_too_long && !is_whole {
                    file.skip_until(b'\n')?; // it is no row
                }
                if is_whole || !bytes.is_empty() {
                    self.line += 1;
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    return Ok(Some(RowOfFile { file: Arc::clone(path), line: self.line, text }));
                }
            }
            let Some(next) = self.segments.pop_front() else { return Ok(None) };
            let file = match File::open(&next.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.has_missed = true;
                    continue;
                }
                opened => opened?,
            };
            self.file = Some((next.path.into(), BufReader::new(file)));
            (self.first, self.line) = (next.first, 0);
        }
    }
}

/// Bytes of a line that is read: longer ones are no rows.
const LONGEST_LINE: u64 = 2 * LONGEST_ROW as u64;

impl Iterator for Rows {
    type Item = io::Result<RowOfFile>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
