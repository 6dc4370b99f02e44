//! Whether a log is as it was written: every row in its place, and none missing.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::appender::{CUT, PRUNE, THROUGH, THROUGH_HASH, TOLD};
use crate::chain::{Head, unseal};
use crate::folder::{AFTER, row_number, segments, told_head};
use crate::reading::{RowOfFile, Rows};

/// A log that is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its first row; those before were removed by the log itself, which says so.
    pub first: u64,
    /// Its last row.
    pub head: Head,
    /// Bytes behind that, of a row that was not finished.
    pub unfinished: u64,
}

/// Where a log is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {}, line {line}", file.display())]
pub struct Broken {
    /// The row with which it begins to be wrong.
    pub row: u64,
    /// Where that is.
    pub file: PathBuf,
    /// Which line.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

/// Reads the log of a folder from its first row to its last. Besides the end that the folder tells,
/// it must hold `heads`, which were noted elsewhere: who can write the folder can write both, but
/// not those.
pub fn verify(folder: &Path, heads: &[Head]) -> io::Result<Result<Verified, Broken>> {
    // Before the rows: it may go on meanwhile.
    let told = told_head(folder);
    let heads = told.into_iter().chain(heads.iter().copied()).collect();
    let mut verifying = Verifying { heads, ..Verifying::default() };
    let Some(first) = segments(folder)?.into_iter().next() else {
        return Ok(verifying.finish(folder, Head::default()));
    };
    verifying.at.row = first.first.saturating_sub(1);
    let mut rows = Rows::of(folder)?;
    for row in &mut rows {
        if let Err(broken) = verifying.row(&row?, first.first) {
            return Ok(Err(broken));
        }
    }
    verifying.unfinished = rows.unfinished();
    Ok(verifying.finish(&first.path, verifying.anchor))
}

#[derive(Debug, Default)]
struct Verifying {
    /// Rows that there must be.
    heads: Vec<Head>,
    /// The last row that was right.
    at: Head,
    /// The row before the first.
    anchor: Head,
    /// The last row that was removed, as the last row about that says.
    removed: Option<Head>,
    unfinished: u64,
}

impl Verifying {
    fn row(&mut self, row: &RowOfFile, first: u64) -> Result<(), Broken> {
        let number = self.at.row + 1;
        let broken = |what: String| Err(broken(number, &row.file, row.line, what));
        let Some((text, hash)) = unseal(&row.text) else {
            return broken(format!("row {number} has no hash at its end: it was changed"));
        };
        match row_number(text) {
            None => return broken(format!("row {number} has no number: it was changed")),
            Some(there) if there > number => {
                let last = there - 1;
                return broken(format!("rows {number} to {last} are missing before row {there}"));
            }
            Some(there) if there < number => {
                return broken(format!("row {there} stands where row {number} belongs"));
            }
            Some(_) => {}
        }
        if number == first && first > 1 {
            let after = member(&row.text, AFTER).and_then(|hash| hash.parse().ok());
            let Some(after) = after else {
                return broken(format!("row {number} does not say what it follows"));
            };
            self.anchor = Head { row: number - 1, hash: after };
            self.at = self.anchor;
        }
        if self.at.hash.then(text.as_bytes()) != hash {
            return broken(format!("row {number} was changed, or put in the place of another"));
        }
        self.at = Head { row: number, hash };
        if self.heads.iter().any(|head| head.row == number && head.hash != hash) {
            return broken(format!("row {number} is another one than was noted elsewhere"));
        }
        self.about_others(row).or_else(broken)
    }

    /// Rows that speak of rows that are not there.
    fn about_others(&mut self, row: &RowOfFile) -> Result<(), String> {
        // Within a text its quotation marks would be escaped.
        let text = &row.text;
        let is = |kind: &str| text.contains(&format!("\"kind\":\"{kind}\""));
        if is(PRUNE) {
            let row_removed = member(text, THROUGH).and_then(|it| it.parse().ok());
            let hash = member(text, THROUGH_HASH).and_then(|it| it.parse().ok());
            self.removed = row_removed.zip(hash).map(|(row, hash)| Head { row, hash });
        }
        if is(CUT) {
            let row = self.at.row;
            return Err(match member(text, TOLD) {
                Some(told) => {
                    let told = told.split(':').next().unwrap_or_default().to_owned();
                    format!("row {row} says that rows up to {told} were gone when it was written")
                }
                None => format!("row {row} says that what stood before it was no row"),
            });
        }
        Ok(())
    }

    fn finish(&self, file: &Path, anchor: Head) -> Result<Verified, Broken> {
        if anchor.row > 0 && self.removed.is_none_or(|it| it.row < anchor.row) {
            let (from, last) = (self.removed.map_or(0, |it| it.row) + 1, anchor.row);
            let what = format!("rows {from} to {last} are missing, and no row says why");
            return Err(broken(from, file, 1, what));
        }
        if self.removed.is_some_and(|it| it.row == anchor.row && it.hash != anchor.hash) {
            let what = format!("row {} is another one than the log has removed", anchor.row);
            return Err(broken(anchor.row, file, 1, what));
        }
        if let Some(head) = self.heads.iter().max_by_key(|head| head.row)
            && head.row > self.at.row
        {
            let (from, last) = (self.at.row + 1, head.row);
            let what = format!("rows {from} to {last} are missing at its end");
            return Err(broken(from, file, 1, what));
        }
        let (first, head, unfinished) = (anchor.row + 1, self.at, self.unfinished);
        Ok(Verified { first, head, unfinished })
    }
}

fn broken(row: u64, file: &Path, line: u64, what: String) -> Broken {
    Broken { row, file: file.to_owned(), line, what }
}

/// A member of a row, as text.
fn member(row: &str, name: &str) -> Option<String> {
    let row: Map<String, Value> = serde_json::from_str(row).ok()?;
    match row.get(name)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, head, .. } = self;
        match head.row {
            0 => write!(f, "the log is empty"),
            last => write!(f, "rows {first} to {last} are as they were written; head {head}"),
        }
    }
}
