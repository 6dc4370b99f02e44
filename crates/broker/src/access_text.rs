//! A file of `[access]` while it is read: where something is wrong, and what was meant.

use std::path::Path;

use toml::de::DeTable;

use crate::error::{Findings, quoted};
use crate::suggestion::nearest;
use crate::{ConfigError, Place};

/// The text that is being read, and what is wrong with it so far.
pub(crate) struct Reading<'t> {
    text: &'t str,
    path: &'t Path,
    findings: Findings,
}

/// Reads a document, if it is TOML; `path` is only its name in messages. Everything that is wrong
/// is an error.
pub(crate) fn read<'t, T: Default>(
    text: &'t str,
    path: &'t Path,
    document: impl FnOnce(&mut Reading<'t>, &DeTable<'t>) -> T,
) -> Result<T, ConfigError> {
    let mut reading = Reading { text, path, findings: Findings::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reading.findings.report_syntax(path, text, error);
    }
    let mut found = T::default();
    if errors.is_empty() {
        found = document(&mut reading, table.get_ref());
    }
    reading.findings.into_result()?;
    Ok(found)
}

impl Reading<'_> {
    /// Notes what is wrong at a byte of the text.
    pub(crate) fn report(&mut self, offset: usize, message: String) {
        self.findings.report(|| Place::in_file(self.path, self.text, offset), || message);
    }

    /// Notes a key that is none of those that are known.
    pub(crate) fn unknown(&mut self, offset: usize, name: &str, known: &[&str]) {
        let near = nearest(name, known.iter().copied());
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        self.report(offset, format!("{} is not known here{near}", quoted(name)));
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_right(&self) -> bool {
        self.findings.is_empty()
    }
}
