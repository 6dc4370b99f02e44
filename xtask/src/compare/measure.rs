//! Running the load generator against each broker, round after round.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::contender::Contender;
use super::results::{BrokerVersion, Measured, Results, Row};
use super::scenario::Scenario;
use super::surroundings;
use crate::process;
use crate::workspace::Workspace;

/// Measures everything. Rounds are outermost and brokers innermost, so that a machine that becomes
/// slower or faster meanwhile does so for all.
pub fn run(
    workspace: &Workspace,
    binary: &Path,
    scenarios: &[Scenario],
    contenders: &[Contender],
    rounds: usize,
) -> Result<Results> {
    let surroundings = surroundings::observe(&workspace.root)?;
    let scratch = workspace.scratch("bench")?;
    let mut cells: BTreeMap<(&str, &str), Vec<Measured>> = BTreeMap::new();
    let mut failures: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let mut units: BTreeMap<&str, String> = BTreeMap::new();
    for round in 0..rounds {
        for scenario in scenarios {
            // Every other round begins with the other broker.
            let order: Vec<_> = match round % 2 {
                0 => contenders.iter().collect(),
                _ => contenders.iter().rev().collect(),
            };
            for contender in order {
                let cell = measure(binary, scenario, contender, &scratch);
                let label = format!("{}/{rounds} {:<14}", round + 1, scenario.name);
                match cell {
                    Ok((measured, unit)) => {
                        println!("{label} {:<12} {}", contender.name, line(&measured));
                        cells.entry((scenario.name, &contender.name)).or_default().push(measured);
                        units.insert(scenario.name, unit);
                    }
                    Err(error) => {
                        println!("{label} {:<12} FAILED: {error:#}", contender.name);
                        let key = (scenario.name, contender.name.as_str());
                        failures.entry(key).or_default().push(first_line(&error));
                    }
                }
            }
        }
    }
    let row = |scenario: &Scenario| Row {
        scenario: scenario.name.to_owned(),
        about: scenario.about.to_owned(),
        generator: scenario.arguments.join(" "),
        unit: units.get(scenario.name).cloned().unwrap_or_default(),
        brokers: contenders
            .iter()
            .filter_map(|contender| {
                let key = (scenario.name, contender.name.as_str());
                let mut measured = Measured::of(cells.get(&key)?)?;
                measured.failures.extend(failures.get(&key).into_iter().flatten().cloned());
                Some((contender.name.clone(), measured))
            })
            .collect(),
    };
    let version = |contender: &Contender| BrokerVersion {
        name: contender.name.clone(),
        version: contender.version(),
    };
    Ok(Results {
        surroundings,
        rounds,
        brokers: contenders.iter().map(version).collect(),
        raised: surroundings::raised(&workspace.root)?,
        scenarios: scenarios.iter().map(row).collect(),
    })
}

fn measure(
    binary: &Path,
    scenario: &Scenario,
    contender: &Contender,
    scratch: &Path,
) -> Result<(Measured, String)> {
    let broker = contender.start(scratch)?;
    let log = scratch.join("generator.log");
    let mut command = Command::new(binary);
    command
        .arg("bench")
        .args(&scenario.arguments)
        .args(["--url", &format!("mqtt://127.0.0.1:{}", broker.port)])
        .args(["--broker-pid", &broker.pid.to_string(), "--json"]);
    let outcome = process::run_limited(&mut command, LIMIT, &log)?;
    let output = std::fs::read_to_string(&log).context("read the load generator's output")?;
    let (mut measured, unit) = parse(&output, scenario.idle)
        .with_context(|| format!("{}\n{}", outcome.reason(), process::last_lines(&output, 5)))?;
    if !outcome.success() {
        measured.failures.push(complaint(&output).unwrap_or_else(|| outcome.reason()));
    }
    Ok((measured, unit))
}

/// The object that the load generator printed, among others that report errors.
fn parse(output: &str, idle: bool) -> Result<(Measured, String)> {
    let report = objects(output).find(|object| object["scenario"].is_string());
    let report = report.context("the load generator reported nothing")?;
    let (broker, latency) = (&report["broker"], &report["latency"]);
    let (more, integrity) = (&report["more"], &report["integrity"]);
    let number = |value: &Value, what: &str| value.as_f64().with_context(|| what.to_owned());
    let count = |name: &str| integrity[name].as_u64().unwrap_or_default();
    let each = ["resident_bytes_per_connection", "resident_bytes_per_message"];
    let measured = Measured {
        per_second: number(&report["per_second"], "no rate")?,
        cpu_seconds: number(&broker["cpu_seconds"], "no CPU time")?,
        per_cpu_second: broker["per_cpu_second"].as_f64().filter(|_| !idle),
        per_cpu_second_by_round: Vec::new(),
        p50_us: latency["p50_us"].as_f64(),
        p99_us: latency["p99_us"].as_f64(),
        p999_us: latency["p999_us"].as_f64(),
        rss_kib: number(&broker["rss_kib"], "no memory")?,
        bytes_each: each.iter().find_map(|name| more[*name].as_f64()),
        lost: count("lost"),
        duplicates: count("duplicates"),
        out_of_order: count("out_of_order"),
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
    format!("a round failed: {}", text.lines().next().unwrap_or_default())
}

/// One measurement, for who watches.
fn line(measured: &Measured) -> String {
    let rate = measured.per_second;
    let efficiency =
        measured.per_cpu_second.map(|value| format!("{value:>9.0}/CPU-s")).unwrap_or_default();
    let each = measured.bytes_each.map(|value| format!(" {value:.0} B each")).unwrap_or_default();
    let failures = measured.failures.join("; ");
    format!("{rate:>9.0}/s {efficiency}{each} {failures}")
}

/// The slowest scenario takes seconds.
const LIMIT: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"{"scenario":"pair","unit":"deliveries","count":9,"per_second":4.5,
        "latency":{"p50_us":1.0,"p99_us":2.0,"p999_us":3.0},"integrity":{"lost":1,"duplicates":2,
        "out_of_order":3},"broker":{"cpu_seconds":0.5,"per_cpu_second":18.0,"rss_kib":7},
        "more":{"resident_bytes_per_message":11}}"#;

    #[test]
    fn the_generators_report_is_read() {
        let output = format!("{}\n{{\"error\":\"lost\"}}\n", OUTPUT.replace('\n', ""));
        let (measured, unit) = parse(&output, false).expect("parses");
        assert_eq!(unit, "deliveries");
        assert_eq!((measured.per_second, measured.per_cpu_second), (4.5, Some(18.0)));
        assert_eq!((measured.lost, measured.duplicates, measured.out_of_order), (1, 2, 3));
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
