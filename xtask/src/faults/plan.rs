//! What the long campaign consists of: the one table of how often each experiment runs.

/// An experiment and its share of the campaign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub experiment: &'static str,
    /// Rounds of the whole campaign.
    pub count: u32,
    /// Rounds of one chunk at most, so that none takes more than a few minutes.
    pub chunk: u32,
    /// Chunks are multiples of this: with less an experiment does not come to all of its cases.
    pub step: u32,
    /// Seconds that a round takes, until the ledger knows it better.
    pub seconds: f64,
}

impl Row {
    /// Rounds of the next chunk if so many are left and there is so much time; none if it is too
    /// short even for the smallest chunk.
    pub fn chunk(&self, left: u32, seconds: f64, seconds_each: f64) -> Option<u32> {
        let wanted = left.min(self.chunk);
        let fitting = (seconds / seconds_each.max(f64::MIN_POSITIVE)) as u32;
        if fitting >= wanted {
            return Some(wanted).filter(|rounds| *rounds > 0);
        }
        Some(fitting / self.step * self.step).filter(|rounds| *rounds > 0)
    }
}

const fn row(experiment: &'static str, count: u32, chunk: u32, step: u32, seconds: f64) -> Row {
    Row { experiment, count, chunk, step, seconds }
}

pub const PLAN: &[Row] = &[
    row("kill-loop", 1000, 60, 20, 1.3),
    row("large-queue", 1000, 1000, 1000, 0.12),
    row("qos2-points", 800, 80, 8, 0.4),
    row("will-pending", 10, 10, 1, 5.0),
    row("absent-client", 50, 50, 1, 0.3),
    row("power-loss", 200, 40, 1, 2.0),
    row("torn-tail", 100, 50, 1, 0.4),
    row("bit-flips", 60, 30, 1, 0.6),
    row("sync-error", 50, 50, 50, 1.5),
    row("disk-full", 20, 20, 20, 8.0),
    row("small-disk", 6, 3, 3, 20.0),
    row("abort-points", 104, 24, 8, 3.0),
    row("no-room", 60, 30, 3, 2.0),
    row("clock-jump", 8, 8, 8, 5.0),
    row("zero-fault", 20, 10, 1, 5.0),
    row("ack-order", 100, 50, 1, 0.5),
    row("audit-order", 100, 50, 1, 1.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_what_is_left_or_what_the_time_suffices_for() {
        let row = row("x", 100, 40, 8, 1.0);
        assert_eq!(row.chunk(100, 600.0, 1.0), Some(40), "no more than one chunk");
        assert_eq!(row.chunk(5, 600.0, 1.0), Some(5), "what is left, all cases or not");
        assert_eq!(row.chunk(100, 30.0, 1.0), Some(24), "whole steps");
        assert_eq!(row.chunk(100, 7.9, 1.0), None);
        assert_eq!(row.chunk(0, 600.0, 1.0), None);
        assert_eq!(row.chunk(100, -1.0, 1.0), None);
    }

    #[test]
    fn chunks_come_to_all_cases_and_to_the_count() {
        for row in PLAN {
            assert_eq!(row.chunk % row.step, 0, "{}", row.experiment);
            assert_eq!(row.count % row.step, 0, "{}", row.experiment);
            // A chunk and its build must fit into the shortest run that is of any use.
            assert!(f64::from(row.chunk) * row.seconds < 300.0, "{}", row.experiment);
        }
    }

    #[test]
    fn every_experiment_is_in_the_plan() {
        let program = include_str!("../../../tests/faults/run.py");
        let (_, table) = program.split_once("EXPERIMENTS = [").expect("a table");
        let (table, _) = table.split_once("\n]").expect("its end");
        let names: Vec<&str> =
            table.lines().filter_map(|line| line.trim().split('"').nth(1)).collect();
        let planned: Vec<&str> = PLAN.iter().map(|row| row.experiment).collect();
        assert_eq!(planned, names);
    }
}
