//! `cargo xtask compare`: the running broker beside others.

mod contender;
mod measure;
mod page;
mod results;
mod scenario;
mod surroundings;
mod verdict;

use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use self::contender::Contender;
use self::results::{MOSQUITTO, OURS};
use crate::process;
use crate::workspace::Workspace;

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let kept = compare(workspace, &options)?;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures, prints, perhaps saves. Returns whether every promise was kept.
fn compare(workspace: &Workspace, options: &Options) -> Result<bool> {
    let mut scenarios = scenario::all(surroundings::open_files()?);
    if !options.scenarios.is_empty() {
        ensure!(!options.save, "--save writes the whole table: leave --scenario away");
        for name in &options.scenarios {
            let known = scenarios.iter().any(|scenario| scenario.name == name);
            ensure!(known, "no scenario is called {name}");
        }
        scenarios.retain(|scenario| options.scenarios.iter().any(|name| scenario.name == name));
    }
    ensure!(process::installed("mosquitto"), "mosquitto is missing: apt-get install mosquitto");
    let binary = workspace.build_agentmq()?;
    let mut contenders =
        vec![Contender::agentmq(&binary, &workspace.root), Contender::mosquitto(&workspace.root)];
    contenders.extend(options.brokers.iter().cloned());
    let results = measure::run(workspace, &binary, &scenarios, &contenders, options.rounds)?;
    println!("\n{}", page::terminal(&results));
    let problems = verdict::problems(&results, &scenarios);
    for problem in &problems {
        println!("NOT KEPT: {problem}");
    }
    if options.save {
        results.save(&workspace.root)?;
        page::save(&results, &workspace.root)?;
        println!("written: {}, {}", results::PATH, page::PATH);
    }
    Ok(problems.is_empty())
}

#[derive(Debug)]
struct Options {
    save: bool,
    rounds: usize,
    /// Empty: all.
    scenarios: Vec<String>,
    /// Brokers besides AgentMQ and Mosquitto.
    brokers: Vec<Contender>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { save: false, rounds: 3, scenarios: vec![], brokers: vec![] };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--save" {
                options.save = true;
                continue;
            }
            let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--scenario" => options.scenarios.push(value()?.clone()),
                "--broker" => options.brokers.push(Contender::parse(value()?)?),
                other => {
                    bail!("compare does not know `{other}`; `cargo xtask help` lists what it does")
                }
            }
        }
        ensure!((1..=100).contains(&options.rounds), "--rounds 1 to 100");
        let taken = |broker: &Contender| [OURS, MOSQUITTO].contains(&broker.name.as_str());
        ensure!(!options.brokers.iter().any(taken), "{OURS} and {MOSQUITTO} are measured anyway");
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let options = parse("--rounds 5 --scenario rpc-1 --broker x=y,1").expect("ok");
        assert_eq!((options.save, options.rounds), (false, 5));
        assert_eq!(options.scenarios, ["rpc-1"]);
        assert_eq!(options.brokers[0].name, "x");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--rounds", "--rounds 0", "--fast", "--broker Mosquitto=m,1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
