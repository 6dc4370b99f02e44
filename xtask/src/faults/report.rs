//! What the ledger holds, as tables.

use std::collections::BTreeMap;

use super::ledger::{Entry, Outcome};
use super::plan::Row;

/// The chunks of one experiment on one tree, added up.
struct Sum<'a> {
    row: &'a Row,
    chunks: Vec<&'a Outcome>,
}

impl Sum<'_> {
    fn of(&self, number: impl Fn(&Outcome) -> u64) -> u64 {
        self.chunks.iter().map(|it| number(it)).sum()
    }

    fn cells(&self) -> Vec<String> {
        let rounds = self.of(|it| u64::from(it.done));
        let count = u64::from(self.row.count);
        let rounds = match rounds < count {
            true => format!("{} of {}", spaced(rounds), spaced(count)),
            false => spaced(rounds),
        };
        let failed = self.chunks.iter().filter(|it| !it.is_ok()).count();
        let verdict = match failed {
            _ if self.chunks.is_empty() => "–".to_owned(),
            0 => "ok".to_owned(),
            _ => format!("FAILED in {failed} of {}", self.chunks.len()),
        };
        let numbers = [
            self.of(|it| it.attempted),
            self.of(|it| it.acked),
            self.of(|it| it.delivered),
            self.of(|it| it.lost),
            self.of(|it| it.duplicated),
            self.of(|it| it.reordered),
        ];
        let mut cells = vec![format!("`{}`", self.row.experiment), rounds, self.seeds()];
        cells.extend(numbers.map(spaced));
        cells.push(verdict);
        cells
    }

    fn seeds(&self) -> String {
        let seeds = || self.chunks.iter().map(|it| it.seed);
        match (seeds().min(), seeds().max()) {
            (Some(first), Some(last)) if first < last => format!("{first}–{last}"),
            (Some(only), _) => only.to_string(),
            _ => "–".to_owned(),
        }
    }

    /// Numbers of all chunks added up, or the largest of them; notes without numbers once.
    fn notes(&self) -> String {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        let mut most: BTreeMap<&str, f64> = BTreeMap::new();
        let mut parts: Vec<String> = Vec::new();
        for chunk in &self.chunks {
            for (what, number) in &chunk.sums {
                *sums.entry(what).or_default() += number;
            }
            for (what, number) in &chunk.most {
                let largest = most.entry(what).or_default();
                *largest = largest.max(*number);
            }
        }
        parts.extend(sums.iter().map(|(what, number)| format!("{what}: {}", spaced(*number))));
        parts.extend(most.iter().map(|(what, number)| match number.fract() == 0.0 {
            true => format!("{what}: {}", spaced(*number as u64)),
            false => format!("{what}: {number:.2}"),
        }));
        for note in self.chunks.iter().flat_map(|it| &it.notes) {
            if !parts.contains(note) {
                parts.push(note.clone());
            }
        }
        parts.join("; ")
    }
}

/// Tables and notes in Markdown, for the tree `key`.
pub fn page(plan: &[Row], entries: &[Entry], key: &str) -> String {
    let here = |row: &Row| -> Vec<&Outcome> {
        let of = entries.iter().filter(|it| it.key == key);
        of.map(|it| &it.result).filter(|it| it.experiment == row.experiment).collect()
    };
    let sums: Vec<Sum<'_>> = plan.iter().map(|row| Sum { row, chunks: here(row) }).collect();
    let mut text = String::from(HEAD);
    for sum in &sums {
        text += &format!("| {} |\n", sum.cells().join(" | "));
    }
    text += &format!("\nTree {key:.12}.\n");
    for sum in sums.iter().filter(|it| !it.notes().is_empty()) {
        text += &format!("\n* `{}`: {}.", sum.row.experiment, sum.notes());
    }
    let failed = failed(entries, key);
    if !failed.is_empty() {
        text += &format!("\n\nFailed:\n\n{}", failed.join("\n"));
    }
    let others = entries.iter().filter(|it| it.key != key).count();
    if others > 0 {
        text += &format!("\n\n{others} chunks in the ledger ran on other trees and do not count.");
    }
    text
}

/// Each chunk in which a promise was broken, with the line that repeats it.
pub fn failed(entries: &[Entry], key: &str) -> Vec<String> {
    let failed = entries.iter().filter(|it| it.key == key).map(|it| &it.result);
    let lines = failed.filter(|it| !it.is_ok()).map(|it| {
        let first = it.failures.first().map_or("no reason is known", String::as_str);
        let (name, count, seed) = (&it.experiment, it.count, it.seed);
        format!(
            "* {first} ({} failures): `cargo xtask faults --experiment {name} --count {count} \
             --seed {seed}`",
            it.failures.len()
        )
    });
    lines.collect()
}

/// A number in groups of three digits.
fn spaced(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

const HEAD: &str = "\
| experiment | count | seeds | attempted | acknowledged | delivered | lost | duplicated | \
reordered | verdict |
|---|--:|--:|--:|--:|--:|--:|--:|--:|---|
";

#[cfg(test)]
mod tests {
    use super::super::ledger::tests::entry;
    use super::*;

    const PLAN: &[Row] = &[Row { experiment: "a", count: 30, chunk: 10, step: 1, seconds: 1.0 }];

    #[test]
    fn numbers_are_spaced() {
        let spaced = [0, 999, 1000, 1_234_567].map(spaced);
        assert_eq!(spaced, ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn chunks_of_this_tree_are_added_up() {
        let mut entries = vec![
            entry("old", "a", 10, 2026, "FAILED"),
            entry("k", "a", 10, 2026, "ok"),
            entry("k", "a", 10, 2027, "ok"),
        ];
        entries[1].result.sums.insert("kills".into(), 3);
        entries[2].result.sums.insert("kills".into(), 1001);
        entries[1].result.most.insert("slowest".into(), 0.5);
        entries[2].result.most.insert("slowest".into(), 0.25);
        entries[2].result.most.insert("waiting".into(), 1000.0);
        let text = page(PLAN, &entries, "k");
        let row = "| `a` | 20 of 30 | 2026–2027 | 0 | 200 | 0 | 0 | 0 | 0 | ok |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("* `a`: kills: 1 004; slowest: 0.50; waiting: 1 000."), "{text}");
        assert!(text.contains("1 chunks in the ledger ran on other trees"), "{text}");
        assert!(!text.contains("Failed"), "{text}");
    }

    #[test]
    fn what_has_failed_stays_and_can_be_repeated() {
        let mut entries =
            vec![entry("k", "a", 10, 2026, "FAILED"), entry("k", "a", 10, 2027, "ok")];
        entries[0].result.failures = vec!["round 3: lost".into(), "more".into()];
        let text = page(PLAN, &entries, "k");
        assert!(text.contains("| FAILED in 1 of 2 |"), "{text}");
        let line = "* round 3: lost (2 failures): `cargo xtask faults --experiment a --count 10 \
                    --seed 2026`";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn what_has_not_run_is_seen() {
        let row = "| `a` | 0 of 30 | – | 0 | 0 | 0 | 0 | 0 | 0 | – |";
        assert!(page(PLAN, &[], "k").contains(row));
    }
}
