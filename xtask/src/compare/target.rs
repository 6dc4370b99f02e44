//! How far ahead of which peer AgentMQ shall be, as data, and whether it is.

use super::results::{FLASHMQ, MOSQUITTO, Measured, ONE_SHARD, OURS, RELAY, Results, Row, SPREAD};

/// One aim: a figure of a scenario beside something else's.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub scenario: &'static str,
    /// Whose figure it is: ours, as it is or with other settings.
    pub who: &'static str,
    pub figure: Figure,
    pub beside: Beside,
    /// Ours is at least so many times the other, or at most where less is better.
    pub factor: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    PerCpuSecond,
    PerSecond,
    P50,
    P99,
    P999,
    BytesEach,
    /// By how much the scenario lengthens the 99th percentile of messages beside it.
    LiveDelay,
}

/// What ours is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    Peer(&'static str),
    /// Whichever peer has the best figure and kept its promises.
    Best,
    Relay,
    /// Our own figure in another scenario.
    Own(&'static str),
    /// Nothing: the factor is the limit itself.
    Nothing,
}

/// A target and what became of it.
#[derive(Debug)]
pub struct Judged {
    pub target: Target,
    pub ours: Option<f64>,
    /// Who the other is, and its figure.
    pub other: Option<(String, f64)>,
}

impl Judged {
    /// Ours divided by the other's.
    pub fn ratio(&self) -> Option<f64> {
        let (ours, (_, other)) = (self.ours?, self.other.as_ref()?);
        Some(ours / other).filter(|ratio| ratio.is_finite())
    }

    /// `None`: one of the two was not measured.
    pub fn met(&self) -> Option<bool> {
        let ratio = self.ratio()?;
        Some(match self.target.figure.more_is_better() {
            true => ratio >= self.target.factor,
            false => ratio <= self.target.factor,
        })
    }
}

impl Judged {
    /// For the terminal.
    pub fn line(&self) -> String {
        let Target { scenario, who, figure, factor, .. } = self.target;
        let sign = if figure.more_is_better() { "≥" } else { "≤" };
        let of = match (&self.other, self.target.beside) {
            (Some((name, _)), _) => name,
            (None, Beside::Peer(name) | Beside::Own(name)) => name,
            (None, Beside::Best) => "the best peer",
            (None, Beside::Relay) => RELAY,
            (None, Beside::Nothing) => "",
        };
        let verdict = match (self.met(), self.ratio()) {
            (Some(true), Some(ratio)) => format!("met: {ratio:.2}"),
            (_, Some(ratio)) => format!("NOT MET: {ratio:.2}"),
            _ => "not judged: a figure is missing".to_owned(),
        };
        format!("{scenario:<14} {who} {} {sign} {factor} {of}: {verdict}", figure.name())
    }
}

impl Figure {
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::PerCpuSecond | Self::PerSecond)
    }

    /// For a reader.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerCpuSecond => "per CPU-second",
            Self::PerSecond => "per second",
            Self::P50 => "p50, µs",
            Self::P99 => "p99, µs",
            Self::P999 => "p99.9, µs",
            Self::BytesEach => "bytes each",
            Self::LiveDelay => "p99 beside it, times the quiet one",
        }
    }

    pub fn of(self, measured: &Measured) -> Option<f64> {
        match self {
            Self::PerCpuSecond => measured.per_cpu_second,
            Self::PerSecond => Some(measured.per_second),
            Self::P50 => measured.p50_us,
            Self::P99 => measured.p99_us,
            Self::P999 => measured.p999_us,
            Self::BytesEach => measured.bytes_each,
            Self::LiveDelay => Some(measured.live_p99_us? / measured.live_quiet_p99_us?),
        }
    }
}

/// Every target beside the figures of its scenario; those of scenarios that were not measured are
/// left out.
pub fn judge(results: &Results) -> Vec<Judged> {
    let row = |name: &str| results.scenarios.iter().find(|row| row.scenario == name);
    let measured = |name: &str| results.brokers.iter().any(|broker| broker.name == name);
    let cores = results.surroundings.cores;
    let shards = measured(ONE_SHARD).then(|| of_shards().chain(of_shards_over_tls(cores)));
    let shards = shards.into_iter().flatten();
    let judged = TARGETS.iter().copied().chain(shards).filter_map(|target| {
        let of = |row: &Row, name: &str| target.figure.of(row.brokers.get(name)?);
        let here = row(target.scenario)?;
        let named = |name: &str| of(here, name).map(|value| (name.to_owned(), value));
        let other = match target.beside {
            Beside::Peer(name) => named(name),
            Beside::Relay => named(RELAY),
            Beside::Best => best(here, target.figure),
            Beside::Own(scenario) => {
                let value = row(scenario).and_then(|row| of(row, OURS));
                value.map(|value| (scenario.to_owned(), value))
            }
            Beside::Nothing => Some((String::new(), 1.0)),
        };
        Some(Judged { target, ours: of(here, target.who), other })
    });
    judged.collect()
}

/// What several shards may cost beside one. Where clients are placed by load they are used only
/// if that pays; where clients are spread by force a batch shares the cost of its hop, and a single
/// message does not.
fn of_shards() -> impl Iterator<Item = Target> {
    let rows = |names: &'static [&'static str], least: f64| {
        names.iter().flat_map(move |scenario| {
            let of = |who, factor| Target {
                who,
                ..target(scenario, Figure::PerCpuSecond, Beside::Peer(ONE_SHARD), factor)
            };
            [of(OURS, 0.95), of(SPREAD, least)]
        })
    };
    rows(BATCHED, 0.85).chain(rows(UNBATCHED, 0.55))
}

/// What a second shard shall bring over TLS: one and a half times the throughput, where it has a
/// core that the load generator leaves alone. Where there are two cores for all three, what they
/// do by the clock is decided by the load generator's share; but two shards that have a core each
/// do one and a half times the work of one if they need at most 4/3 of its time for the same, and
/// that can be measured anywhere (docs/decisions/0007-tls-on-two-cores.md).
fn of_shards_over_tls(cores: usize) -> impl Iterator<Item = Target> {
    OVER_TLS.iter().map(move |scenario| match cores {
        ..=2 => Target {
            who: SPREAD,
            ..target(scenario, Figure::PerCpuSecond, Beside::Peer(ONE_SHARD), 0.75)
        },
        _ => target(scenario, Figure::PerSecond, Beside::Peer(ONE_SHARD), 1.5),
    })
}

/// The best peer that lost, repeated and reordered nothing.
pub fn best(row: &Row, figure: Figure) -> Option<(String, f64)> {
    let sound = |cell: &Measured| cell.lost + cell.duplicates + cell.out_of_order == 0;
    let peers = row.brokers.iter().filter(|(name, _)| !name.starts_with(OURS) && *name != RELAY);
    let sound = peers.filter(|(_, cell)| sound(cell));
    let figures = sound.filter_map(|(name, cell)| Some((name.clone(), figure.of(cell)?)));
    match figure.more_is_better() {
        true => figures.max_by(|one, other| one.1.total_cmp(&other.1)),
        false => figures.min_by(|one, other| one.1.total_cmp(&other.1)),
    }
}

const fn target(scenario: &'static str, figure: Figure, beside: Beside, factor: f64) -> Target {
    Target { scenario, who: OURS, figure, beside, factor }
}

const FLASH: Beside = Beside::Peer(FLASHMQ);

pub const TARGETS: &[Target] = &[
    target("p2p-q0-64", Figure::PerCpuSecond, FLASH, 2.0),
    target("p2p-q1-64", Figure::PerCpuSecond, FLASH, 2.0),
    target("p2p-q2-64", Figure::PerCpuSecond, FLASH, 2.0),
    target("p2p-q0-1k", Figure::PerCpuSecond, FLASH, 1.5),
    target("p2p-q0-16k", Figure::PerCpuSecond, FLASH, 1.5),
    target("p2p-q0-1x500", Figure::PerCpuSecond, Beside::Peer(MOSQUITTO), 1.25),
    target("p2p-q0-1x500", Figure::PerCpuSecond, Beside::Relay, 0.75),
    target("paced10k-q0", Figure::PerCpuSecond, Beside::Best, 1.0),
    target("paced10k-q0", Figure::P50, Beside::Best, 1.1),
    target("paced10k-q0", Figure::P99, Beside::Best, 1.1),
    target("paced10k-q0", Figure::P999, Beside::Best, 1.1),
    target("paced10k-q1", Figure::PerCpuSecond, Beside::Best, 1.0),
    target("paced10k-q1", Figure::P50, Beside::Best, 1.1),
    target("paced10k-q1", Figure::P99, Beside::Best, 1.1),
    target("paced10k-q1", Figure::P999, Beside::Best, 1.1),
    target("rpc-1", Figure::PerCpuSecond, Beside::Best, 1.0),
    target("rpc-1", Figure::P50, Beside::Best, 1.0),
    target("rpc-1", Figure::P99, Beside::Best, 1.0),
    target("rpc-100-q1", Figure::PerCpuSecond, FLASH, 1.5),
    target("churn", Figure::PerCpuSecond, Beside::Own("p2p-q0-64"), 0.8),
    target("fanout-q0", Figure::PerCpuSecond, FLASH, 2.0),
    target("fanout-q0", Figure::PerSecond, Beside::Peer(RUMQTTD), 1.0),
    target("fanout-q1", Figure::PerCpuSecond, FLASH, 1.5),
    target("fanin-q0", Figure::PerCpuSecond, FLASH, 2.0),
    target("shared-q1", Figure::PerCpuSecond, FLASH, 2.0),
    target("subs100k", Figure::PerCpuSecond, FLASH, 2.0),
    target("retained100k", Figure::PerCpuSecond, FLASH, 2.0),
    target("retained100k", Figure::PerSecond, FLASH, 2.0),
    target("retained-live", Figure::LiveDelay, Beside::Nothing, 2.0),
    target("offline50k", Figure::PerCpuSecond, Beside::Peer(RUMQTTD), 1.0),
    target("offline50k", Figure::PerSecond, Beside::Peer(RUMQTTD), 1.0),
    target("connect", Figure::PerCpuSecond, FLASH, 1.0),
    // 0.7 KiB.
    target("idle", Figure::BytesEach, Beside::Nothing, 717.0),
];

/// Many packets in a read.
const BATCHED: &[&str] = &[
    "p2p-q0-64",
    "p2p-q1-64",
    "p2p-q2-64",
    "p2p-q0-1k",
    "p2p-q0-16k",
    "fanout-q0",
    "fanout-q0-16k",
    "fanout-q1",
    "fanin-q0",
    "shared-q1",
    "subs100k",
    "churn",
    "rpc-100-q1",
    "retained100k",
    "offline50k",
];

/// One packet in a read.
const UNBATCHED: &[&str] = &["p2p-q0-1x500", "paced10k-q0", "paced10k-q1", "rpc-1", "connect"];

const OVER_TLS: &[&str] = &["tls-fanout-q0", "tls-fanout-1k", "tls-shared-q0"];

const RUMQTTD: &str = "rumqttd";

#[cfg(test)]
mod tests {
    use super::super::scenario;
    use super::super::verdict::tests::good;
    use super::*;

    fn judged(results: &Results, scenario: &str, figure: Figure) -> Option<bool> {
        let all = judge(results);
        let of = |one: &&Judged| one.target.scenario == scenario && one.target.figure == figure;
        all.iter().find(of).expect("has a target").met()
    }

    #[test]
    fn every_target_is_about_a_scenario() {
        let mut scenarios = scenario::all(20_000);
        scenarios.extend(scenario::over_tls(false));
        let of_shards = of_shards().chain(of_shards_over_tls(2)).chain(of_shards_over_tls(3));
        for target in TARGETS.iter().copied().chain(of_shards) {
            let known = |name: &str| scenarios.iter().any(|scenario| scenario.name == name);
            assert!(known(target.scenario), "{}", target.scenario);
            if let Beside::Own(other) = target.beside {
                assert!(known(other), "{other}");
            }
        }
    }

    #[test]
    fn more_is_better_except_where_less_is() {
        let mut results = good();
        let row = results.scenarios.iter_mut().find(|row| row.scenario == "paced10k-q0");
        let row = row.expect("is a row");
        for (name, p99, per_cpu_second) in [(OURS, 110.0, 2.0), (MOSQUITTO, 100.0, 1.9)] {
            let cell = row.brokers.get_mut(name).expect("is measured");
            (cell.p99_us, cell.per_cpu_second) = (Some(p99), Some(per_cpu_second));
        }
        assert_eq!(judged(&results, "paced10k-q0", Figure::P99), Some(true));
        assert_eq!(judged(&results, "paced10k-q0", Figure::PerCpuSecond), Some(true));
        assert_eq!(judged(&results, "paced10k-q0", Figure::P999), None, "not measured");
        let row = results.scenarios.iter_mut().find(|row| row.scenario == "paced10k-q0");
        let ours = row.and_then(|row| row.brokers.get_mut(OURS)).expect("is measured");
        (ours.p99_us, ours.per_cpu_second) = (Some(111.0), Some(1.8));
        assert_eq!(judged(&results, "paced10k-q0", Figure::P99), Some(false));
        assert_eq!(judged(&results, "paced10k-q0", Figure::PerCpuSecond), Some(false));
        assert_eq!(judged(&results, "p2p-q0-64", Figure::PerCpuSecond), None, "no such peer");
        assert_eq!(judged(&results, "churn", Figure::PerCpuSecond), Some(true));
        assert_eq!(judged(&results, "idle", Figure::BytesEach), Some(true));
    }

    #[test]
    fn shards_are_judged_where_they_were_measured() {
        let mut results = good();
        let of_shards = |results: &Results| {
            let all = judge(results).into_iter();
            all.filter(|one| one.target.beside == Beside::Peer(ONE_SHARD)).collect::<Vec<_>>()
        };
        assert!(of_shards(&results).is_empty());
        for name in [ONE_SHARD, SPREAD] {
            let version = super::super::results::BrokerVersion {
                name: name.to_owned(),
                version: "1".to_owned(),
            };
            results.brokers.push(version);
        }
        for row in &mut results.scenarios {
            let ours = row.brokers.get(OURS).expect("is measured").clone();
            let of = |times: f64| Measured {
                per_cpu_second: ours.per_cpu_second.map(|value| value * times),
                ..ours.clone()
            };
            row.brokers.insert(SPREAD.to_owned(), of(0.8));
            row.brokers.insert(ONE_SHARD.to_owned(), of(1.0));
        }
        let judged = of_shards(&results);
        let met = |who: &str, scenario: &str| {
            let one =
                judged.iter().find(|one| (one.target.who, one.target.scenario) == (who, scenario));
            one.expect("is judged").met()
        };
        assert_eq!(met(OURS, "p2p-q0-64"), Some(true));
        assert_eq!(met(SPREAD, "p2p-q0-64"), Some(false));
        assert_eq!(met(SPREAD, "rpc-1"), Some(true));
    }

    #[test]
    fn throughput_over_tls_is_judged_where_there_is_a_core_for_it() {
        for (cores, who, figure, factor) in
            [(2, SPREAD, Figure::PerCpuSecond, 0.75), (3, OURS, Figure::PerSecond, 1.5)]
        {
            for target in of_shards_over_tls(cores) {
                let found = (target.who, target.figure, target.factor);
                assert_eq!(found, (who, figure, factor), "{cores} cores");
            }
        }
    }

    #[test]
    fn the_best_peer_keeps_its_promises() {
        let mut results = good();
        let row = results.scenarios.first_mut().expect("a row");
        let fast =
            |lost, value| Measured { lost, per_cpu_second: Some(value), ..Measured::default() };
        row.brokers.insert("Fast".to_owned(), fast(0, 7.0));
        row.brokers.insert("Careless".to_owned(), fast(1, 9.0));
        row.brokers.insert(RELAY.to_owned(), fast(0, 99.0));
        assert_eq!(best(row, Figure::PerCpuSecond), Some(("Fast".to_owned(), 7.0)));
    }
}
