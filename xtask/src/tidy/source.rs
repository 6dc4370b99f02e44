//! The repository's text files.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// A text file that belongs to the repository.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
}

impl SourceFile {
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub fn extension(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// The lines with their numbers, counted from one.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The file holds tests and nothing else.
    pub fn is_test(&self) -> bool {
        let folders = self.path.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').any(|folder| folder == "tests")
            || self.name() == "tests.rs"
            || self.name().ends_with("_tests.rs")
    }

    #[cfg(test)]
    pub fn planted(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

/// The line without its comment. A `//` within a string cuts too much, which no rule minds.
pub fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Every tracked or new file with an extension that people write by hand.
pub fn load(workspace: &Workspace) -> Result<Vec<SourceFile>> {
    let listed = process::run_quietly(Command::new("git").current_dir(&workspace.root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]))
    .context("tidy reads the list of files from git: run it in a clone")?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| is_handwritten(path)) {
        let Ok(text) = std::fs::read_to_string(workspace.root.join(path)) else {
            continue; // deleted but still in the index, or not text
        };
        files.push(SourceFile { path: path.to_owned(), text });
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

/// The line on which `manifest` names the dependency; 1 if it names it in another way.
pub fn dependency_line(files: &[SourceFile], manifest: &str, dependency: &str) -> usize {
    let Some(file) = files.iter().find(|file| file.path == manifest) else { return 1 };
    let named = |line: &str| {
        let rest = line.trim_start().trim_start_matches('"').strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=', '"']))
    };
    file.lines().find(|(_, line)| named(line)).map_or(1, |(number, _)| number)
}

fn is_handwritten(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let generated = ["Cargo.lock", "package-lock.json", "LICENSE"];
    let unread = ["snap", "lock", "svg", "png", "ico", "woff2", "pem", "der", "bin", "dat"];
    !path.is_empty() && !generated.contains(&name) && !unread.contains(&extension)
}
