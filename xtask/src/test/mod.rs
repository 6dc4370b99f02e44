//! `cargo xtask test`: install what the tests need, then run all of them, step by step.
//!
//! Every step runs even if an earlier one failed, so that one run shows everything. The last line
//! is `N passed, N failed`: tests where a step counts them, else the step itself.

mod foreign;
mod junit;
mod manifest;
mod rust;
mod tools;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::faults;
use crate::workspace::Workspace;

/// How many tests a step ran.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

impl Tally {
    /// A step that is one test.
    pub fn of(passed: bool) -> Self {
        Self { passed: usize::from(passed), failed: usize::from(!passed) }
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// A part of the test run that has a name.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> Result<Tally>,
}

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let Some(chosen) = choose(arguments)? else {
        for Step { name, what, .. } in STEPS {
            println!("{name:<10} {what}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let mut total = Tally::default();
    let mut report = Vec::new();
    for step in chosen {
        println!("\n=== {}: {}", step.name, step.what);
        let started = Instant::now();
        let tally = (step.run)(workspace).unwrap_or_else(|error| {
            println!("{}: {error:#}", step.name);
            Tally::of(false)
        });
        total.add(tally);
        report.push(summary(step.name, tally, started.elapsed().as_secs_f64()));
        if let Some(line) = report.last() {
            println!("{line}");
        }
    }
    println!("\n{}\n\n{}", report.join("\n"), last_line(total));
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The steps to run, in their order; `None` for `--list`.
fn choose(arguments: &[String]) -> Result<Option<Vec<&'static Step>>> {
    let mut names: Vec<&str> = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--list" => return Ok(None),
            "--only" => names.push(rest.next().context("--only wants the name of a step")?),
            other => bail!("test knows --list and --only STEP, not `{other}`"),
        }
    }
    for name in &names {
        let known = STEPS.iter().any(|step| step.name == *name);
        ensure!(known, "no step is named `{name}`; `cargo xtask test --list` lists them");
    }
    let chosen = |step: &&Step| names.is_empty() || names.contains(&step.name);
    Ok(Some(STEPS.iter().filter(chosen).collect()))
}

fn summary(name: &str, tally: Tally, seconds: f64) -> String {
    let verdict = if tally.failed == 0 { "ok" } else { "FAILED" };
    let Tally { passed, failed } = tally;
    format!("{name:<10} {verdict:<7} {passed:>5} passed {failed:>4} failed {seconds:>7.1} s")
}

fn last_line(total: Tally) -> String {
    format!("{} passed, {} failed", total.passed, total.failed)
}

const STEPS: &[Step] = &[
    Step { name: "tools", what: "what the tests need is installed", run: tools::install },
    Step { name: "format", what: "rustfmt changes nothing", run: rust::format },
    Step { name: "tidy", what: "the repository's own rules hold", run: rust::tidy },
    Step { name: "lint", what: "clippy has nothing to say", run: rust::lint },
    Step { name: "tests", what: "unit, property and process tests", run: rust::tests },
    Step { name: "doc", what: "examples in the documentation", run: rust::doc },
    Step { name: "fuzz", what: "every fuzz target, 500 000 inputs or 30 s", run: rust::fuzz },
    Step { name: "foreign", what: "other people's clients against the broker", run: foreign::run },
    Step { name: "faults", what: "a broker that is hurt loses nothing", run: faults::short },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&str]) -> Result<Option<Vec<&'static str>>> {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let chosen = choose(&arguments)?;
        Ok(chosen.map(|steps| steps.iter().map(|step| step.name).collect()))
    }

    #[test]
    fn steps_run_in_their_order_whatever_was_typed() {
        let all = names(&[]).expect("chosen").expect("steps");
        assert_eq!(all.len(), STEPS.len());
        let two = names(&["--only", "doc", "--only", "format"]).expect("chosen").expect("steps");
        assert_eq!(two, ["format", "doc"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(names(&["--only"]).is_err());
        assert!(names(&["--only", "nothing"]).is_err());
        assert!(names(&["nothing"]).is_err());
        assert!(names(&["--list"]).expect("chosen").is_none());
    }

    #[test]
    fn the_last_line_has_the_promised_form() {
        assert_eq!(last_line(Tally { passed: 12, failed: 0 }), "12 passed, 0 failed");
    }
}
