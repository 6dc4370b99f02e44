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
/// not those. A head of which the row is gone, as the log says itself, proves nothing, and that is
/// an answer too.
pub fn verify(folder: &Path, heads: &[Head]) -> io::Result<Result<Verified, Broken>> {
    // A broker that runs may remove files meanwhile: then it is done again.
    for _ in 0..ATTEMPTS {
        if let Some(outcome) = attempt(folder, heads)? {
            return Ok(outcome);
        }
    }
    Err(io::Error::other("files are removed faster than they can be read: see audit.max_bytes"))
}

fn attempt(folder: &Path, noted: &[Head]) -> io::Result<Option<Result<Verified, Broken>>> {
    // Before the rows: it may go on meanwhile.
    let told = told_head(folder);
    let files = segments(folder)?;
    let Some(first) = files.first().cloned() else {
        let verifying = Verifying { told, noted: noted.to_vec(), ..Verifying::default() };
        return Ok(Some(verifying.finish(folder)));
    };
    let at = Head { row: first.first.saturating_sub(1), ..Head::default() };
    let mut verifying = Verifying { told, noted: noted.to_vec(), at, ..Verifying::default() };
    let mut rows = Rows::in_files(files);
    for row in &mut rows {
        if let Err(broken) = verifying.row(&row?, first.first) {
            return Ok((!rows.has_missed()).then_some(Err(broken)));
        }
    }
    if rows.has_missed() {
        return Ok(None);
    }
    verifying.unfinished = rows.unfinished();
    Ok(Some(verifying.finish(&first.path)))
}

#[derive(Debug, Default)]
struct Verifying {
    /// The end that the folder tells.
    told: Option<Head>,
    /// Rows that there must be.
    noted: Vec<Head>,
    /// The last row that was right.
    at: Head,
    /// The row before the first.
    anchor: Head,
    /// The last row that was removed, as the last row about that says.
    removed: Option<Head>,
    /// Where a row says that others before it were gone.
    cut: Option<Broken>,
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
        let heads = || self.told.iter().chain(&self.noted);
        if heads().any(|head| head.row == number && head.hash != hash) {
            return broken(format!("row {number} is another one than was noted elsewhere"));
        }
        self.about_others(row);
        Ok(())
    }

    /// Rows that speak of rows that are not there.
    fn about_others(&mut self, row: &RowOfFile) {
        // Within a text its quotation marks would be escaped.
        let text = &row.text;
        let is = |kind: &str| text.contains(&format!("\"kind\":\"{kind}\""));
        if is(PRUNE) {
            let row_removed = member(text, THROUGH).and_then(|it| it.parse().ok());
            let hash = member(text, THROUGH_HASH).and_then(|it| it.parse().ok());
            self.removed = row_removed.zip(hash).map(|(row, hash)| Head { row, hash });
        }
        if is(CUT) && self.cut.is_none() {
            let number = self.at.row;
            let what = match member(text, TOLD) {
                Some(told) => {
                    let told = told.split(':').next().unwrap_or_default().to_owned();
                    format!(
                        "row {number} says that rows up to {told} were gone when it was written"
                    )
                }
                None => format!("row {number} says that what stood before it was no row"),
            };
            self.cut = Some(broken(number, &row.file, row.line, what));
        }
    }

    fn finish(self, file: &Path) -> Result<Verified, Broken> {
        let anchor = self.anchor;
        if anchor.row > 0 && self.removed.is_none_or(|it| it.row < anchor.row) {
            let (from, last) = (self.removed.map_or(0, |it| it.row) + 1, anchor.row);
            let what = format!("rows {from} to {last} are missing, and no row says why");
            return Err(broken(from, file, 1, what));
        }
        let mut before = self.removed.into_iter().chain(self.noted.iter().copied());
        if let Some(other) = before.rfind(|it| it.row == anchor.row && *it != anchor) {
            let what = format!("row {} was another one than was removed or noted", other.row);
            return Err(broken(other.row, file, 1, what));
        }
        let heads = || self.told.iter().chain(&self.noted);
        if let Some(head) = heads().max_by_key(|head| head.row).filter(|it| it.row > self.at.row) {
            let (from, last) = (self.at.row + 1, head.row);
            let what = format!("rows {from} to {last} are missing at its end");
            return Err(broken(from, file, 1, what));
        }
        if let Some(old) = self.noted.iter().find(|head| head.row < anchor.row) {
            let (old, first) = (old.row, anchor.row + 1);
            let what = format!(
                "row {old}, of --head, is not there any more: the log says that it has removed \
                 rows before {first}; note a newer head"
            );
            return Err(broken(old, file, 1, what));
        }
        if let Some(cut) = self.cut {
            return Err(cut);
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
            last if *first == 1 => {
                write!(f, "rows 1 to {last} are as they were written; head {head}")
            }
            last => write!(
                f,
                "rows {first} to {last} are as they were written, and the log says that it has \
                 removed those before; head {head}"
            ),
        }
    }
}

/// How often a log is read that is being pruned.
const ATTEMPTS: usize = 5;
