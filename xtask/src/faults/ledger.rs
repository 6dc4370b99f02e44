//! The campaign's memory: a line for each chunk that has run, kept for ever.
//!
//! A chunk counts for the tree that it ran on, and for no other. Whatever has failed stays.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::plan::Row;

/// One chunk of one experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What was tested: see [`super::tree`].
    pub key: String,
    pub result: Outcome,
}

/// What `tests/faults/run.py` says of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub experiment: String,
    /// Rounds that were asked for, and those that came to their end.
    pub count: u32,
    pub done: u32,
    pub seed: u64,
    pub verdict: String,
    pub attempted: u64,
    pub acked: u64,
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub repeated: u64,
    pub failures: Vec<String>,
    pub notes: Vec<String>,
    /// What the notes say, as numbers that can be added up, and those of which the largest counts.
    #[serde(default)]
    pub sums: BTreeMap<String, u64>,
    #[serde(default)]
    pub most: BTreeMap<String, f64>,
    pub skipped: Option<String>,
    pub seconds: f64,
}

/// How far an experiment has come on one tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub row: Row,
    pub done: u32,
    pub chunks: u32,
    /// Chunks in which a promise was broken.
    pub failed: u32,
    /// Seconds that a round took when it was last run, on whatever tree.
    pub seconds_each: f64,
}

/// What is to be run next.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    pub experiment: &'static str,
    pub count: u32,
    pub seed: u64,
}

impl Outcome {
    pub fn is_ok(&self) -> bool {
        self.verdict == "ok"
    }
}

impl Progress {
    pub fn left(&self) -> u32 {
        self.row.count.saturating_sub(self.done)
    }

    pub fn seconds_left(&self) -> f64 {
        f64::from(self.left()) * self.seconds_each
    }

    fn share(&self) -> f64 {
        f64::from(self.done) / f64::from(self.row.count)
    }
}

/// Reads the lines of a ledger.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let entries = text.lines().enumerate().map(|(at, line)| {
        serde_json::from_str(line).with_context(|| {
            let at = at + 1;
            format!("line {at} is no chunk of the campaign: was it cut off? Remove that line")
        })
    });
    entries.collect()
}

pub fn read(path: &Path) -> Result<Vec<Entry>> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text.map_err(Into::into).and_then(|text| parse(&text)),
    }
    .with_context(|| format!("read the ledger {}", path.display()))
}

/// Adds a line; nothing that stands there is ever changed.
pub fn append(path: &Path, entry: &Entry) -> Result<()> {
    let line = serde_json::to_string(entry)? + "\n";
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(line.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("write the ledger {}", path.display()))
}

/// How far each experiment of the plan has come on the tree `key`.
pub fn progress(plan: &[Row], entries: &[Entry], key: &str) -> Vec<Progress> {
    let of = |row: &Row| {
        let all = || entries.iter().filter(|it| it.result.experiment == row.experiment);
        let here = || all().filter(|it| it.key == key).map(|it| &it.result);
        let newest = all().rev().map(|it| &it.result).find(|it| it.done > 0);
        Progress {
            row: *row,
            done: here().map(|it| it.done).sum(),
            chunks: here().count() as u32,
            failed: here().filter(|it| !it.is_ok()).count() as u32,
            seconds_each: newest.map_or(row.seconds, |it| it.seconds / f64::from(it.done)),
        }
    };
    plan.iter().map(of).collect()
}

/// The next chunk: of the experiment that is farthest behind, of those for which the time suffices
/// and that can run here.
pub fn next(progress: &[Progress], unable: &[&str], seconds: f64) -> Option<Chunk> {
    let able = progress.iter().filter(|it| !unable.contains(&it.row.experiment));
    let chunks = able.filter_map(|it| {
        let count = it.row.chunk(it.left(), seconds, it.seconds_each)?;
        let seed = BASE_SEED + u64::from(it.chunks);
        Some((it.share(), Chunk { experiment: it.row.experiment, count, seed }))
    });
    // The first of equals.
    chunks.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, chunk)| chunk)
}

/// Seed of each experiment's first chunk on a tree; each further one has the next.
pub const BASE_SEED: u64 = 2026;

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn entry(key: &str, experiment: &str, done: u32, seed: u64, verdict: &str) -> Entry {
        let result = Outcome {
            experiment: experiment.into(),
            count: 10,
            done,
            seed,
            verdict: verdict.into(),
            acked: 100,
            seconds: 20.0,
            ..Outcome::default()
        };
        Entry { key: key.into(), result }
    }

    fn row(experiment: &'static str, count: u32) -> Row {
        Row { experiment, count, chunk: 10, step: 1, seconds: 1.0 }
    }

    #[test]
    fn only_chunks_of_this_tree_count() {
        let entries = [entry("old", "a", 10, 2026, "ok"), entry("new", "a", 5, 2026, "FAILED")];
        let plan = [row("a", 20), row("b", 20)];
        let [a, b] = &progress(&plan, &entries, "new")[..] else { panic!("two") };
        assert_eq!((a.done, a.chunks, a.failed, a.left()), (5, 1, 1, 15));
        assert_eq!((b.done, b.chunks, b.seconds_each), (0, 0, 1.0));
        assert_eq!(a.seconds_each, 4.0, "of the newest chunk");
        let changed = progress(&plan, &entries, "newer");
        assert_eq!((changed[0].done, changed[0].chunks, changed[0].failed), (0, 0, 0));
        assert_eq!(changed[0].seconds_each, 4.0, "how long it takes is known all the same");
    }

    #[test]
    fn every_chunk_has_a_seed_of_its_own_whether_it_failed_or_not() {
        let (plan, mut entries) = ([row("a", 30)], Vec::new());
        for (seed, verdict) in [(2026, "ok"), (2027, "FAILED"), (2028, "ok")] {
            let chunk = next(&progress(&plan, &entries, "k"), &[], 1e9).expect("more to do");
            assert_eq!((chunk.seed, chunk.count), (seed, 10));
            entries.push(entry("k", "a", 10, chunk.seed, verdict));
        }
        assert_eq!(next(&progress(&plan, &entries, "k"), &[], 1e9), None, "all done");
    }

    #[test]
    fn what_is_farthest_behind_comes_first_if_the_time_suffices() {
        let plan = [row("a", 20), row("b", 40), row("c", 20)];
        let entries = [entry("k", "a", 10, 2026, "ok"), entry("k", "b", 10, 2026, "ok")];
        let progress = progress(&plan, &entries, "k");
        let named = |unable: &[&str], seconds| next(&progress, unable, seconds);
        assert_eq!(named(&[], 1e9).map(|it| it.experiment), Some("c"));
        assert_eq!(named(&["c"], 1e9).map(|it| it.experiment), Some("b"));
        let short = named(&[], 3.0).expect("three seconds");
        assert_eq!((short.experiment, short.count), ("c", 3));
        assert_eq!(named(&["c"], 1.9), None, "a round of a or b takes 2 s");
    }

    #[test]
    fn lines_are_added_and_none_is_changed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("ledger.jsonl");
        assert_eq!(read(&path).expect("nothing yet"), []);
        let entries = [entry("k", "a", 10, 2026, "FAILED"), entry("k", "a", 10, 2027, "ok")];
        for entry in &entries {
            append(&path, entry).expect("appends");
        }
        assert_eq!(read(&path).expect("reads"), entries);
        std::fs::write(&path, "{\"key\":\"k\"").expect("writes");
        let error = format!("{:#}", read(&path).expect_err("cut off"));
        assert!(error.contains("line 1") && error.contains("ledger.jsonl"), "{error}");
    }
}
