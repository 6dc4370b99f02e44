//! The sans-I/O crates carry the same stricter `clippy.toml`.
//!
//! Clippy reads the nearest file and merges nothing, so each of these crates needs the whole list,
//! the workspace's entries included. One file is the original, the others are copies.

use std::fs;

use anyhow::{Context, Result};

use super::{SourceFile, Violation, sans_io};
use crate::workspace::Workspace;

pub fn check(files: &[SourceFile]) -> Vec<Violation> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| &file.text);
    let mut found = Vec::new();
    let Some(original) = text(ORIGINAL) else {
        return vec![report(ORIGINAL, "the original is missing".into())];
    };
    let workspace = text("clippy.toml").map_or("", String::as_str);
    for missing in entries(workspace).filter(|entry| !original.contains(*entry)) {
        found.push(report(ORIGINAL, format!("it does not repeat the workspace's {missing}")));
    }
    for name in sans_io::CRATES {
        let manifest = format!("crates/{name}/Cargo.toml");
        let copy = format!("crates/{name}/clippy.toml");
        if text(&manifest).is_some() && text(&copy) != Some(original) {
            found.push(report(&copy, format!("it is not a copy of {ORIGINAL}")));
        }
    }
    found
}

/// Copies the original to every sans-I/O crate that exists.
pub fn write(workspace: &Workspace) -> Result<()> {
    for name in sans_io::CRATES {
        let folder = workspace.root.join("crates").join(name);
        if folder.join("Cargo.toml").is_file() {
            let copy = folder.join("clippy.toml");
            fs::copy(workspace.root.join(ORIGINAL), &copy)
                .with_context(|| format!("write {}", copy.display()))?;
        }
    }
    Ok(())
}

/// The `{ path = "…", … }` lines and the settings of a clippy.toml, as they are written.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("{ path") || (line.contains(" = ") && !line.ends_with('[')))
}

fn report(file: &str, what: String) -> Violation {
    Violation::failure("clippy-copies", file, 0, what)
        .why("clippy reads the nearest clippy.toml only, and merges nothing")
        .fix(format!("change {ORIGINAL}, then run `cargo xtask tidy --fix`"))
}

const ORIGINAL: &str = "xtask/sans_io.clippy.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(original: &str, copy: Option<&str>) -> Vec<SourceFile> {
        let mut files = vec![
            SourceFile::planted(
                "clippy.toml",
                "a = true\nb = [\n    { path = \"x\", reason = \"y\" },\n]\n",
            ),
            SourceFile::planted(ORIGINAL, original),
            SourceFile::planted("crates/topic/Cargo.toml", ""),
        ];
        files.extend(copy.map(|text| SourceFile::planted("crates/topic/clippy.toml", text)));
        files
    }

    const GOOD: &str = "a = true\nb = [\n    { path = \"x\", reason = \"y\" },\n    more\n]\n";

    #[test]
    fn copies_pass_and_differences_are_found() {
        assert_eq!(check(&planted(GOOD, Some(GOOD))), []);
        assert_eq!(check(&planted(GOOD, None)).len(), 1);
        assert_eq!(check(&planted(GOOD, Some("a = true\n"))).len(), 1);
    }

    #[test]
    fn an_entry_of_the_workspace_that_is_not_repeated_is_found() {
        assert_eq!(check(&planted("a = true\n", Some("a = true\n"))).len(), 1);
        let without_setting = GOOD.replace("a = true\n", "");
        assert_eq!(check(&planted(&without_setting, Some(&without_setting))).len(), 1);
    }
}
