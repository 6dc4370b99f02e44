//! `cargo xtask simulate`: many seeds of the simulation in `crates/store/tests/simulation`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Runs the seeds on every core, each a part of them, with the optimizer on.
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let (mut seeds, mut from) = (1000u64, 0u64);
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let mut number = || {
            let text = rest.next().with_context(|| format!("{option} needs a number"))?;
            text.parse().with_context(|| format!("{option} {text}: not a number"))
        };
        match option.as_str() {
            "--seeds" => seeds = number()?,
            "--from" => from = number()?,
            other => bail!("no option {other}; `cargo xtask help` lists them"),
        }
    }
    let parts = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut children = Vec::new();
    let test = ["test", "--quiet", "--locked", "--release", "-p", "agentmq-store", "--test"];
    // Built once, before the parts ask for it at the same time.
    let mut build = Command::new("cargo");
    build.args(test).args(["simulation", "--no-run"]).current_dir(&workspace.root);
    if !build.status().context("start cargo")?.success() {
        return Ok(ExitCode::FAILURE);
    }
    for part in 0..parts {
        let (first, last) = (from + seeds * part / parts, from + seeds * (part + 1) / parts);
        let mut command = Command::new("cargo");
        command.args(test).arg("simulation").current_dir(&workspace.root);
        command.env("AGENTMQ_SIMULATE_SEEDS", format!("{first}..{last}"));
        children.push(command.spawn().context("start cargo")?);
    }
    let mut all_kept = true;
    for mut child in children {
        all_kept &= child.wait()?.success();
    }
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output()?;
    let commit = String::from_utf8_lossy(&commit.stdout);
    let end = from + seeds;
    println!(
        "seeds {from}..{end} at commit {}: {}",
        commit.trim(),
        match all_kept {
            true => "every promise kept",
            false => "a promise was broken; the output above names the seed",
        }
    );
    Ok(if all_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
