//! `cargo xtask faults`: the experiments in `tests/faults`, which hurt a running broker and then
//! ask for everything that it has acknowledged.

mod campaign;
mod ledger;
mod options;
mod plan;
mod report;
mod tree;
mod verdicts;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;

use self::options::{Options, What};
use crate::process;
use crate::test::Tally;
use crate::workspace::Workspace;

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    match options.what {
        What::Resume => return campaign::resume(workspace, &options),
        What::Report => return campaign::report(workspace, &options),
        What::Syscalls => return syscalls(workspace),
        What::Experiments => {}
    }
    let all_kept = experiment(workspace, &options)?.0;
    Ok(if all_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A few rounds of each experiment, as a step of `cargo xtask test`.
pub fn short(workspace: &Workspace) -> Result<Tally> {
    let options = Options { short: true, ..Options::default() };
    let (_, results) = experiment(workspace, &options)?;
    verdicts::tally(&std::fs::read_to_string(results)?)
}

/// Runs the experiments; says whether every promise was kept, and where the results are.
fn experiment(workspace: &Workspace, options: &Options) -> Result<(bool, PathBuf)> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None if options.broker.is_ours() => workspace.build_agentmq()?,
        None => program(workspace, options.broker.program()),
    };
    let folder = workspace.scratch("faults")?;
    let results = folder.join("results.jsonl");
    // An old one must not be taken for this run's.
    std::fs::write(&results, "")?;
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(workspace.root.join("tests/faults/run.py"))
        .arg("--binary")
        .arg(binary)
        .arg("--folder")
        .arg(&folder)
        .arg("--json")
        .arg(&results)
        .args(options.words());
    Ok((process::run_visibly(&mut command)?, results))
}

/// Counts the system calls of brokers, ours and others, under the same load.
fn syscalls(workspace: &Workspace) -> Result<ExitCode> {
    let mut command = Command::new("python3");
    command.arg("-B").arg(workspace.root.join("tests/faults/syscalls.py"));
    command.arg("--agentmq").arg(workspace.build_agentmq()?);
    command.arg("--mosquitto").arg(program(workspace, options::Kind::Mosquitto.program()));
    command.arg("--nats").arg(program(workspace, options::Kind::Nats.program()));
    command.arg("--folder").arg(workspace.scratch("faults")?);
    let is_done = process::run_visibly(&mut command)?;
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Another's program: below the folder into which `cargo xtask compare` installs what is compared,
/// where Debian puts servers, or on the search path.
fn program(workspace: &Workspace, name: &str) -> PathBuf {
    let folders = [workspace.target.join("peers/nats/bin"), PathBuf::from("/usr/sbin")];
    let installed = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    installed.unwrap_or_else(|| PathBuf::from(name))
}
