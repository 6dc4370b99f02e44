//! The file that remembers which tokens were refreshed: a line for each refresh, the newest of a
//! chain counts. A crash may leave half a line at its end, which nobody was told of.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use agentmq_identity::{ChainJournal, TokenChains};
use serde_json::{Value, json};

/// Takes up what an earlier run has left in a folder, and goes on in its file.
pub(crate) fn take_up(folder: &Path, chains: &TokenChains) -> io::Result<()> {
    let path = folder.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let ends: BTreeMap<String, u64> = text.lines().filter_map(line).collect();
    let journal = ChainFile::begin(path, ends)?;
    chains.take_up(journal.ends.clone(), Box::new(journal));
    Ok(())
}

fn line(text: &str) -> Option<(String, u64)> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some((value.get("chain")?.as_str()?.to_owned(), value.get("ends")?.as_u64()?))
}

#[derive(Debug)]
struct ChainFile {
    path: PathBuf,
    file: File,
    ends: BTreeMap<String, u64>,
    /// Lines in the file.
    lines: usize,
}

impl ChainFile {
    /// Writes a new file of what is still good.
    fn begin(path: PathBuf, mut ends: BTreeMap<String, u64>) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        ends.retain(|_, end| *end > now);
        let new = path.with_extension("new");
        let mut text = String::new();
        for (chain, ends) in &ends {
            text.push_str(&format!("{}\n", json!({ "chain": chain, "ends": ends })));
        }
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self { lines: ends.len(), path, file, ends })
    }
}

impl ChainJournal for ChainFile {
    fn record(&mut self, chain: &str, ends: u64) -> io::Result<()> {
        if self.lines > 2 * self.ends.len() + SPARE {
            *self = Self::begin(self.path.clone(), std::mem::take(&mut self.ends))?;
        }
        // In one write, whatever an earlier one that failed has left behind.
        let line = format!("{}\n", json!({ "chain": chain, "ends": ends }));
        self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()).map_err(|error| {
            tracing::error!(%error, file = %self.path.display(), "a token could not be refreshed");
            error
        })?;
        self.ends.insert(chain.to_owned(), ends);
        self.lines += 1;
        Ok(())
    }
}

const NAME: &str = "token-chains.jsonl";
/// Lines of chains that have gone on, beyond which the file is written anew.
const SPARE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const FUTURE: u64 = 4_000_000_000;

    fn journal(folder: &Path) -> ChainFile {
        let text = std::fs::read_to_string(folder.join(NAME)).unwrap_or_default();
        ChainFile::begin(folder.join(NAME), text.lines().filter_map(line).collect()).unwrap()
    }

    #[test]
    fn what_was_recorded_is_there_again_and_what_has_ended_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = journal(folder.path());
        for (chain, ends) in [("a", FUTURE), ("b", 1), ("a", FUTURE + 1), ("c\n\"", FUTURE)] {
            file.record(chain, ends).unwrap();
        }
        drop(file);
        // Half a line of a crash.
        let mut torn = OpenOptions::new().append(true).open(folder.path().join(NAME)).unwrap();
        torn.write_all(b"{\"chain\":\"d\",\"en").unwrap();
        let again = journal(folder.path());
        let expected = [("a".to_owned(), FUTURE + 1), ("c\n\"".to_owned(), FUTURE)];
        assert_eq!(again.ends, expected.into());
        assert!(take_up(folder.path(), &TokenChains::default()).is_ok());
    }

    #[test]
    fn the_file_does_not_grow_with_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = journal(folder.path());
        for ends in 0..3 * SPARE as u64 {
            file.record("a", FUTURE + ends).unwrap();
        }
        assert!(file.lines <= SPARE + 3, "{}", file.lines);
    }
}
