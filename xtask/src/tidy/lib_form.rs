//! The form of `lib.rs`: purpose, modules, flat re-exports, nothing else.

use super::source::code_of;
use super::{SourceFile, Violation};

pub fn check(file: &SourceFile) -> Vec<Violation> {
    if !file.path.starts_with("crates/") || !file.path.ends_with("/src/lib.rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !file.text.starts_with("//!") {
        found.push(report(file, 1, "no `//!` on the first line".into()));
    }
    let mut lines = file.lines().peekable();
    while let Some((number, line)) = lines.next() {
        let mut item = code_of(line).trim().to_owned();
        if item.is_empty() {
            continue;
        }
        while !is_complete(&item) {
            let Some((_, more)) = lines.next() else { break };
            item.push(' ');
            item.push_str(code_of(more).trim());
        }
        if !is_allowed(&item) {
            let shown: String = item.chars().take(60).collect();
            found.push(report(file, number, format!("`{shown}`")));
        }
    }
    found
}

/// An item ends with its `;`, an attribute with its `]`, anything else with its line.
fn is_complete(item: &str) -> bool {
    let balanced = |open, close| item.matches(open).count() == item.matches(close).count();
    if item.starts_with('#') {
        return balanced('[', ']') && item.trim_end_matches(|c| c != ']').ends_with(']');
    }
    let continues = OPENINGS.iter().any(|opening| item.starts_with(opening));
    !continues || item.contains(';') || (item.contains('{') && !item.contains("use "))
}

fn is_allowed(item: &str) -> bool {
    if item.starts_with('#') {
        // `#[cfg(test)] mod tests;` on one line.
        let rest = item.rsplit_once(']').map_or("", |(_, rest)| rest.trim());
        return rest.is_empty() || is_allowed(rest);
    }
    OPENINGS.iter().any(|opening| item.starts_with(opening))
        && item.ends_with(';')
        && (!item.contains('{') || item.contains("use "))
}

fn report(file: &SourceFile, line: usize, what: String) -> Violation {
    Violation::failure("lib-form", &file.path, line, what)
        .why("lib.rs is a table of contents: doc comment, attributes, `mod`, `pub use`")
        .fix("move it into a file that carries the concept's name")
}

const OPENINGS: &[&str] =
    &["mod ", "pub mod ", "pub(crate) mod ", "pub use ", "pub(crate) use ", "extern crate "];

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(text: &str) -> Vec<usize> {
        let found = check(&SourceFile::planted("crates/a/src/lib.rs", text));
        found.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_table_of_contents_passes() {
        let text = "//! Purpose.\n//!\n//! Callers.\n\n#![forbid(unsafe_code)]\n#![cfg_attr(\n    \
                    not(test),\n    no_std\n)]\n\nmod frame; // cuts\npub mod limits;\n\
                    #[cfg(test)]\nmod tests;\n#[cfg(test)] mod more;\n\npub use frame::{\n    \
                    Frame, // whole\n    Cut,\n};\npub use limits::*;\n";
        assert_eq!(lines(text), NONE);
    }

    #[test]
    fn code_is_found() {
        assert_eq!(lines("//! Purpose.\nuse std::fmt;\n"), [2]);
        assert_eq!(lines("//! Purpose.\nmod a;\npub fn f() {}\n"), [3]);
        assert_eq!(lines("//! Purpose.\nmod a {\n}\n"), [2, 3]);
        assert_eq!(lines("//! Purpose.\npub const A: u8 = 1;\n"), [2]);
        assert_eq!(lines("mod a;\n"), [1]);
    }

    #[test]
    fn other_files_are_left_alone() {
        assert_eq!(check(&SourceFile::planted("crates/a/src/frame.rs", "use std::fmt;")), []);
    }
}
