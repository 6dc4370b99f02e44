//! Configuration errors: every problem at once, each with the line or the variable that is wrong.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is longer than any configuration.
    #[error("{} is longer than {maximum} bytes: is it the right file?", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// The bound, in bytes.
        maximum: usize,
    },
    /// The settings are wrong: every problem that was found, one per line.
    #[error("{}", lines(problems, *omitted))]
    Invalid {
        /// The problems in the order of the file, then others; at least one.
        problems: Vec<Problem>,
        /// How many more there are.
        omitted: usize,
    },
}

impl ConfigError {
    /// The problems of the settings; empty when the file could not be read at all.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems, .. } => problems,
            Self::Unreadable { .. } | Self::TooLong { .. } => &[],
        }
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is written.
    pub place: Place,
    /// What is wrong and what is allowed. One line.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A position in the file.
    File {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// Neither: a default, or a value that a program has set. The key.
    Key(String),
}

impl Place {
    /// The position of the byte `offset` of `text`, which was read from `file`.
    pub(crate) fn in_file(file: &Path, text: &str, offset: usize) -> Self {
        let offset = (0..=offset.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or_default();
        let before = text.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Self::File { file: file.to_owned(), line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Key(key) => f.write_str(key),
        }
    }
}

/// What a reading of the configuration has found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
    omitted: usize,
}

impl Findings {
    /// Notes a problem. Place and message are only asked for while the list is not full, so that a
    /// hostile file cannot buy more work than its length.
    pub(crate) fn report(
        &mut self,
        place: impl FnOnce() -> Place,
        message: impl FnOnce() -> String,
    ) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(Problem { place: place(), message: message() });
        } else {
            self.omitted += 1;
        }
    }

    /// Notes what is no TOML, in one line.
    pub(crate) fn report_syntax(&mut self, path: &Path, text: &str, error: &toml::de::Error) {
        let at = error.span().map_or(0, |span| span.start);
        let message = || error.message().replace('\n', ", ");
        self.report(|| Place::in_file(path, text, at), message);
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether further problems would only be counted.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS
    }

    /// The verdict.
    pub(crate) fn into_result(mut self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        // A table is read in the order of its names: tell the author in the order of the lines.
        self.problems.sort_by_key(|problem| match problem.place {
            Place::File { line, column, .. } => (0, line, column),
            Place::Environment(_) | Place::Key(_) => (1, 0, 0),
        });
        Err(ConfigError::Invalid { problems: self.problems, omitted: self.omitted })
    }
}

/// `text` as it may stand in a message: between backticks, on one line, not too long.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn lines(problems: &[Problem], omitted: usize) -> String {
    let mut text = problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n");
    if omitted > 0 {
        text.push_str(&format!("\nand {omitted} more"));
    }
    text
}

/// Problems that are told at most.
const PROBLEMS: usize = 50;
/// Characters of a foreign text that a message repeats at most.
const SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let place =
            |offset| Place::in_file(Path::new("a.toml"), "é = 1\nb = 2\n", offset).to_string();
        assert_eq!(place(0), "a.toml:1:1");
        assert_eq!(place(1), "a.toml:1:1", "the middle of a character belongs to its start");
        assert_eq!(place(3), "a.toml:1:3");
        assert_eq!(place(7), "a.toml:2:1");
        assert_eq!(place(1000), "a.toml:3:1");
    }

    #[test]
    fn foreign_text_stays_short_and_on_one_line() {
        assert_eq!(quoted("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), SHOWN + 3);
    }

    #[test]
    fn problems_beyond_the_bound_are_counted() {
        let mut findings = Findings::default();
        for _ in 0..PROBLEMS + 3 {
            findings.report(|| Place::Key("a".into()), || "is wrong".into());
        }
        let error = findings.into_result().expect_err("there are problems");
        assert_eq!(error.problems().len(), PROBLEMS);
        assert!(error.to_string().ends_with("a: is wrong\nand 3 more"), "{error}");
    }
}
