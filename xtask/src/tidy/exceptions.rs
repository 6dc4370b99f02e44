//! Where a rule does not hold, and why.

use super::{Severity, Violation};

/// One file that one rule leaves alone.
#[derive(Debug)]
pub struct Exception {
    pub rule: &'static str,
    pub path: &'static str,
    pub reason: &'static str,
}

/// Drops what is excepted; an exception that excepts nothing is itself a violation.
pub fn apply(found: Vec<Violation>, exceptions: &'static [Exception]) -> Vec<Violation> {
    let matches = |exception: &Exception, violation: &Violation| {
        exception.rule == violation.rule && exception.path == violation.file
    };
    let stale = exceptions
        .iter()
        .filter(|exception| !found.iter().any(|violation| matches(exception, violation)))
        .map(|exception| {
            let Exception { rule, path, reason } = exception;
            let what = format!("the exception of {path} from `{rule}` ({reason}) is not needed");
            Violation::failure("exceptions", THIS_FILE, 0, what)
                .why("an exception that excepts nothing hides the next violation")
                .fix("remove its line")
        });
    let stale: Vec<Violation> = stale.collect();
    let mut kept: Vec<Violation> = found
        .into_iter()
        .filter(|violation| !exceptions.iter().any(|exception| matches(exception, violation)))
        .collect();
    kept.extend(stale);
    kept.sort_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line)));
    debug_assert!(
        kept.iter().all(|violation| {
            violation.severity == Severity::Warning || !violation.fix.is_empty()
        })
    );
    kept
}

const THIS_FILE: &str = "xtask/src/tidy/exceptions.rs";

pub const EXCEPTIONS: &[Exception] = &[Exception {
    rule: "line-width",
    path: "crates/session/src/limits.rs",
    reason: "a table: one limit a line",
}];

#[cfg(test)]
mod tests {
    use super::*;

    static ONE: &[Exception] =
        &[Exception { rule: "words", path: "a.rs", reason: "it is about the word" }];

    fn violation(file: &str) -> Violation {
        Violation::failure("words", file, 1, "what".into()).fix("fix")
    }

    #[test]
    fn an_exception_covers_its_own_file_only() {
        let kept = apply(vec![violation("a.rs"), violation("b.rs")], ONE);
        assert_eq!(kept, [violation("b.rs")]);
    }

    #[test]
    fn an_exception_without_use_is_reported() {
        let kept = apply(vec![], ONE);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].rule, "exceptions");
    }
}
