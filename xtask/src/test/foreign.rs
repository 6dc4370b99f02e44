//! Other people's clients against one release broker, each with a time limit.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::Tally;
use super::manifest::{self, ClientRuntime, Places, Scenario};
use super::tools::{self, Runtime};
use crate::broker::Broker;
use crate::process;
use crate::workspace::{Workspace, cargo};

pub fn run(workspace: &Workspace) -> Result<Tally> {
    let text = fs::read_to_string(workspace.root.join(FOLDER).join("manifest.toml"))
        .context("read tests/foreign/manifest.toml")?;
    let scenarios = manifest::parse(&text)?;
    for package in scenarios.iter().flat_map(|scenario| &scenario.debian) {
        ensure!(tools::knows(package), "add `{package}` to the table in xtask/src/test/tools.rs");
    }
    tools::install(workspace)?;
    for scenario in scenarios.iter().filter(|one| one.runtime == ClientRuntime::Cargo) {
        compile(workspace, scenario)?;
    }
    let binary = workspace.build_agentmq()?;
    let scratch = workspace.scratch("foreign/scratch")?;
    let mut broker = Broker::start(&binary, &[], &scratch)?;
    let under_test = UnderTest { broker: &broker, binary: &binary };
    let tally = all(workspace, &scenarios, &under_test)?;
    if let Some(ending) = broker.ended() {
        let log = fs::read_to_string(scratch.join("broker.log")).unwrap_or_default();
        bail!("the broker ended meanwhile ({ending}):\n{}", process::last_lines(&log, 20));
    }
    broker.stop()?;
    Ok(tally)
}

/// Runs the scenarios side by side: they spend most of their time waiting, and share no topics.
fn all(workspace: &Workspace, scenarios: &[Scenario], under_test: &UnderTest<'_>) -> Result<Tally> {
    let queue = Mutex::new(scenarios.iter());
    let work = || -> Result<Tally> {
        let mut tally = Tally::default();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(scenario) = next else { return Ok(tally) };
            let own = workspace.scratch(&format!("foreign/scratch/{}", scenario.name))?;
            tally.add(Tally::of(one(workspace, scenario, under_test, &own)?));
        }
    };
    let tallies: Vec<Result<Tally>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(join).collect()
    });
    let mut total = Tally::default();
    for tally in tallies {
        total.add(tally?);
    }
    Ok(total)
}

fn join(worker: thread::ScopedJoinHandle<'_, Result<Tally>>) -> Result<Tally> {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What the scenarios are for: a broker that runs, and the program for those who start their own.
struct UnderTest<'a> {
    broker: &'a Broker,
    binary: &'a Path,
}

fn one(
    workspace: &Workspace,
    scenario: &Scenario,
    under_test: &UnderTest<'_>,
    own: &Path,
) -> Result<bool> {
    let places = Places {
        host: "127.0.0.1",
        port: under_test.broker.port("mqtt")?,
        ws_port: under_test.broker.port("ws")?,
        scratch: &own.display().to_string(),
        agentmq: &under_test.binary.display().to_string(),
    };
    let mut command = command(workspace, scenario, &places)?;
    let log = own.join("output.log");
    let outcome = process::run_limited(&mut command, scenario.limit, &log)?;
    let verdict = if outcome.success() { "ok" } else { "FAIL" };
    let seconds = outcome.elapsed.as_secs_f64();
    let mut report = format!("{verdict:<5} {:<40} {seconds:>6.1} s", scenario.name);
    if !outcome.success() {
        let output = fs::read_to_string(&log).unwrap_or_default();
        report += &format!("\n    {} ({})\n", outcome.reason(), log.display());
        report += &process::last_lines(&output, 30);
    }
    // In one piece, because others print meanwhile.
    println!("{report}");
    Ok(outcome.success())
}

/// Compiles what `cargo run` would, so that the scenario's time limit is for the scenario.
fn compile(workspace: &Workspace, scenario: &Scenario) -> Result<()> {
    let [cargo, run, rest @ ..] = scenario.command.as_slice() else { return Ok(()) };
    if cargo != "cargo" || run != "run" {
        return Ok(());
    }
    let options = rest.iter().take_while(|word| *word != "--").cloned();
    let words = ["cargo", "build"].map(str::to_owned).into_iter().chain(options).collect();
    let build = Scenario { command: words, ..scenario.clone() };
    let nowhere = Places { host: "", port: 0, ws_port: 0, scratch: "", agentmq: "" };
    let built = process::run_visibly(&mut command(workspace, &build, &nowhere)?)?;
    ensure!(built, "the client of `{}` does not build", scenario.name);
    Ok(())
}

/// The scenario's command in the environment of its runtime.
fn command(workspace: &Workspace, scenario: &Scenario, places: &Places<'_>) -> Result<Command> {
    let words = scenario.words(places);
    let (program, arguments) = words.split_first().context("a command has a program")?;
    let mut command = match (scenario.runtime, program.as_str()) {
        (ClientRuntime::Cargo, "cargo") => cargo(),
        (_, program) => Command::new(program),
    };
    command.args(arguments).current_dir(workspace.root.join(FOLDER));
    match scenario.runtime {
        ClientRuntime::PythonPaho1 => Runtime::PAHO1.enter(workspace, &mut command)?,
        // Both, because scenarios about MCP start servers of either.
        ClientRuntime::Python | ClientRuntime::Node => {
            Runtime::PYTHON.enter(workspace, &mut command)?;
            command.env("NODE_PATH", tools::node_path(workspace)?);
        }
        ClientRuntime::Cargo => {
            // A workspace of its own, so that clients' dependencies stay out of our lock file.
            command.env("CARGO_TARGET_DIR", workspace.target.join("foreign").join("cargo"));
        }
        ClientRuntime::Shell => {}
    }
    Ok(command)
}

const FOLDER: &str = "tests/foreign";
const SIDE_BY_SIDE: usize = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn under_test(broker: &Broker) -> UnderTest<'_> {
        UnderTest { broker, binary: Path::new("") }
    }
    use crate::broker::tests::stand_in;
    use crate::workspace::Linked;

    /// A workspace in a temporary folder, with a stand-in for the broker that is running.
    fn workspace(folder: &Path) -> (Workspace, Broker) {
        fs::create_dir_all(folder.join(FOLDER)).expect("folder");
        let broker = stand_in(folder).expect("starts");
        let (root, target) = (folder.to_owned(), folder.join("target"));
        (Workspace { root, target, packages: vec![], linked: Linked::new() }, broker)
    }

    fn scenario(script: &str) -> Scenario {
        Scenario {
            name: "one".into(),
            runtime: ClientRuntime::Shell,
            command: ["sh", "-c", script].map(str::to_owned).into(),
            debian: vec![],
            limit: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_scenario_passes_or_fails_by_its_exit_code() {
        let folder = tempfile::tempdir().expect("folder");
        let (workspace, broker) = workspace(folder.path());
        let own = workspace.scratch("one").expect("scratch");
        let right = scenario("test {host} = 127.0.0.1 -a {port} = 1 -a {ws_port} = 2");
        assert!(one(&workspace, &right, &under_test(&broker), &own).expect("runs"));
        let wrong = scenario("echo because; exit 1");
        assert!(!one(&workspace, &wrong, &under_test(&broker), &own).expect("runs"));
        assert_eq!(fs::read_to_string(own.join("output.log")).expect("log"), "because\n");
    }

    #[test]
    fn every_scenario_is_run_once() {
        let folder = tempfile::tempdir().expect("folder");
        let (workspace, broker) = workspace(folder.path());
        let named = |index: usize| {
            let script = format!("echo >> {{scratch}}/../ran; test $(({index} % 3)) != 0");
            Scenario { name: format!("number-{index}"), ..scenario(&script) }
        };
        let scenarios: Vec<Scenario> = (0..7).map(named).collect();
        let tally = all(&workspace, &scenarios, &under_test(&broker)).expect("runs");
        assert_eq!(tally, Tally { passed: 4, failed: 3 });
        let ran = fs::read_to_string(workspace.target.join("foreign/scratch/ran")).expect("ran");
        assert_eq!(ran.lines().count(), 7);
    }

    #[test]
    fn a_scenario_that_hangs_fails() {
        let folder = tempfile::tempdir().expect("folder");
        let (workspace, broker) = workspace(folder.path());
        let own = workspace.scratch("one").expect("scratch");
        let hung = Scenario { limit: Duration::from_millis(100), ..scenario("sleep 600") };
        assert!(!one(&workspace, &hung, &under_test(&broker), &own).expect("runs"));
    }
}
