//! Reading the results: one JSON object a line and experiment.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::test::Tally;

/// Counts experiments; one that was skipped for want of a tool is neither good nor bad.
pub fn tally(results: &str) -> Result<Tally> {
    let mut tally = Tally::default();
    for line in results.lines() {
        let result: Value = serde_json::from_str(line).context("read a result of tests/faults")?;
        match result["verdict"].as_str() {
            Some("skipped") => {}
            verdict => tally.add(Tally::of(verdict == Some("ok"))),
        }
    }
    ensure!(tally != Tally::default(), "no experiment has run: see the output above");
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_does_not_count() {
        let results = "{\"verdict\":\"ok\"}\n{\"verdict\":\"skipped\"}\n{\"verdict\":\"FAILED\"}\n";
        assert_eq!(tally(results).expect("reads"), Tally { passed: 1, failed: 1 });
    }

    #[test]
    fn nothing_is_not_success() {
        assert!(tally("").is_err());
        assert!(tally("{\"verdict\":\"skipped\"}\n").is_err());
        assert!(tally("Traceback").is_err());
    }
}
