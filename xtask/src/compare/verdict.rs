//! What the results must say: the promises about speed, as far as they are measured here.

use super::results::{MOSQUITTO, Measured, OURS, Results, Row};
use super::scenario::Scenario;

/// Every promise that the results break; none is what they should say.
pub fn problems(results: &Results, scenarios: &[Scenario]) -> Vec<String> {
    let mut problems = Vec::new();
    for scenario in scenarios {
        let name = &scenario.name;
        let row = results.scenarios.iter().find(|row| &row.scenario == name);
        let Some(row) = row else {
            problems.push(format!("{name}: not measured"));
            continue;
        };
        for broker in [OURS, MOSQUITTO] {
            let applies = broker == OURS || !scenario.tls;
            if applies && !row.brokers.contains_key(broker) {
                problems.push(format!("{name}: {broker} not measured"));
            }
        }
        let Some(ours) = row.brokers.get(OURS) else { continue };
        let found = match scenario {
            Scenario { idle: true, .. } => memory(ours),
            Scenario { tls: true, .. } => None, // there is nobody to compare with
            _ => efficiency(row),
        };
        let found = found.into_iter().chain(integrity(ours));
        problems.extend(found.map(|what| format!("{name}: {what}")));
    }
    problems
}

fn efficiency(row: &Row) -> Option<String> {
    match row.ratio() {
        None => Some("no ratio to Mosquitto".to_owned()),
        Some(ratio) if ratio < 1.0 => {
            Some(format!("{ratio:.3} of Mosquitto's {} per CPU-second", row.unit))
        }
        Some(_) => None,
    }
}

fn memory(ours: &Measured) -> Option<String> {
    match ours.bytes_each {
        None => Some("no memory per connection".to_owned()),
        Some(bytes) if bytes > IDLE_BYTES => {
            Some(format!("{bytes} bytes per connection, limit {IDLE_BYTES}"))
        }
        Some(_) => None,
    }
}

fn integrity(ours: &Measured) -> Option<String> {
    match ours.failures.as_slice() {
        [] => ours.misdeeds(),
        failures => Some(failures.join("; ")),
    }
}

/// Resident memory of an idle connection: 1.0 KiB.
const IDLE_BYTES: f64 = 1024.0;

#[cfg(test)]
pub mod tests {
    use std::path::Path;

    use super::super::results::Surroundings;
    use super::super::{page, scenario};
    use super::*;

    fn scenarios() -> Vec<Scenario> {
        scenario::all(20_000)
    }

    /// Results that keep every promise.
    pub fn good() -> Results {
        let measured = |per_cpu_second: f64| Measured {
            per_cpu_second: Some(per_cpu_second),
            bytes_each: Some(500.0),
            ..Measured::default()
        };
        let row = |scenario: &Scenario| Row {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            generator: scenario.arguments.join(" "),
            unit: "deliveries".to_owned(),
            brokers: [(OURS.to_owned(), measured(2.0)), (MOSQUITTO.to_owned(), measured(1.0))]
                .into(),
            absent: std::collections::BTreeMap::new(),
        };
        Results {
            surroundings: Surroundings::example(),
            rounds: 3,
            quick: false,
            brokers: Vec::new(),
            raised: Vec::new(),
            scenarios: scenarios().iter().map(row).collect(),
        }
    }

    /// Breaks one thing in good results and expects one problem that says so.
    fn expect(scenario: &str, problem: &str, change: impl FnOnce(&mut Row)) {
        let mut results = good();
        let row = results.scenarios.iter_mut().find(|row| row.scenario == scenario);
        change(row.expect("is a scenario"));
        let found = problems(&results, &scenarios());
        let [found] = found.as_slice() else { panic!("one problem, not {found:?}") };
        assert!(found.contains(problem), "{found}");
    }

    fn ours(row: &mut Row) -> &mut Measured {
        row.brokers.get_mut(OURS).expect("is measured")
    }

    #[test]
    fn the_committed_results_keep_every_promise() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let results = Results::load(&root).expect("the results file is committed");
        // A scenario that is new has a row when the whole table is next measured; `--save` writes
        // no part of it.
        let measured =
            |scenario: &Scenario| results.scenarios.iter().any(|row| row.scenario == scenario.name);
        let scenarios: Vec<Scenario> = scenarios().into_iter().filter(measured).collect();
        assert_eq!(problems(&results, &scenarios), [""; 0]);
        assert!(scenarios.len() >= 18, "{} rows", scenarios.len());
    }

    #[test]
    fn the_committed_page_is_made_of_the_committed_results() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let results = Results::load(&root).expect("the results file is committed");
        let committed = std::fs::read_to_string(root.join(page::PATH)).expect("the page too");
        assert_eq!(committed, page::markdown(&results));
    }

    #[test]
    fn good_results_have_no_problem() {
        assert_eq!(problems(&good(), &scenarios()), [""; 0]);
    }

    #[test]
    fn each_broken_promise_is_found() {
        expect("rpc-1", "0.995 of", |row| ours(row).per_cpu_second = Some(0.995));
        expect("rpc-1", "no ratio", |row| ours(row).per_cpu_second = None);
        expect("fanout-q0", "1 lost", |row| ours(row).lost = 1);
        expect("fanout-q0", "2 duplicates", |row| ours(row).duplicates = 2);
        expect("fanout-q0", "3 out of order", |row| ours(row).out_of_order = 3);
        expect("fanout-q0", "4 stalls", |row| ours(row).stalls = 4);
        expect("connect", "5 connections", |row| ours(row).listen_drops = 5);
        expect("fanout-q0", "oh", |row| ours(row).failures = vec!["oh".into()]);
        expect("idle", "1025 bytes", |row| ours(row).bytes_each = Some(1025.0));
        expect("idle", "no memory", |row| ours(row).bytes_each = None);
        expect("idle", "AgentMQ not measured", |row| drop(row.brokers.remove(OURS)));
    }

    #[test]
    fn a_missing_scenario_is_found() {
        let mut results = good();
        results.scenarios.pop();
        assert_eq!(problems(&results, &scenarios()), ["idle: not measured"]);
    }
}
