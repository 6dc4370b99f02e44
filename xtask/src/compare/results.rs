//! The committed results file: what was measured, where, and with what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::percentiles::{Latencies, Percentiles};

/// All of `docs/benchmarks.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub surroundings: Surroundings,
    /// Every figure is the median of so many rounds or more, except that losses are the worst of
    /// them, and percentiles are of what all rounds have seen together.
    pub rounds: usize,
    /// True if each measurement was cut short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick: bool,
    pub brokers: Vec<BrokerVersion>,
    /// Settings of the brokers that are not at their default.
    pub raised: Vec<Raised>,
    pub scenarios: Vec<Row>,
}

/// The machine and the day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    pub date: String,
    /// Of this repository.
    pub commit: String,
    pub kernel: String,
    pub processor: String,
    pub cores: usize,
    /// Processes that wanted to run in the minute before: near zero on a quiet machine.
    pub load_before: f64,
}

/// As every page begins its figures, without the full stop.
impl fmt::Display for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, commit, kernel, processor, cores, load_before } = self;
        write!(
            f,
            "Measured on {date} at commit {commit}: {processor}, {cores} cores, {kernel}; load \
             average before the start {load_before:.1}"
        )
    }
}

#[cfg(test)]
impl Surroundings {
    /// Some machine, some day.
    pub fn example() -> Self {
        Self {
            date: "2000-01-01".to_owned(),
            commit: "0000000".to_owned(),
            kernel: "Linux 1".to_owned(),
            processor: "one".to_owned(),
            cores: 2,
            load_before: 0.5,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokerVersion {
    pub name: String,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raised {
    pub file: String,
    pub setting: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    pub value: String,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub scenario: String,
    pub about: String,
    /// The arguments of `agentmq bench`.
    pub generator: String,
    /// What is counted: deliveries, calls or connections.
    pub unit: String,
    /// By broker, and the relay among them.
    pub brokers: BTreeMap<String, Measured>,
    /// Those that could not be measured at all, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub absent: BTreeMap<String, String>,
}

/// One broker in one scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub per_second: f64,
    /// CPU time, user and system, that the broker used in the measured interval.
    pub cpu_seconds: f64,
    /// Absent when nothing flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_cpu_second: Option<f64>,
    /// The same of each round, to show how far they are apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_cpu_second_by_round: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub p99_us_by_round: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<f64>,
    /// One round's latencies. Percentiles of all rounds come from all of them together: a single
    /// pause of the machine decides that of a round.
    #[serde(skip)]
    pub latencies: Latencies,
    /// Resident memory at the end of the interval.
    pub rss_kib: f64,
    /// Resident memory that each connection, or each stored message, added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_each: Option<f64>,
    /// What messages beside the scenario waited, before it and while it ran: the 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_quiet_p99_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_p99_us: Option<f64>,
    /// How much of one core the load generator used. Near 1 it was the load generator that
    /// bounded what was done by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator_busy: Option<f64>,
    pub lost: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
    /// Times that nothing came for 250 ms although messages were under way.
    #[serde(default)]
    pub stalls: u64,
    /// Connections that the kernel turned away, of any listener on the machine, because its queue
    /// was full.
    #[serde(default)]
    pub listen_drops: u64,
    /// What the load generator complained of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

impl Results {
    pub fn load(root: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(root.join(PATH))
            .with_context(|| format!("read {PATH}; `cargo xtask compare --save` writes it"))?;
        serde_json::from_str(&text).context(PATH)
    }

    pub fn save(&self, root: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(root.join(PATH), text).context(PATH)
    }
}

impl Row {
    /// Ours divided by Mosquitto's work per CPU-second.
    pub fn ratio(&self) -> Option<f64> {
        let of = |name| self.brokers.get(name)?.per_cpu_second;
        Some(of(OURS)? / of(MOSQUITTO)?).filter(|ratio| ratio.is_finite())
    }
}

impl Measured {
    /// What went wrong with messages and connections, in words; `None` if nothing did.
    pub fn misdeeds(&self) -> Option<String> {
        let counts = [
            (self.lost, "lost"),
            (self.duplicates, "duplicates"),
            (self.out_of_order, "out of order"),
            (self.stalls, "stalls"),
            (self.listen_drops, "connections turned away"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// The rounds' medians, or their worst.
    pub fn of(rounds: &[Self]) -> Option<Self> {
        let numbers = |of: fn(&Self) -> Option<f64>| rounds.iter().filter_map(of).collect();
        let middle = |of: fn(&Self) -> Option<f64>| median(numbers(of));
        let latencies = || rounds.iter().map(|round| &round.latencies);
        let together = Percentiles::of(latencies().map(|it| &it.own));
        let quiet = Percentiles::of(latencies().map(|it| &it.quiet));
        let busy = Percentiles::of(latencies().map(|it| &it.busy));
        let or_middle = |all: Option<f64>, of| all.or_else(|| middle(of)).map(|it| rounded(it, 1));
        let worst = |of: fn(&Self) -> u64| rounds.iter().map(of).max().unwrap_or_default();
        Some(Self {
            per_second: rounded(middle(|round| Some(round.per_second))?, 0),
            cpu_seconds: rounded(middle(|round| Some(round.cpu_seconds))?, 4),
            per_cpu_second: middle(|round| round.per_cpu_second).map(|value| rounded(value, 0)),
            per_cpu_second_by_round: numbers(|round| round.per_cpu_second)
                .into_iter()
                .map(|value| rounded(value, 0))
                .collect(),
            p50_us: or_middle(together.p50_us, |round| round.p50_us),
            p99_us: or_middle(together.p99_us, |round| round.p99_us),
            p99_us_by_round: numbers(|round| round.p99_us)
                .into_iter()
                .map(|value| rounded(value, 1))
                .collect(),
            p999_us: or_middle(together.p999_us, |round| round.p999_us),
            latencies: Latencies::default(),
            rss_kib: rounded(middle(|round| Some(round.rss_kib))?, 0),
            bytes_each: middle(|round| round.bytes_each).map(|value| rounded(value, 0)),
            live_quiet_p99_us: or_middle(quiet.p99_us, |round| round.live_quiet_p99_us),
            live_p99_us: or_middle(busy.p99_us, |round| round.live_p99_us),
            generator_busy: middle(|round| round.generator_busy).map(|value| rounded(value, 2)),
            lost: worst(|round| round.lost),
            duplicates: worst(|round| round.duplicates),
            out_of_order: worst(|round| round.out_of_order),
            stalls: worst(|round| round.stalls),
            listen_drops: worst(|round| round.listen_drops),
            failures: rounds.iter().flat_map(|round| round.failures.clone()).collect(),
        })
    }
}

/// The lowest and the highest of two rounds or more.
pub fn spread(rounds: &[f64]) -> Option<(f64, f64)> {
    let low = rounds.iter().copied().min_by(f64::total_cmp)?;
    let high = rounds.iter().copied().max_by(f64::total_cmp)?;
    (rounds.len() > 1).then_some((low, high))
}

/// Of an even number of values, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let high = *values.get(values.len() / 2)?;
    let low = *values.get(values.len().checked_sub(1)? / 2)?;
    Some(low.midpoint(high))
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

pub const PATH: &str = "docs/benchmarks.json";
pub const OURS: &str = "AgentMQ";
pub const MOSQUITTO: &str = "Mosquitto";
/// Ours on one shard, whatever the number of cores.
pub const ONE_SHARD: &str = "AgentMQ, 1 shard";
/// Ours on two shards, with clients on each in turn.
pub const SPREAD: &str = "AgentMQ, 2 shards";
/// The peer to beat, with one thread. It is built outside the repository.
pub const FLASHMQ: &str = "FlashMQ";
/// Not a broker: bytes forwarded without MQTT logic.
pub const RELAY: &str = "Relay";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_the_worst() {
        let round = |per_second, lost| Measured { per_second, lost, ..Measured::default() };
        let of = |rounds: &[Measured]| Measured::of(rounds).map(|all| (all.per_second, all.lost));
        assert_eq!(of(&[round(5.0, 0), round(1.0, 7), round(3.0, 0)]), Some((3.0, 7)));
        assert_eq!(of(&[round(1.0, 0), round(3.0, 0)]), Some((2.0, 0)));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_spread_is_that_of_the_rounds() {
        assert_eq!(spread(&[5.0, 1.0, 3.0]), Some((1.0, 5.0)));
        assert_eq!(spread(&[5.0]), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("docs")).expect("docs");
        let results = super::super::verdict::tests::good();
        results.save(folder.path()).expect("saves");
        assert_eq!(Results::load(folder.path()).expect("loads"), results);
    }
}
