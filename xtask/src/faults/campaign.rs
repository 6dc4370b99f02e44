//! `cargo xtask faults --resume`: the long campaign, a part of it at a time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::ledger::{self, Chunk, Entry, Progress};
use super::options::Options;
use super::plan::PLAN;
use super::{experiment, report, tree};
use crate::workspace::Workspace;

/// Runs chunks until the minutes are over or nothing is left; says what was done and what is left.
pub fn resume(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let is_ours = options.binary.is_none() && std::env::var_os("AGENTMQ_BIN").is_none();
    ensure!(is_ours, "--resume tests what is checked out: without --binary and AGENTMQ_BIN");
    let key = tree::committed(workspace)?;
    let path = place(workspace, options)?;
    let mut entries = ledger::read(&path)?;
    println!("{}", status(&ledger::progress(PLAN, &entries, &key), &key, &path));
    let minutes = options.minutes.unwrap_or(MINUTES);
    let end = Instant::now() + Duration::from_secs(60 * u64::from(minutes));
    let (mut unable, mut all_kept, mut chunks) = (Vec::new(), true, 0);
    let binary = workspace.build_agentmq()?;
    loop {
        let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
        let progress = ledger::progress(PLAN, &entries, &key);
        let Some(chunk) = ledger::next(&progress, &unable, left) else { break };
        let Some(result) = run(workspace, &binary, &chunk)? else {
            unable.push(chunk.experiment);
            continue;
        };
        // Whoever commits meanwhile does not change what is being tested, but the next chunk.
        let entry = Entry { key: key.clone(), result };
        ledger::append(&path, &entry)?;
        all_kept &= entry.result.is_ok();
        chunks += 1;
        entries.push(entry);
    }
    println!("\n{chunks} chunks have run");
    println!("{}", status(&ledger::progress(PLAN, &entries, &key), &key, &path));
    for chunk in report::failed(&entries, &key) {
        println!("{chunk}");
    }
    for experiment in unable {
        println!("{experiment} cannot run here: see above what it needs");
    }
    Ok(if all_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what the ledger holds, as docs/reliability.md wants it.
pub fn report(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let (key, path) = (tree::key(workspace)?, place(workspace, options)?);
    let entries = ledger::read(&path)?;
    println!("{}", report::page(PLAN, &entries, &key));
    Ok(ExitCode::SUCCESS)
}

fn place(workspace: &Workspace, options: &Options) -> Result<PathBuf> {
    match &options.ledger {
        Some(path) => Ok(path.clone()),
        None => Ok(workspace.scratch("faults")?.join("ledger.jsonl")),
    }
}

/// One chunk; nothing if what the experiment needs is not here.
fn run(workspace: &Workspace, binary: &Path, chunk: &Chunk) -> Result<Option<ledger::Outcome>> {
    let options = Options {
        binary: Some(binary.to_owned()),
        experiments: vec![chunk.experiment.to_owned()],
        count: Some(chunk.count),
        seed: Some(chunk.seed),
        ..Options::default()
    };
    let (_, results) = experiment(workspace, &options)?;
    let text = std::fs::read_to_string(&results)?;
    let line = text.lines().next().context("the experiment has left no result: see above")?;
    let result: ledger::Outcome = serde_json::from_str(line).context("read its result")?;
    Ok(result.skipped.is_none().then_some(result))
}

/// A line for each experiment: what is done, and how long the rest takes.
fn status(progress: &[Progress], key: &str, path: &Path) -> String {
    let mut text = format!("tree {:.12}, ledger {}\n", key, path.display());
    for it in progress {
        let failed = if it.failed > 0 { format!(", {} FAILED", it.failed) } else { String::new() };
        text += &format!(
            "  {:<14} {:>5} of {:>5} rounds in {:>3} chunks{failed}; {:.0} min left\n",
            it.row.experiment,
            it.done,
            it.row.count,
            it.chunks,
            it.seconds_left() / 60.0,
        );
    }
    let minutes: f64 = progress.iter().map(|it| it.seconds_left() / 60.0).sum();
    text + &format!("  {minutes:.0} minutes left in all, as far as is known")
}

/// How long one run takes at most unless it is told otherwise, but for the build before it.
const MINUTES: u32 = 20;

#[cfg(test)]
mod tests {
    use super::super::ledger::tests::entry;
    use super::*;

    #[test]
    fn it_says_what_is_done_and_what_is_left() {
        let entries = [entry("k", "kill-loop", 40, 2026, "FAILED")];
        let text = status(&ledger::progress(PLAN, &entries, "k"), "k", Path::new("l"));
        let line = text.lines().nth(1).expect("the first experiment");
        let wanted = "kill-loop         40 of  1000 rounds in   1 chunks, 1 FAILED; 8 min left";
        assert_eq!(line.trim(), wanted, "half a second each");
        assert!(text.lines().last().is_some_and(|it| it.contains("minutes left")), "{text}");
    }
}
