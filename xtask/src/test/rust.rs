//! The steps that cargo does.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Tally, junit};
use crate::workspace::{Target, Workspace, cargo};
use crate::{process, tidy};

pub fn format(workspace: &Workspace) -> Result<Tally> {
    let formatted = process::run_visibly(
        cargo().current_dir(&workspace.root).args(["fmt", "--all", "--check"]),
    )?;
    ensure!(formatted, "run `cargo fmt --all`");
    Ok(Tally::of(true))
}

pub fn tidy(workspace: &Workspace) -> Result<Tally> {
    let findings = tidy::check(workspace)?;
    tidy::print(&findings);
    Ok(Tally::of(findings.failures.is_empty()))
}

pub fn lint(workspace: &Workspace) -> Result<Tally> {
    let clean = process::run_visibly(cargo().current_dir(&workspace.root).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))?;
    Ok(Tally::of(clean))
}

pub fn tests(workspace: &Workspace) -> Result<Tally> {
    if process::installed("cargo-nextest") {
        let tally = nextest(workspace, "default", &["-E", &format!("not ({FUZZ_FILTER})")], &[])?;
        ensure!(tally != Tally::default(), "there is no test");
        return Ok(tally);
    }
    let targets = ["--lib", "--bins", "--tests", "--examples"];
    cargo_test(workspace, &[&targets[..], &["--", "--skip", FUZZ_PREFIX]].concat(), &[])
}

/// nextest cannot run documentation examples.
pub fn doc(workspace: &Workspace) -> Result<Tally> {
    cargo_test(workspace, &["--doc"], &[])
}

/// The fuzz targets are ordinary tests: those named `fuzz_…`, and all in a file of that name.
/// bolero reads its effort from the environment and stops at whichever comes first.
pub fn fuzz(workspace: &Workspace) -> Result<Tally> {
    let effort = [
        ("BOLERO_RANDOM_ITERATIONS", FUZZ_ITERATIONS),
        ("BOLERO_RANDOM_TEST_TIME_MS", FUZZ_MILLISECONDS),
    ];
    let tally = if process::installed("cargo-nextest") {
        nextest(workspace, "fuzz", &["-E", FUZZ_FILTER], &effort)?
    } else {
        let mut tally = cargo_test(workspace, &["--lib", "--tests", FUZZ_PREFIX], &effort)?;
        let is_file =
            |target: &Target| target.kind == "test" && target.name.starts_with(FUZZ_PREFIX);
        if workspace.members().any(|package| package.targets.iter().any(is_file)) {
            let unnamed = ["--test", "fuzz_*", "--", "--skip", FUZZ_PREFIX];
            tally.add(cargo_test(workspace, &unnamed, &effort)?);
        }
        tally
    };
    ensure!(
        tally != Tally::default(),
        "no test or file of tests is named `{FUZZ_PREFIX}…`: that fuzzes nothing"
    );
    Ok(tally)
}

fn nextest(
    workspace: &Workspace,
    profile: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Tally> {
    let report = workspace.target.join("nextest").join(profile).join("junit.xml");
    // A report that an earlier run left must not be taken for this one's.
    let _ = std::fs::remove_file(&report);
    let passed = process::run_visibly(
        cargo()
            .current_dir(&workspace.root)
            .args([
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--no-fail-fast",
                "--no-tests=pass",
            ])
            .args(["--profile", profile])
            .args(arguments)
            .envs(environment.iter().copied()),
    )?;
    let tally = std::fs::read_to_string(&report).ok().and_then(|text| junit::tally(&text));
    let tally = tally.context("nextest ran no test: see its messages above")?;
    let agrees = passed == (tally.failed == 0);
    ensure!(agrees, "nextest's exit code and its report contradict each other");
    Ok(tally)
}

/// Runs `cargo test`, shows its output as it comes, and adds up its `test result:` lines.
fn cargo_test(
    workspace: &Workspace,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Tally> {
    let mut command: Command = cargo();
    command
        .current_dir(&workspace.root)
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("start cargo")?;
    let output = child.stdout.take().context("cargo's output was just piped")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("read cargo's output")?;
        println!("{line}");
        tally.add(result_line(&line).unwrap_or_default());
    }
    let passed = child.wait().context("wait for cargo")?.success();
    if !passed && tally.failed == 0 {
        // It did not compile, or a test ended the whole process.
        tally.failed = 1;
    }
    Ok(tally)
}

/// `test result: ok. 3 passed; 0 failed; …`
fn result_line(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?;
    let before = |word: &str| -> Option<usize> {
        let (number, _) = counts.split_once(word)?;
        number.rsplit(' ').next()?.parse().ok()
    };
    Some(Tally { passed: before(" passed")?, failed: before(" failed")? })
}

const FUZZ_PREFIX: &str = "fuzz_";
const FUZZ_FILTER: &str = "test(/(^|::)fuzz_/) or binary(/^fuzz_/)";
const FUZZ_ITERATIONS: &str = "500000";
const FUZZ_MILLISECONDS: &str = "30000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let line =
            "test result: FAILED. 31 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out";
        assert_eq!(result_line(line), Some(Tally { passed: 31, failed: 2 }));
        assert_eq!(result_line("running 3 tests"), None);
    }
}
