//! The counts in nextest's JUnit report.

use super::Tally;

/// Reads `tests`, `failures` and `errors` of the outermost element.
pub fn tally(report: &str) -> Option<Tally> {
    let (_, rest) = report.split_once("<testsuites ")?;
    let (element, _) = rest.split_once('>')?;
    let number = |name: &str| -> Option<usize> {
        let (_, value) = element.split_once(&format!("{name}=\""))?;
        value.split('"').next()?.parse().ok()
    };
    let failed = number("failures")? + number("errors")?;
    Some(Tally { passed: number("tests")?.checked_sub(failed)?, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_outermost_element() {
        let report = "<?xml version=\"1.0\"?>\n<testsuites name=\"run\" tests=\"7\" \
                      failures=\"2\" errors=\"1\" uuid=\"x\">\n<testsuite tests=\"1\" \
                      failures=\"0\" errors=\"0\"/></testsuites>";
        assert_eq!(tally(report), Some(Tally { passed: 4, failed: 3 }));
        assert_eq!(tally("nothing"), None);
    }
}
