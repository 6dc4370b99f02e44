//! `cargo xtask tidy`: the repository's rules that no compiler knows.
//!
//! Each rule is a file with its table at the bottom and a test that plants a violation. A rule that
//! must not hold for one file gets a line in `exceptions.rs`, with the reason.

mod clippy_copies;
mod edges;
mod exceptions;
mod layout;
mod lib_form;
mod licences;
mod links;
mod manifests;
mod quarantine;
mod sans_io;
mod source;
mod sources;
mod spdx;
mod words;

use std::process::ExitCode;

use anyhow::{Result, bail};

pub use source::SourceFile;

use crate::workspace::Workspace;

/// One broken rule, in the form that is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name, as `exceptions.rs` spells it.
    pub rule: &'static str,
    pub file: String,
    /// Counted from one; 0 if the whole file is meant.
    pub line: usize,
    pub what: String,
    pub why: &'static str,
    pub fix: String,
    pub severity: Severity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Printed, and that is all.
    Warning,
    Failure,
}

/// What one pass found.
#[derive(Debug, Default)]
pub struct Findings {
    pub checked: usize,
    pub warnings: Vec<Violation>,
    pub failures: Vec<Violation>,
}

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    for argument in arguments {
        match argument.as_str() {
            "--fix" => clippy_copies::write(workspace)?,
            other => bail!("tidy knows only --fix, not `{other}`"),
        }
    }
    let findings = check(workspace)?;
    print(&findings);
    Ok(if findings.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every rule over the workspace.
pub fn check(workspace: &Workspace) -> Result<Findings> {
    let files = source::load(workspace)?;
    let mut found = Vec::new();
    for file in &files {
        found.extend(layout::check(file));
        found.extend(words::check(file));
        found.extend(lib_form::check(file));
        found.extend(sans_io::check(file));
    }
    found.extend(clippy_copies::check(&files));
    found.extend(links::check(&files));
    found.extend(edges::check(&workspace.packages, &files));
    found.extend(quarantine::check(&workspace.packages, &files));
    found.extend(licences::check(&workspace.packages, &workspace.linked));
    let lock_file = std::fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let ours: Vec<&str> = workspace.members().map(|package| package.name.as_str()).collect();
    found.extend(sources::check(&lock_file, &ours));
    found.extend(manifests::check(&workspace.packages, &files));
    let found = exceptions::apply(found, exceptions::EXCEPTIONS);
    let (failures, warnings) =
        found.into_iter().partition(|violation| violation.severity == Severity::Failure);
    Ok(Findings { checked: files.len(), warnings, failures })
}

pub fn print(findings: &Findings) {
    let all = findings.warnings.iter().map(|violation| ("warning", violation));
    let all = all.chain(findings.failures.iter().map(|violation| ("error", violation)));
    let mut all = all.peekable();
    while let Some((severity, violation)) = all.next() {
        let Violation { rule, file, line, what, why, fix, .. } = violation;
        println!("{file}:{line}: {severity}[{rule}]: {what}");
        // Said once for a row of the same.
        if all.peek().is_none_or(|(_, next)| (next.why, &next.fix) != (*why, fix)) {
            println!("    why: {why}\n    fix: {fix}");
        }
    }
    println!(
        "tidy: {} files, {} warnings, {} errors",
        findings.checked,
        findings.warnings.len(),
        findings.failures.len()
    );
}

impl Violation {
    fn failure(rule: &'static str, file: &str, line: usize, what: String) -> Self {
        Self {
            rule,
            file: file.to_owned(),
            line,
            what,
            why: "",
            fix: String::new(),
            severity: Severity::Failure,
        }
    }

    fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}
