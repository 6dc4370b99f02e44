//! What is wrong with a file of devices, and where.

use std::fmt;

/// Everything that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongFile {
    /// The file, as it was named.
    pub file: String,
    /// In the order of its lines; at least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Key, rule and fix, in a line.
    pub what: String,
}

impl Problem {
    /// A problem at a byte of a text.
    pub(crate) fn at(text: &str, offset: usize, what: impl Into<String>) -> Self {
        let end = (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        let before = text.get(..end.unwrap_or_default()).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            what: what.into(),
        }
    }
}

impl fmt::Display for WrongFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Problem { line, column, what }) in self.problems.iter().enumerate() {
            let newline = if number > 0 { "\n" } else { "" };
            write!(f, "{newline}{}:{line}:{column}: {what}", self.file)?;
        }
        Ok(())
    }
}
