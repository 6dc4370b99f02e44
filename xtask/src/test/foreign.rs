//! Other people's clients against one release broker, each with a time limit.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Tally;
use super::manifest::{self, ClientRuntime, Places, Scenario};
use super::tools::{self, Runtime};
use crate::broker::Broker;
use crate::process;
use crate::workspace::{Workspace, cargo};

pub fn run(workspace: &Workspace) -> Result<Tally> {
    let folder = workspace.root.join("tests/foreign");
    let text = fs::read_to_string(folder.join("manifest.toml"))
        .context("read tests/foreign/manifest.toml")?;
    let scenarios = manifest::parse(&text)?;
    tools::install(workspace)?;
    let binary = workspace.build_agentmq()?;
    let scratch = workspace.scratch("foreign/scratch")?;
    let mut broker = Broker::start(&binary, &[], &scratch)?;
    let mut tally = Tally::default();
    for scenario in &scenarios {
        let own = workspace.scratch(&format!("foreign/scratch/{}", scenario.name))?;
        let passed = one(workspace, scenario, &broker, &own)?;
        tally.add(Tally::of(passed));
        if let Some(ending) = broker.ended() {
            let log = fs::read_to_string(scratch.join("broker.log")).unwrap_or_default();
            let log = process::last_lines(&log, 20);
            ensure!(false, "the broker ended during `{}` ({ending}):\n{log}", scenario.name);
        }
    }
    broker.stop()?;
    Ok(tally)
}

fn one(workspace: &Workspace, scenario: &Scenario, broker: &Broker, own: &Path) -> Result<bool> {
    let places = Places {
        host: "127.0.0.1",
        port: broker.port("mqtt")?,
        ws_port: broker.port("ws")?,
        scratch: &own.display().to_string(),
    };
    let mut command = command(workspace, scenario, &places)?;
    command.current_dir(workspace.root.join("tests/foreign"));
    let log = own.join("output.log");
    let outcome = process::run_limited(&mut command, scenario.limit, &log)?;
    let verdict = if outcome.success() { "ok" } else { "FAIL" };
    println!("{verdict:<5} {:<40} {:>6.1} s", scenario.name, outcome.elapsed.as_secs_f64());
    if !outcome.success() {
        let output = fs::read_to_string(&log).unwrap_or_default();
        println!("    {} ({})", outcome.reason(), log.display());
        print!("{}", process::last_lines(&output, 30));
    }
    Ok(outcome.success())
}

/// The scenario's command in the environment of its runtime.
fn command(workspace: &Workspace, scenario: &Scenario, places: &Places<'_>) -> Result<Command> {
    let words = scenario.words(places);
    let (program, arguments) = words.split_first().context("a command has a program")?;
    let mut command = match (scenario.runtime, program.as_str()) {
        (ClientRuntime::Cargo, "cargo") => cargo(),
        (_, program) => Command::new(program),
    };
    command.args(arguments);
    match scenario.runtime {
        ClientRuntime::PythonPaho1 => in_venv(&mut command, workspace, &Runtime::PAHO1)?,
        ClientRuntime::Python => in_venv(&mut command, workspace, &Runtime::PYTHON)?,
        ClientRuntime::Node => {
            command.env("NODE_PATH", tools::node_modules(workspace));
        }
        ClientRuntime::Cargo => {
            // A workspace of its own, so that clients' dependencies stay out of our lock file.
            command.env("CARGO_TARGET_DIR", workspace.target.join("foreign").join("cargo"));
        }
        ClientRuntime::Shell => {}
    }
    Ok(command)
}

/// `python` and every installed script then mean the environment's.
fn in_venv(command: &mut Command, workspace: &Workspace, runtime: &Runtime) -> Result<()> {
    let folder = runtime.folder(workspace);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::iter::once(folder.join("bin"));
    let joined = std::env::join_paths(first.chain(std::env::split_paths(&path)))
        .context("put a Python environment on the search path")?;
    command.env("PATH", joined).env("VIRTUAL_ENV", folder).env("PYTHONUNBUFFERED", "1");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(())
}
