//! What organisations have published today, kept where a restart does not lose it: a file in the
//! data directory, a line for each organisation, written anew every few seconds if it has changed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentmq_quota::{DayUse, Moment, Plans};
use agentmq_router::Quotas;
use agentmq_shard::Clock;
use serde_json::{Value, json};

use crate::{Config, Durability};

/// Writes the file from now on, on a thread of its own, which also looks at the time of day: it may
/// be set while the broker runs. The thread sleeps while nobody has a plan.
#[derive(Debug)]
pub(crate) struct DayLedger {
    words: Sender<Word>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// There are other plans.
    Plans,
    /// Nothing is counted any more.
    Stop,
}

impl DayLedger {
    /// Goes on with what an earlier run has counted today, under these plans. With durability
    /// "memory" there is none.
    pub(crate) fn start(
        config: &Config,
        clock: Clock,
        plans: Plans,
    ) -> io::Result<(Self, Arc<Quotas>)> {
        let (quotas, now) = (Arc::new(Quotas::default()), moment(clock));
        quotas.accounts.set_clock(now);
        let file = match config.durability {
            Durability::Memory => None,
            durability => {
                let syncs = durability == Durability::Fsync;
                let (file, uses) = LedgerFile::open(&config.data_dir, syncs)?;
                quotas.accounts.take_up(uses, now);
                Some(file)
            }
        };
        quotas.accounts.replace(plans);
        let ((words, heard), counting) = (channel(), Arc::clone(&quotas));
        let run = move || keep(&counting, clock, file, &heard);
        let thread = Some(Builder::new().name("quotas".into()).spawn(run)?);
        Ok((Self { words, thread }, quotas))
    }

    /// There are other plans: it may have slept without any.
    pub(crate) fn look_again(&self) {
        let _ = self.words.send(Word::Plans); // one that has ended has told why
    }
}

/// Writes the last numbers. To be dropped when nothing is counted any more.
impl Drop for DayLedger {
    fn drop(&mut self) {
        let _ = self.words.send(Word::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic has been told where it was
        }
    }
}

/// The broker's time and the time of day.
fn moment(clock: Clock) -> Moment {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment { millis: clock.now().as_millis(), unix_millis: unix.as_millis() as u64 }
}

fn keep(quotas: &Quotas, clock: Clock, mut file: Option<LedgerFile>, words: &Receiver<Word>) {
    loop {
        let word = if quotas.accounts.has_plans() {
            words.recv_timeout(PERIOD)
        } else {
            words.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let now = moment(clock);
        quotas.accounts.set_clock(now);
        quotas.accounts.forget_idle(now);
        if let Some(file) = &mut file {
            file.write(&quotas.accounts.of_today(now));
        }
        if matches!(word, Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected)) {
            return;
        }
    }
}

#[derive(Debug)]
struct LedgerFile {
    path: PathBuf,
    syncs: bool,
    /// What it holds.
    text: String,
    /// The last attempt to write has failed, and that was told.
    has_failed: bool,
}

impl LedgerFile {
    /// The file of a folder and what it says. A line that is none is left out: whoever has damaged
    /// the file has given somebody some messages more.
    fn open(folder: &Path, syncs: bool) -> io::Result<(Self, Vec<DayUse>)> {
        let path = folder.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let uses = text.lines().filter_map(read_line).collect();
        Ok((Self { path, syncs, text, has_failed: false }, uses))
    }

    fn write(&mut self, uses: &[DayUse]) {
        let text: String = uses.iter().map(write_line).collect();
        if text == self.text {
            return;
        }
        match self.replace(&text) {
            Ok(()) => (self.text, self.has_failed) = (text, false),
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                let file = self.path.display();
                tracing::error!(%error, %file, "what organisations use today cannot be kept");
            }
            Err(_) => {}
        }
    }

    /// A crash leaves the old file or the new one.
    fn replace(&self, text: &str) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&new)?;
        file.write_all(text.as_bytes())?;
        if self.syncs {
            file.sync_all()?;
        }
        std::fs::rename(&new, &self.path)?;
        match self.path.parent().filter(|_| self.syncs) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn write_line(it: &DayUse) -> String {
    let mut line = json!({
        "organization": it.organization,
        "day": it.day,
        "messages": it.messages,
        "bytes": it.bytes,
    });
    if let Some(client) = &it.client {
        line["client"] = json!(client);
    }
    format!("{line}\n")
}

fn read_line(text: &str) -> Option<DayUse> {
    let line: Value = serde_json::from_str(text).ok()?;
    let number = |name| line.get(name).and_then(Value::as_u64);
    let client = match line.get("client") {
        Some(client) => Some(client.as_str()?.to_owned()),
        None => None,
    };
    Some(DayUse {
        organization: line.get("organization")?.as_str()?.to_owned(),
        client,
        day: number("day")?,
        messages: number("messages")?,
        bytes: number("bytes")?,
    })
}

const NAME: &str = "quotas.jsonl";
/// Between two writings: what a crash may lose.
const PERIOD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn uses() -> Vec<DayUse> {
        let of = |client: Option<&str>, messages| DayUse {
            organization: "a\"\n".into(),
            client: client.map(Into::into),
            day: 20_784,
            messages,
            bytes: 7,
        };
        vec![of(None, 3), of(Some("c"), 2)]
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, before) = LedgerFile::open(folder.path(), true).unwrap();
        assert_eq!(before, []);
        file.write(&uses());
        let (_, after) = LedgerFile::open(folder.path(), true).unwrap();
        assert_eq!(after, uses());
    }

    #[test]
    fn a_file_that_says_the_same_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = LedgerFile::open(folder.path(), false).unwrap();
        file.write(&uses());
        std::fs::remove_file(&file.path).unwrap();
        file.write(&uses());
        assert!(!file.path.exists());
        file.write(&uses()[1..]);
        assert!(file.path.exists());
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = LedgerFile::open(folder.path(), false).unwrap();
        let in_the_way = file.path.with_extension("new");
        std::fs::create_dir(&in_the_way).unwrap();
        file.write(&uses());
        assert!(file.has_failed);
        std::fs::remove_dir(in_the_way).unwrap();
        file.write(&uses());
        assert!(!file.has_failed);
        assert_eq!(LedgerFile::open(folder.path(), false).unwrap().1, uses());
    }

    #[test]
    fn damage_costs_the_lines_that_it_hits() {
        let good = write_line(&uses()[0]);
        for bad in ["", "{", "[]", "{\"organization\":7}", "{\"day\":-1}"] {
            assert_eq!(read_line(bad), None, "{bad}");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), format!("{{\"org\n{good}\u{fffd}")).unwrap();
        let (_, uses_found) = LedgerFile::open(folder.path(), false).unwrap();
        assert_eq!(uses_found, uses()[..1]);
    }
}
