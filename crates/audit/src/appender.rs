//! Appends rows to the log, and removes its oldest files when all together are too long. Several
//! processes may append: the broker, and commands that change who may do what. They take turns.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, json};

use crate::chain::Head;
use crate::folder::{AFTER, HEAD, LOCK, LastRow, Segment, last_row, segments, told_head};
use crate::row::Row;
use crate::wall_time::{now, stamp};

/// How large the log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all files.
    pub all: u64,
    /// Bytes after which another file is begun.
    pub file: u64,
}

impl Bounds {
    /// The bounds of a log of so many bytes: in sixteen files, of 64 KiB at least.
    #[must_use]
    pub fn of(all: u64) -> Self {
        Self { all, file: (all / 16).max(64 * 1024) }
    }
}

/// Writes to the log of a folder.
#[derive(Debug)]
pub struct Appender {
    folder: PathBuf,
    lock: Arc<File>,
    /// `None`: this one begins and removes no files, it only adds to the last.
    bounds: Option<Bounds>,
    /// Another file is begun when the last has so many bytes.
    rotates_at: u64,
    end: End,
    text: String,
}

/// The end of the log.
#[derive(Debug)]
struct End {
    segments: VecDeque<Segment>,
    /// The last of `segments`.
    file: File,
    head: Head,
    /// Bytes that stood behind it and were no rows.
    foreign: u64,
}

impl Appender {
    /// Opens the log of a folder, which is made if it is not there. What an earlier run has not
    /// finished writing is cut off.
    pub fn open(folder: &Path, bounds: Bounds) -> io::Result<Self> {
        match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Self::at(folder, Some(bounds))
    }

    /// Opens the log of a folder to add rows to it; `None` where there is none.
    pub fn join(folder: &Path) -> io::Result<Option<Self>> {
        match Self::at(folder, None) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn at(folder: &Path, bounds: Option<Bounds>) -> io::Result<Self> {
        let lock = options().create(bounds.is_some()).open(folder.join(LOCK))?;
        let turn = Turn::take(&lock)?;
        let mut end = End::find(folder, bounds.is_some())?;
        if bounds.is_some() {
            end.tell_cut(told_head(folder))?;
        }
        drop(turn);
        let rotates_at = bounds.map_or(u64::MAX, |bounds| bounds.file);
        let (folder, lock, text) = (folder.to_owned(), Arc::new(lock), String::new());
        Ok(Self { folder, lock, bounds, rotates_at, end, text })
    }

    /// The last row.
    #[must_use]
    pub fn head(&self) -> Head {
        self.end.head
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Appends rows of these times, in milliseconds since 1970, all or none; with `syncs` the disk
    /// has them then.
    pub fn append<'a>(
        &mut self,
        rows: impl Iterator<Item = (u64, &'a Row)>,
        syncs: bool,
    ) -> io::Result<()> {
        let lock = Arc::clone(&self.lock);
        let turn = Turn::take(&lock)?;
        match self.bounds {
            Some(_) => self.catch_up()?,
            None => self.end = End::find(&self.folder, false)?,
        }
        self.text.clear();
        let mut head = self.end.head;
        for (at, row) in rows {
            head.append(&stamp(at), row.members(), &mut self.text);
        }
        self.end.append(&self.text, head, syncs)?;
        if let Err(error) = self.rotate() {
            let folder = self.folder.display();
            tracing::error!(%error, "the audit log in {folder} grows beyond audit.max_bytes");
        }
        drop(turn);
        Ok(())
    }

    /// Others may have appended meanwhile, or done what they must not.
    fn catch_up(&mut self) -> io::Result<()> {
        let known = self.end.segments.back().map(|last| last.bytes);
        if known == Some(self.end.file.metadata()?.len()) {
            return Ok(());
        }
        let before = self.end.head;
        self.end = End::find(&self.folder, true)?;
        self.end.tell_cut(Some(before))
    }

    /// Waits until the disk has what was appended without that.
    pub fn sync(&mut self) -> io::Result<()> {
        self.end.file.sync_data()
    }

    /// Whether its last file is still where it was begun.
    pub(crate) fn is_there(&self) -> bool {
        let Some(last) = self.end.segments.back() else { return false };
        let inode = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|it| it.ino());
        inode(fs::metadata(&last.path)) == inode(self.end.file.metadata())
    }

    /// Writes down how far the log has come, so that a missing end is noticed.
    pub fn tell_head(&self) -> io::Result<()> {
        let new = self.folder.join("head.new");
        fs::write(&new, format!("{}\n", self.end.head))?;
        fs::rename(new, self.folder.join(HEAD))
    }

    /// Begins another file when the last is long enough, and removes the oldest when all are too
    /// long. A row says so before it happens.
    fn rotate(&mut self) -> io::Result<()> {
        let (Some(bounds), Some(last)) = (self.bounds, self.end.segments.back()) else {
            return Ok(());
        };
        if last.bytes < self.rotates_at {
            return Ok(());
        }
        // Not with every row, if it fails.
        self.rotates_at = last.bytes + bounds.file;
        self.end.file.sync_data()?;
        self.end.begin(&self.folder)?;
        self.rotates_at = bounds.file;
        let mut bytes = self.bytes();
        let keeps = self.end.segments.iter().position(|segment| {
            let fits = bytes <= bounds.all.saturating_sub(bounds.file);
            bytes -= segment.bytes;
            fits
        });
        let newest = self.end.segments.len() - 1;
        let keeps = keeps.unwrap_or(newest).min(newest);
        if let (Some(oldest), Some(next)) =
            (self.end.segments.front(), self.end.segments.get(keeps).filter(|_| keeps > 0))
        {
            let says = Map::from_iter([
                ("from".to_owned(), json!(oldest.first)),
                (THROUGH.to_owned(), json!(next.first - 1)),
                (THROUGH_HASH.to_owned(), json!(next.after()?.to_string())),
            ]);
            let (mut head, mut text) = (self.end.head, String::new());
            head.append(&stamp(now()), Row::new(PRUNE, says).members(), &mut text);
            self.end.append(&text, head, true)?;
        }
        let gone = self.end.segments.drain(..keeps).map(|segment| fs::remove_file(segment.path));
        gone.fold(Ok(()), Result::and)
    }
}

impl End {
    /// The end of the log of a folder. Who `begins` one if there is none puts aside what does not
    /// belong there, too; nobody else changes more than a row that was not finished.
    fn find(folder: &Path, begins: bool) -> io::Result<Self> {
        let mut segments = VecDeque::from(segments(folder)?);
        while let Some(last) = segments.back_mut() {
            let mut file = options().append(true).open(&last.path)?;
            let found = last_row(&mut file)?;
            if !begins && found.is_none_or(|it| it.foreign > 0) {
                let what = "its end is damaged: start the broker, which puts that aside";
                return Err(io::Error::other(what));
            }
            let Some(LastRow { head, end, foreign }) = found else {
                // A crash has left one without a row, or it is no file of the log.
                fs::rename(&last.path, last.path.with_extension(ASIDE))?;
                segments.pop_back();
                continue;
            };
            if foreign > 0 {
                fs::copy(&last.path, last.path.with_extension(ASIDE))?;
            }
            file.set_len(end)?;
            last.bytes = end;
            return Ok(Self { segments, file, head, foreign });
        }
        if !begins {
            return Err(ErrorKind::NotFound.into());
        }
        // If one was here and is gone, that is seen: nothing says why the rows before are missing.
        let before = told_head(folder).unwrap_or_default();
        let (file, segment, head) = next_file(folder, before)?;
        segments.push_back(segment);
        Ok(Self { segments, file, head, foreign: 0 })
    }

    /// The log had come to `told`. If that is not there any more, or if something was behind it
    /// that does not belong there, a row says so.
    fn tell_cut(&mut self, told: Option<Head>) -> io::Result<()> {
        let told = told.filter(|told| told.row > self.head.row);
        if told.is_none() && self.foreign == 0 {
            return Ok(());
        }
        tracing::error!(row = self.head.row, "somebody has changed the audit log behind this row");
        let mut says = Map::new();
        if let Some(told) = told {
            says.insert(TOLD.to_owned(), json!(told.to_string()));
        }
        if self.foreign > 0 {
            says.insert("foreign_bytes".to_owned(), json!(self.foreign));
        }
        let (mut head, mut text) = (self.head, String::new());
        head.append(&stamp(now()), Row::new(CUT, says).members(), &mut text);
        self.append(&text, head, true)?;
        self.foreign = 0;
        Ok(())
    }

    /// Appends rows up to `head`, all or none.
    fn append(&mut self, text: &str, head: Head, syncs: bool) -> io::Result<()> {
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let written = self.file.write_all(text.as_bytes());
        if let Err(error) =
            written.and_then(|()| if syncs { self.file.sync_data() } else { Ok(()) })
        {
            // What is there of it is written again, as a whole.
            self.file.set_len(last.bytes)?;
            return Err(error);
        }
        last.bytes += text.len() as u64;
        self.head = head;
        Ok(())
    }

    /// Begins the next file.
    fn begin(&mut self, folder: &Path) -> io::Result<()> {
        let (file, segment, head) = next_file(folder, self.head)?;
        self.segments.push_back(segment);
        (self.file, self.head) = (file, head);
        Ok(())
    }
}

/// Begins a file behind `head`, with a row that says so.
fn next_file(folder: &Path, mut head: Head) -> io::Result<(File, Segment, Head)> {
    let (first, mut text) = (head.row + 1, String::new());
    let says = Map::from_iter([(AFTER.to_owned(), json!(head.hash.to_string()))]);
    head.append(&stamp(now()), Row::new(BEGIN, says).members(), &mut text);
    let path = Segment::path(folder, first);
    let new = path.with_extension("new");
    let begun = begin_file(folder, &new, &path, &text);
    if begun.is_err() {
        // Nobody may go on with it later.
        let _ = fs::remove_file(&new);
        let _ = fs::remove_file(&path);
    }
    Ok((begun?, Segment { first, path, bytes: text.len() as u64 }, head))
}

/// A file that is there under its name only when it is whole.
fn begin_file(folder: &Path, new: &Path, path: &Path, text: &str) -> io::Result<File> {
    let mut file = options().create(true).append(true).open(new)?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(new, path)?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// One's turn to write.
struct Turn<'a>(&'a File);

impl<'a> Turn<'a> {
    /// Waits for it, but not for ever: somebody may have stopped in his.
    fn take(lock: &'a File) -> io::Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self(lock)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::park_timeout(BETWEEN_LOOKS);
                }
                Err(TryLockError::WouldBlock) => {
                    let what = "another process holds the file `lock` beside it, for seconds";
                    return Err(io::Error::other(what));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // closing it does, too
    }
}

/// How long one waits for the others, who write a few rows.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// What ends the names of files that are put aside.
const ASIDE: &str = "cut";
/// The first row of a file.
pub(crate) const BEGIN: &str = "begin";
/// The row that says which rows are removed.
pub(crate) const PRUNE: &str = "prune";
/// Its members that name the last of them.
pub(crate) const THROUGH: &str = "through";
/// See `THROUGH`.
pub(crate) const THROUGH_HASH: &str = "through_hash";
/// The row that says that rows before it are gone which nobody here has removed.
pub(crate) const CUT: &str = "cut";
/// Its member that names the last of them.
pub(crate) const TOLD: &str = "told";
