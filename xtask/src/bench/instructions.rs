//! Instruction counts of the bench targets, compared with a baseline.
//!
//! Wall-clock numbers of a shared machine say little, instruction counts are the same everywhere.
//! So a bench target named `instructions` is run under `valgrind --tool=callgrind`, twice per case;
//! the difference between N and 2N iterations leaves out start-up and set-up. This needs valgrind
//! alone; the usual harness would need a second program whose version must match the crate's.
//!
//! What such a target must do, and `agentmq_testkit::instructions` does: `--list` prints its cases,
//! one a line, each with the repetitions that suffice; `NAME COUNT` runs that case COUNT times and
//! ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process;
use crate::workspace::{Workspace, cargo};

/// Counts every case, compares with the baseline, and says whether one got dearer than allowed.
pub fn run(workspace: &Workspace, save: bool) -> Result<bool> {
    let targets = bench_targets(workspace)?;
    if targets.is_empty() {
        println!("no crate has a bench target named `{TARGET}` yet");
        return Ok(false);
    }
    ensure!(process::installed("valgrind"), "valgrind is missing: apt-get install valgrind");
    let baseline_path = workspace.root.join(BASELINE);
    let baseline = fs::read_to_string(&baseline_path).unwrap_or_default();
    let baseline: BTreeMap<String, u64> =
        if baseline.is_empty() { BTreeMap::new() } else { parse_baseline(&baseline)? };
    let mut counted = BTreeMap::new();
    let mut regressed = false;
    for (package, binary) in targets {
        let listed = process::run_quietly(Command::new(&binary).arg("--list"))?;
        for line in listed.lines() {
            let (case, repeat) = listed_case(line)
                .with_context(|| format!("{package}: `{line}` is no case and its repetitions"))?;
            let name = format!("{package}/{case}");
            let count = per_iteration(&binary, case, repeat)?;
            let (line, worse) = compare(count, baseline.get(&name).copied());
            println!("{name:<50} {line}");
            regressed |= worse;
            counted.insert(name, count);
        }
    }
    if save {
        let lines: Vec<String> =
            counted.iter().map(|(name, count)| format!("{name:?} = {count}\n")).collect();
        if let Some(folder) = baseline_path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&baseline_path, format!("{BASELINE_HEAD}{}", lines.concat()))?;
        return Ok(false);
    }
    Ok(regressed)
}

/// Builds the bench targets and returns package and executable of each.
fn bench_targets(workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    let has_one = |package: &&crate::workspace::Package| {
        package.targets.iter().any(|target| target.kind == "bench" && target.name == TARGET)
    };
    let mut found = Vec::new();
    for package in workspace.members().filter(has_one) {
        let messages = process::run_quietly(cargo().current_dir(&workspace.root).args([
            "bench",
            "--locked",
            "--no-run",
            "--message-format",
            "json",
            "--package",
            &package.name,
            "--bench",
            TARGET,
        ]))?;
        let executable = messages.lines().find_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let named = message["target"]["name"] == TARGET;
            message["executable"].as_str().filter(|_| named).map(PathBuf::from)
        });
        let executable = executable.with_context(|| format!("build {}'s bench", package.name))?;
        found.push((package.name.clone(), executable));
    }
    Ok(found)
}

/// `NAME REPETITIONS`
fn listed_case(line: &str) -> Option<(&str, u64)> {
    let (name, repeat) = line.split_once(' ')?;
    Some((name, repeat.parse().ok().filter(|&repeat| repeat > 0)?))
}

/// Instructions of one iteration: what the second N of 2N iterations cost.
fn per_iteration(binary: &Path, case: &str, repeat: u64) -> Result<u64> {
    let once = callgrind(binary, case, repeat)?;
    let twice = callgrind(binary, case, 2 * repeat)?;
    let both = twice.checked_sub(once).context("more iterations cost fewer instructions")?;
    Ok(both / repeat)
}

fn callgrind(binary: &Path, case: &str, iterations: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .args([case, &iterations.to_string()])
        .output()
        .context("start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{case}: {}", process::last_lines(&text, 10));
    collected(&text).with_context(|| format!("{case}: valgrind reported no count"))
}

/// `==7== Collected : 123456`
fn collected(report: &str) -> Option<u64> {
    let (_, rest) = report.split_once("Collected : ")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn compare(count: u64, before: Option<u64>) -> (String, bool) {
    let Some(before) = before else { return (format!("{count:>10}  (new)"), false) };
    let permille = count.saturating_mul(1000) / before.max(1);
    let change = i64::try_from(permille).unwrap_or(i64::MAX).saturating_sub(1000);
    let worse = change > TOLERATED_PERMILLE;
    let mark = if worse { "  REGRESSED" } else { "" };
    let percent = change as f64 / 10.0;
    (format!("{count:>10}  {percent:+.1} % of {before}{mark}"), worse)
}

fn parse_baseline(text: &str) -> Result<BTreeMap<String, u64>> {
    let table: toml::Table = text.parse().context(BASELINE)?;
    let entry = |(name, value): (&String, &toml::Value)| {
        let count = value.as_integer().and_then(|count| u64::try_from(count).ok())?;
        Some((name.clone(), count))
    };
    table.iter().map(entry).collect::<Option<_>>().with_context(|| format!("{BASELINE}: no count"))
}

const TARGET: &str = "instructions";
/// 3 %: less is the noise of another compiler's inlining.
const TOLERATED_PERMILLE: i64 = 30;
const BASELINE: &str = "bench/instructions.toml";
const BASELINE_HEAD: &str =
    "# Instructions per iteration; written by `cargo xtask bench --save`.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valgrinds_count_is_read() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 16431\n"), Some(16431));
        assert_eq!(collected("nothing"), None);
    }

    #[test]
    fn a_case_says_how_often_it_wants_to_run() {
        assert_eq!(listed_case("decode-publish 1000"), Some(("decode-publish", 1000)));
        assert_eq!(listed_case("decode-publish"), None);
        assert_eq!(listed_case("decode-publish 0"), None);
    }

    #[test]
    fn what_got_dearer_is_marked() {
        assert!(!compare(1030, Some(1000)).1);
        assert!(compare(1031, Some(1000)).1);
        assert!(!compare(500, Some(1000)).1);
        assert!(!compare(500, None).1);
    }

    #[test]
    fn the_baseline_is_read_as_it_is_written() {
        let text = format!("{BASELINE_HEAD}\"agentmq-codec/decode publish\" = 42\n");
        let baseline = parse_baseline(&text).expect("parses");
        assert_eq!(baseline["agentmq-codec/decode publish"], 42);
        assert!(parse_baseline("a = \"x\"").is_err());
    }
}
