//! `cargo xtask profile`: where the broker's CPU time goes in each scenario of `compare`, and which
//! system calls a delivery takes.

mod page;
mod samples;
mod system_calls;
mod watcher;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::samples::Samples;
use self::system_calls::SystemCalls;
use self::watcher::Watcher;
use crate::compare::contender::Contender;
use crate::compare::scenario::{self, Scenario};
use crate::compare::{measure, surroundings};
use crate::workspace::Workspace;

/// One scenario, observed twice.
#[derive(Debug)]
pub struct Profile {
    pub scenario: String,
    /// What the system calls are divided by: deliveries, connections.
    pub unit: String,
    /// The broker's CPU time for one of them, while it was sampled.
    pub nanoseconds_each: Option<f64>,
    pub samples: Samples,
    pub calls: SystemCalls,
}

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    watcher::check_installed()?;
    let scenarios = options.scenarios(surroundings::open_files()?)?;
    let surroundings = surroundings::observe(&workspace.root)?;
    let binary = workspace.build_agentmq()?;
    let contender = Contender::agentmq(&binary, &workspace.root);
    let scratch = workspace.scratch("profile")?;
    let mut profiles = Vec::new();
    for scenario in &scenarios {
        let profile = profile(&binary, scenario, &contender, &scratch)
            .with_context(|| format!("profile {}", scenario.name))?;
        println!("{}", page::terminal(&profile));
        profiles.push(profile);
    }
    if options.save {
        page::save(&workspace.root, &surroundings, &profiles)?;
        println!("written: {}", page::PATH);
    }
    Ok(ExitCode::SUCCESS)
}

/// The load runs twice, each time beside a fresh broker: a broker whose system calls are counted
/// stops at each of them, and its CPU time says nothing.
fn profile(
    binary: &Path,
    scenario: &Scenario,
    contender: &Contender,
    scratch: &Path,
) -> Result<Profile> {
    let observe = |watcher: Watcher| -> Result<(String, Load)> {
        let (mut seen, mut load) = (String::new(), Load::default());
        // What ends when it is done may be done at once.
        while load.duration < LONG_ENOUGH {
            let broker = contender.start(scenario, scratch)?;
            let watching = watcher.attach(broker.pid, scratch)?;
            let since = Instant::now();
            let (outcome, output) = measure::load(binary, scenario, contender, &broker, scratch)?;
            ensure!(outcome.success(), "the load generator: {}\n{output}", outcome.reason());
            load.duration += since.elapsed();
            load.add(&measure::report(&output)?);
            // The watcher ends with what it watches.
            drop(broker);
            seen += &watching.finish()?;
        }
        Ok((seen, load))
    };
    let (listed, sampled) = observe(Watcher::Samples)?;
    let (counted, slowed) = observe(Watcher::SystemCalls)?;
    ensure!(slowed.total > 0.0, "nothing arrived while system calls were counted");
    Ok(Profile {
        scenario: scenario.name.clone(),
        nanoseconds_each: sampled.nanoseconds_each(),
        samples: Samples::parse(&listed)?,
        calls: SystemCalls::parse(&counted, slowed.total)?,
        unit: sampled.unit,
    })
}

/// What the load generator reported, over all its runs.
#[derive(Debug, Default)]
struct Load {
    duration: Duration,
    unit: String,
    /// In the measured intervals.
    count: f64,
    cpu_seconds: f64,
    /// The warm-ups included, which a watcher sees too.
    total: f64,
}

impl Load {
    fn add(&mut self, report: &Value) {
        let count = report["count"].as_f64().unwrap_or_default();
        let received = report["integrity"]["received"].as_f64().unwrap_or_default();
        self.unit = report["unit"].as_str().unwrap_or_default().to_owned();
        self.count += count;
        self.cpu_seconds += report["broker"]["cpu_seconds"].as_f64().unwrap_or_default();
        self.total += if received > 0.0 { received } else { count };
    }

    fn nanoseconds_each(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.cpu_seconds * 1e9 / self.count)
    }
}

/// For how long each load is watched at least.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Options {
    save: bool,
    /// Empty: all in which something flows.
    only: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--save" => options.save = true,
                "--scenario" => {
                    options.only.push(rest.next().context("--scenario needs a name")?.clone());
                }
                other => {
                    bail!("profile does not know `{other}`; `cargo xtask help` lists what it does")
                }
            }
        }
        let whole = options.only.is_empty();
        ensure!(whole || !options.save, "--save writes whole tables: leave --scenario away");
        Ok(options)
    }

    fn scenarios(&self, open_files: usize) -> Result<Vec<Scenario>> {
        let mut scenarios = scenario::all(open_files);
        scenarios.retain(|scenario| !scenario.idle);
        for name in &self.only {
            let known = scenarios.iter().any(|scenario| &scenario.name == name);
            ensure!(known, "no scenario in which something flows is called {name}");
        }
        scenarios.retain(|it| self.only.is_empty() || self.only.contains(&it.name));
        Ok(scenarios)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn scenarios_are_chosen_by_name() {
        let names = |line: &str| -> Vec<String> {
            let scenarios = options(line).expect("parses").scenarios(20_000).expect("known");
            scenarios.into_iter().map(|scenario| scenario.name).collect()
        };
        assert_eq!(names("--scenario rpc-1 --scenario p2p-q0-64"), ["p2p-q0-64", "rpc-1"]);
        let all = names("--save");
        assert!(all.len() > 18, "{all:?}");
        assert!(!all.iter().any(|name| name == "idle"), "nothing flows there");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--fast", "--scenario", "--save --scenario rpc-1"] {
            assert!(options(line).is_err(), "{line}");
        }
        for name in ["none-such", "idle"] {
            let options = options(&format!("--scenario {name}")).expect("parses");
            assert!(options.scenarios(20_000).is_err(), "{name}");
        }
    }

    #[test]
    fn the_runs_of_a_load_are_added() {
        let mut load = Load::default();
        assert_eq!(load.nanoseconds_each(), None);
        load.add(&json!({"unit": "x", "count": 7, "integrity": {"received": 9},
            "broker": {"cpu_seconds": 1e-6}}));
        load.add(&json!({"unit": "x", "count": 3, "broker": {"cpu_seconds": 4e-6}}));
        assert_eq!(load.unit, "x");
        assert_eq!(load.nanoseconds_each(), Some(500.0));
        assert_eq!(load.total, 12.0, "the warm-up too");
    }
}
