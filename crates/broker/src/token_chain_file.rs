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
    let journal = ChainFile::open(folder)?;
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
    /// What its lines come to.
    ends: BTreeMap<String, u64>,
    /// Lines in the file.
    lines: usize,
    /// Lines from which on it is written anew; 0: before anything else, since what an attempt that
    /// failed has left at its end is not known.
    most_lines: usize,
}

impl ChainFile {
    /// Goes on with the file of a folder, or begins one.
    fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let ends = String::from_utf8_lossy(&bytes).lines().filter_map(line).collect();
        Self::begin(path, ends)
    }

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
        let lines = ends.len();
        Ok(Self { path, file, ends, lines, most_lines: 2 * lines + SPARE })
    }

    /// Adds a line, in one write.
    fn append(&mut self, chain: &str, ends: u64) -> io::Result<()> {
        if self.lines >= self.most_lines {
            *self = Self::begin(self.path.clone(), self.ends.clone())?;
        }
        let line = format!("{}\n", json!({ "chain": chain, "ends": ends }));
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.ends.insert(chain.to_owned(), ends);
        self.lines += 1;
        Ok(())
    }
}

impl ChainJournal for ChainFile {
    fn record(&mut self, chain: &str, ends: u64) -> io::Result<()> {
        self.append(chain, ends).inspect_err(|error| {
            self.most_lines = 0;
            tracing::error!(%error, file = %self.path.display(), "a token could not be refreshed");
        })
    }
}

const NAME: &str = "token-chains.jsonl";
/// Lines beside twice those that were good, beyond which the file is written anew.
const SPARE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const FUTURE: u64 = 4_000_000_000;

    fn journal(folder: &Path) -> ChainFile {
        ChainFile::open(folder).unwrap()
    }

    #[test]
    fn what_was_recorded_is_there_again_and_what_has_ended_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = journal(folder.path());
        for (chain, ends) in [("a", FUTURE), ("b", 1), ("a", FUTURE + 1), ("c\n\"", FUTURE)] {
            file.record(chain, ends).unwrap();
        }
        drop(file);
        // Half a line of a crash, which ends in half a letter.
        let mut torn = OpenOptions::new().append(true).open(folder.path().join(NAME)).unwrap();
        torn.write_all(b"{\"chain\":\"d\xc3").unwrap();
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

    #[test]
    fn neither_file_nor_memory_grows_with_chains_that_have_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = journal(folder.path());
        for chain in 0..3 * SPARE {
            file.record(&chain.to_string(), 1).unwrap();
            assert!(file.lines <= SPARE && file.ends.len() <= SPARE, "{chain}");
        }
    }

    #[test]
    fn nothing_is_forgotten_when_no_new_file_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = journal(folder.path());
        file.record("a", FUTURE).unwrap();
        let in_the_way = folder.path().join(NAME).with_extension("new");
        std::fs::create_dir(&in_the_way).unwrap();
        file.most_lines = 1;
        assert!(file.record("b", FUTURE).is_err());
        std::fs::remove_dir(in_the_way).unwrap();
        file.record("c", FUTURE).unwrap();
        let expected = ["a", "c"].map(|chain| (chain.to_owned(), FUTURE));
        assert_eq!(journal(folder.path()).ends, expected.into());
    }

    #[test]
    fn what_follows_half_a_line_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = journal(folder.path());
        file.record("a", FUTURE).unwrap();
        file.file.write_all(b"{\"chain\":\"b\",").unwrap();
        let writable = file.file.try_clone().unwrap();
        file.file = File::open(&file.path).unwrap();
        assert!(file.record("b", FUTURE).is_err(), "nothing more can be written");
        file.file = writable;
        file.record("c", FUTURE).unwrap();
        let expected = ["a", "c"].map(|chain| (chain.to_owned(), FUTURE));
        assert_eq!(journal(folder.path()).ends, expected.into());
    }
}
