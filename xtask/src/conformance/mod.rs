//! `cargo xtask conformance`: a public MQTT suite, checked out elsewhere, against a broker.
//!
//! The suites are not ours and stay outside the repository. Several of their tests loop for ever on
//! a wrong answer, so each test is a process of its own with a time limit.

mod suite;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};

use crate::broker::Broker;
use crate::process;
use crate::workspace::Workspace;

use suite::{Kind, Suite, Test};

/// What was typed.
#[derive(Debug)]
struct Options {
    suite: PathBuf,
    kind: Kind,
    at: Option<(String, u16)>,
    only: String,
    limit: Duration,
}

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let options = parse(arguments)?;
    let scratch = workspace.scratch("conformance")?;
    let suite = Suite::open(workspace, options.kind, &options.suite, &scratch)?;
    let tests = suite.tests()?;
    let chosen: Vec<&Test> =
        tests.iter().filter(|test| test.to_string().contains(&options.only)).collect();
    ensure!(!chosen.is_empty(), "no test of {} is chosen", options.suite.display());
    let (broker, host, port) = match &options.at {
        Some((host, port)) => (None, host.clone(), *port),
        None => {
            let broker = start(workspace, &scratch)?;
            let port = broker.port("mqtt")?;
            (Some(broker), "127.0.0.1".to_owned(), port)
        }
    };
    let mut failed = Vec::new();
    for test in &chosen {
        let log = scratch.join(format!("{test}.log"));
        let mut command = suite.command(test, &host, port);
        let outcome = process::run_limited(&mut command, options.limit, &log)?;
        let seconds = outcome.elapsed.as_secs_f64();
        if outcome.success() {
            println!("ok    {test} ({seconds:.1} s)");
        } else {
            println!("FAIL  {test} ({seconds:.1} s): {}", cause(&outcome.reason(), &log));
            failed.push(test);
        }
    }
    for (module, passed, all) in totals(&chosen, &failed) {
        println!("{module}: {passed} of {all}");
    }
    println!("logs: {}", scratch.display());
    if let Some(broker) = broker {
        broker.stop()?;
    }
    println!("{} passed, {} failed", chosen.len() - failed.len(), failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(workspace: &Workspace, scratch: &Path) -> Result<Broker> {
    let binary = workspace.build_agentmq()?;
    let configuration = workspace.root.join(CONFIGURATION);
    let data = scratch.join("agentmq-data");
    // A suite expects a broker that knows nobody.
    if data.is_dir() {
        fs::remove_dir_all(&data).context("empty the broker's data folder")?;
    }
    fs::copy(workspace.root.join(POLICY), scratch.join("policy.toml")).context(POLICY)?;
    Broker::start(&binary, &["--config", &configuration.display().to_string()], scratch)
}

/// What the report says, with the line that names the exception.
fn cause(reason: &str, log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let names_it = |line: &&str| {
        let end = line.split([':', ' ']).next().unwrap_or_default();
        line.starts_with("E  ") || end.ends_with("Error") || end.ends_with("Exception")
    };
    match text.lines().rev().find(names_it) {
        Some(line) => format!("{reason}; {}", line.trim()),
        None => reason.to_owned(),
    }
}

/// Module, passed and all, in the order in which the modules occur.
fn totals(chosen: &[&Test], failed: &[&&Test]) -> Vec<(String, usize, usize)> {
    let mut counts: Vec<(String, usize, usize)> = Vec::new();
    for test in chosen {
        let passed = usize::from(!failed.contains(&test));
        match counts.iter_mut().find(|(module, _, _)| *module == test.module) {
            Some((_, good, all)) => {
                *good += passed;
                *all += 1;
            }
            None => counts.push((test.module.clone(), passed, 1)),
        }
    }
    counts
}

fn parse(arguments: &[String]) -> Result<Options> {
    let (mut suite, mut kind, mut at) = (None, Kind::Paho, None);
    let (mut only, mut limit) = (String::new(), DEFAULT_LIMIT);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest.next().with_context(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--suite" => suite = Some(PathBuf::from(value)),
            "--suite-kind" => kind = value.parse()?,
            "--at" => {
                let (host, port) = value.rsplit_once(':').context("--at wants HOST:PORT")?;
                let port = port.parse().with_context(|| format!("no port: `{port}`"))?;
                at = Some((host.to_owned(), port));
            }
            "--only" => only.clone_from(value),
            "--timeout" => {
                let seconds = value.parse().context("--timeout wants whole seconds")?;
                limit = Duration::from_secs(seconds);
            }
            other => bail!("conformance does not know `{other}`; see `cargo xtask help`"),
        }
    }
    let suite = suite.context("--suite DIR is missing: a checkout of the suite")?;
    let suite = suite.canonicalize().with_context(|| format!("open {}", suite.display()))?;
    Ok(Options { suite, kind, at, only, limit })
}

const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// What the suites expect of a broker beyond its defaults; the file says which test wants what.
const CONFIGURATION: &str = "xtask/conformance.toml";
/// The same of its rules; the configuration names it in the broker's own folder.
const POLICY: &str = "xtask/conformance_policy.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read() {
        let options = parse(&words("--suite . --at localhost:1884 --timeout 5")).expect("parses");
        assert_eq!(options.at, Some(("localhost".to_owned(), 1884)));
        assert_eq!(options.limit, Duration::from_secs(5));
        for wrong in ["", "--suite", "--suite . --at x", "--suite . --suite-kind x", "--x y"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn totals_are_counted_by_module() {
        let test = |module: &str, name: &str| Test { module: module.into(), name: name.into() };
        let (one, two, three) = (test("a", "1"), test("a", "2"), test("b", "1"));
        let chosen = [&one, &two, &three];
        let expected = [("a".to_owned(), 1, 2), ("b".to_owned(), 1, 1)];
        assert_eq!(totals(&chosen, &[&chosen[1]]), expected);
    }
}
