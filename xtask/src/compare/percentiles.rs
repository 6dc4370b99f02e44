//! Percentiles of several rounds together.

use std::collections::BTreeMap;

/// Nanoseconds, and how many took so long.
pub type Counts = Vec<(u64, u64)>;

/// Each latency of a round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latencies {
    /// Of the scenario itself.
    pub own: Counts,
    /// Of messages beside it: before it, and while it ran.
    pub quiet: Counts,
    pub busy: Counts,
}

/// In microseconds; `None` if not every round tells each latency.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percentiles {
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
}

impl Percentiles {
    pub fn of<'a>(rounds: impl IntoIterator<Item = &'a Counts>) -> Self {
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        for round in rounds {
            if round.is_empty() {
                return Self::default();
            }
            for (nanos, count) in round {
                *seen.entry(*nanos).or_default() += count;
            }
        }
        let all: u64 = seen.values().sum();
        let at = |thousandths: u64| {
            // The smallest latency that so many are not above.
            let wanted = (all * thousandths).div_ceil(1_000);
            let mut counted = 0;
            let found = seen.iter().find(|(_, count)| {
                counted += **count;
                counted >= wanted
            });
            found.map(|(nanos, _)| *nanos as f64 / 1e3)
        };
        Self { p50_us: at(500), p99_us: at(990), p999_us: at(999) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_round_of_two_counts_for_half() {
        let quiet = vec![(50_000, 10_000)];
        let paused = vec![(50_000, 9_970), (3_000_000, 30)];
        let of = |rounds: &[&Counts]| Percentiles::of(rounds.iter().copied()).p999_us;
        assert_eq!(of(&[&paused]), Some(3_000.0));
        assert_eq!(of(&[&quiet, &paused]), Some(3_000.0), "30 of 20 000");
        assert_eq!(of(&[&quiet, &quiet, &quiet, &paused]), Some(50.0), "30 of 40 000");
    }

    #[test]
    fn percentiles_are_the_smallest_that_so_many_do_not_exceed() {
        let all = Percentiles::of([&vec![(1_000, 50), (2_000, 49), (3_000, 1)]]);
        let expected = Percentiles { p50_us: Some(1.0), p99_us: Some(2.0), p999_us: Some(3.0) };
        assert_eq!(all, expected);
    }

    #[test]
    fn without_each_latency_of_each_round_there_is_nothing_to_say() {
        let all = Percentiles::of([&vec![(1_000, 1)], &Vec::new()]);
        assert_eq!(all, Percentiles::default());
        assert_eq!(Percentiles::of([]), Percentiles::default());
    }
}
