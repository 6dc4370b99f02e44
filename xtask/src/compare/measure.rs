//! Running the load generator against each broker, round after round.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::contender::{Contender, Running};
use super::listen_queue;
use super::percentiles::Latencies;
use super::results::{BrokerVersion, Measured, Results, Row};
use super::scenario::Scenario;
use super::surroundings;
use super::table::FAILED;
use crate::process::{self, Outcome};
use crate::workspace::Workspace;

/// What is measured.
#[derive(Debug)]
pub struct Plan<'a> {
    /// `agentmq`, whose `bench` is the load generator.
    pub binary: &'a Path,
    pub scenarios: &'a [Scenario],
    pub contenders: &'a [Contender],
    pub quick: bool,
}

/// Measures everything. Rounds are outermost and brokers innermost, so that a machine that becomes
/// slower or faster meanwhile does so for all.
pub fn run(workspace: &Workspace, plan: &Plan<'_>) -> Result<Results> {
    let surroundings = surroundings::observe(&workspace.root)?;
    let scratch = workspace.scratch("compare")?;
    let mut cells: BTreeMap<(&str, &str), Cell> = BTreeMap::new();
    let most = plan.scenarios.iter().map(|it| it.rounds).max().unwrap_or_default();
    for round in 0..most {
        for scenario in plan.scenarios.iter().filter(|it| round < it.rounds) {
            // Every other round begins with the other broker.
            let order: Vec<_> = match round % 2 {
                0 => plan.contenders.iter().collect(),
                _ => plan.contenders.iter().rev().collect(),
            };
            for contender in order {
                let cell = cells.entry((&scenario.name, &contender.name)).or_default();
                if contender.lacks(scenario).is_some() {
                    continue;
                }
                let label = format!("{}/{} {:<14}", round + 1, scenario.rounds, scenario.name);
                match measure(plan.binary, scenario, contender, &scratch) {
                    Ok((measured, unit)) => {
                        println!("{label} {:<12} {}", contender.name, line(&measured));
                        cell.rounds.push(measured);
                        cell.unit = unit;
                    }
                    Err(error) => {
                        println!("{label} {:<12} FAILED: {error:#}", contender.name);
                        cell.failures.push(first_line(&error));
                    }
                }
            }
        }
    }
    let configs: Vec<&str> = plan.contenders.iter().filter_map(Contender::config).collect();
    let version = |contender: &Contender| BrokerVersion {
        name: contender.name.clone(),
        version: contender.version(),
    };
    Ok(Results {
        surroundings,
        rounds: plan.scenarios.iter().map(|it| it.rounds).min().unwrap_or_default(),
        quick: plan.quick,
        brokers: plan.contenders.iter().map(version).collect(),
        raised: surroundings::raised(&workspace.root, &configs)?,
        scenarios: plan.scenarios.iter().map(|it| row(it, plan.contenders, &cells)).collect(),
    })
}

/// One broker in one scenario, over all rounds.
#[derive(Debug, Default)]
struct Cell {
    rounds: Vec<Measured>,
    failures: Vec<String>,
    unit: String,
}

fn row(scenario: &Scenario, contenders: &[Contender], cells: &BTreeMap<(&str, &str), Cell>) -> Row {
    let mut row = Row {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        generator: scenario.arguments.join(" "),
        unit: String::new(),
        brokers: BTreeMap::new(),
        absent: BTreeMap::new(),
    };
    for contender in contenders {
        let name = contender.name.clone();
        let cell = cells.get(&(scenario.name.as_str(), name.as_str()));
        let measured = cell.and_then(|cell| Measured::of(&cell.rounds).zip(Some(cell)));
        if let Some((mut measured, cell)) = measured {
            measured.failures.extend(cell.failures.iter().cloned());
            row.unit.clone_from(&cell.unit);
            row.brokers.insert(name, measured);
        } else {
            let failure = || cell.and_then(|cell| cell.failures.first().cloned());
            let why = contender.lacks(scenario).map(str::to_owned).or_else(failure);
            row.absent.insert(name, why.unwrap_or_default());
        }
    }
    row
}

fn measure(
    binary: &Path,
    scenario: &Scenario,
    contender: &Contender,
    scratch: &Path,
) -> Result<(Measured, String)> {
    let broker = contender.start(scenario, scratch)?;
    let before = listen_queue::dropped();
    let (outcome, output) = load(binary, scenario, contender, &broker, scratch)?;
    let dropped = listen_queue::dropped().zip(before).map(|(now, before)| now - before);
    let (mut measured, unit) = parse(&output, scenario.idle)
        .with_context(|| format!("{}\n{}", outcome.reason(), process::last_lines(&output, 5)))?;
    measured.listen_drops = dropped.unwrap_or_default();
    if !outcome.success() {
        measured.failures.push(complaint(&output).unwrap_or_else(|| outcome.reason()));
    }
    Ok((measured, unit))
}

/// Runs the load generator against a broker to its end; returns also what it printed.
pub fn load(
    binary: &Path,
    scenario: &Scenario,
    contender: &Contender,
    broker: &Running,
    scratch: &Path,
) -> Result<(Outcome, String)> {
    let log = scratch.join("generator.log");
    let mut command = Command::new(binary);
    command
        .arg("bench")
        .args(&scenario.arguments)
        .args(contender.generator_arguments(scenario))
        .args(["--url", &format!("{}://{}:{}", broker.scheme, broker.host, broker.port)])
        .args(["--broker-pid", &broker.pid.to_string(), "--json", "--histogram"]);
    if let Some(ca) = &broker.ca {
        command.arg("--ca").arg(ca);
    }
    let outcome = process::run_limited(&mut command, LIMIT, &log)?;
    let output = std::fs::read_to_string(&log).context("read the load generator's output")?;
    Ok((outcome, output))
}

/// The object that the load generator printed, among others that report errors.
pub fn report(output: &str) -> Result<Value> {
    let report = objects(output).find(|object| object["scenario"].is_string());
    report.context("the load generator reported nothing")
}

fn parse(output: &str, idle: bool) -> Result<(Measured, String)> {
    let report = report(output)?;
    let (broker, latency) = (&report["broker"], &report["latency"]);
    let (more, integrity) = (&report["more"], &report["integrity"]);
    let (quiet, beside) = (&report["live"]["quiet"], &report["live"]["busy"]);
    let counts =
        |latency: &Value| serde_json::from_value(latency["histogram"].clone()).unwrap_or_default();
    let number = |value: &Value, what: &str| value.as_f64().with_context(|| what.to_owned());
    let count = |name: &str| integrity[name].as_u64().unwrap_or_default();
    let generator = report["generator_cpu_seconds"].as_f64().zip(report["seconds"].as_f64());
    let busy = generator.map(|(cpu, seconds)| cpu / seconds);
    let each = ["resident_bytes_per_connection", "resident_bytes_per_message"];
    let measured = Measured {
        per_second: number(&report["per_second"], "no rate")?,
        cpu_seconds: number(&broker["cpu_seconds"], "no CPU time")?,
        per_cpu_second: broker["per_cpu_second"].as_f64().filter(|_| !idle),
        per_cpu_second_by_round: Vec::new(),
        p50_us: latency["p50_us"].as_f64(),
        p99_us: latency["p99_us"].as_f64(),
        p99_us_by_round: Vec::new(),
        p999_us: latency["p999_us"].as_f64(),
        latencies: Latencies { own: counts(latency), quiet: counts(quiet), busy: counts(beside) },
        rss_kib: number(&broker["rss_kib"], "no memory")?,
        bytes_each: each.iter().find_map(|name| more[*name].as_f64()),
        live_quiet_p99_us: quiet["p99_us"].as_f64(),
        live_p99_us: beside["p99_us"].as_f64(),
        generator_busy: busy.filter(|share| share.is_finite()),
        lost: count("lost"),
        duplicates: count("duplicates"),
        out_of_order: count("out_of_order"),
        stalls: count("stalls"),
        listen_drops: 0,
        failures: Vec::new(),
    };
    ensure!(idle || report["count"].as_u64() > Some(0), "nothing arrived");
    Ok((measured, report["unit"].as_str().unwrap_or_default().to_owned()))
}

fn complaint(output: &str) -> Option<String> {
    objects(output).find_map(|object| {
        let error = &object["error"];
        let text = error.as_str().or_else(|| error["message"].as_str());
        text.map(str::to_owned)
    })
}

fn objects(output: &str) -> impl Iterator<Item = Value> {
    output.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// A round that gave nothing, as the results file says it.
fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    format!("{FAILED}: {}", text.lines().next().unwrap_or_default())
}

/// One measurement, for who watches.
fn line(measured: &Measured) -> String {
    let rate = measured.per_second;
    let efficiency =
        measured.per_cpu_second.map(|value| format!("{value:>9.0}/CPU-s")).unwrap_or_default();
    let each = measured.bytes_each.map(|value| format!(" {value:.0} B each")).unwrap_or_default();
    let latency = measured.p50_us.zip(measured.p99_us).zip(measured.p999_us);
    let latency = latency
        .map(|((p50, p99), p999)| format!(" {p50:.0}/{p99:.0}/{p999:.0} µs"))
        .unwrap_or_default();
    let misdeeds = measured.misdeeds().map(|what| format!(" {what}")).unwrap_or_default();
    let failures = measured.failures.join("; ");
    format!("{rate:>9.0}/s {efficiency}{each}{latency}{misdeeds} {failures}")
}

/// The slowest scenario of the slowest broker takes half a minute.
const LIMIT: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"{"scenario":"pair","unit":"deliveries","count":9,"per_second":4.5,
        "latency":{"p50_us":1.0,"p99_us":2.0,"p999_us":3.0},"integrity":{"lost":1,"duplicates":2,
        "out_of_order":3,"stalls":4},"seconds":2.0,
        "generator_cpu_seconds":1.0,"broker":{"cpu_seconds":0.5,"per_cpu_second":18.0,"rss_kib":7},
        "live":{"quiet":{"p99_us":5.0},"busy":{"p99_us":9.0,"histogram":[[9000,3]]}},
        "more":{"resident_bytes_per_message":11}}"#;

    #[test]
    fn the_generators_report_is_read() {
        let output = format!("{}\n{{\"error\":\"lost\"}}\n", OUTPUT.replace('\n', ""));
        let (measured, unit) = parse(&output, false).expect("parses");
        assert_eq!(unit, "deliveries");
        assert_eq!((measured.per_second, measured.per_cpu_second), (4.5, Some(18.0)));
        assert_eq!((measured.lost, measured.duplicates, measured.out_of_order), (1, 2, 3));
        assert_eq!((measured.stalls, measured.generator_busy), (4, Some(0.5)));
        assert_eq!((measured.live_quiet_p99_us, measured.live_p99_us), (Some(5.0), Some(9.0)));
        assert_eq!(measured.latencies.busy, [(9_000, 3)]);
        assert_eq!((measured.p999_us, measured.bytes_each), (Some(3.0), Some(11.0)));
        assert_eq!(complaint(&output).as_deref(), Some("lost"));
    }

    #[test]
    fn a_report_without_figures_is_an_error() {
        for output in ["", "error", "{}", r#"{"scenario":"pair","per_second":1.0}"#] {
            assert!(parse(output, false).is_err(), "{output}");
        }
        let nothing = OUTPUT.replace('\n', "").replace("\"count\":9", "\"count\":0");
        assert!(parse(&nothing, false).is_err());
    }
}
