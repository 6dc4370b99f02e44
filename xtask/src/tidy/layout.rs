//! File lengths, line lengths and file names.

use super::{Severity, SourceFile, Violation};

pub fn check(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(name(file));
    found.extend(length(file));
    if file.extension() == "rs" {
        found.extend(file.lines().filter_map(|(number, line)| width(file, number, line)));
    }
    found
}

fn name(file: &SourceFile) -> Option<Violation> {
    let empty =
        file.path.split('/').map(|part| part.split('.').next().unwrap_or(part)).find(|part| {
            let part = part.to_ascii_lowercase().replace('-', "_");
            EMPTY_NAMES.iter().any(|empty| part == *empty || part.ends_with(&format!("_{empty}")))
        })?;
    let what = format!("`{empty}` names no concept");
    Some(
        Violation::failure("file-name", &file.path, 0, what)
            .why("a reader finds a thing by the specification's word for it")
            .fix("name the file after what it holds, or move its parts to where they are used"),
    )
}

fn length(file: &SourceFile) -> Option<Violation> {
    let count = file.text.lines().count();
    let (soft, hard) = if file.path == "ARCHITECTURE.md" {
        (ARCHITECTURE_LINES, ARCHITECTURE_LINES)
    } else if !CODE.contains(&file.extension()) {
        return None;
    } else if file.is_test() {
        (TEST_LINES, TEST_LINES)
    } else {
        (SOFT_LINES, HARD_LINES)
    };
    if count <= soft {
        return None;
    }
    let what = format!("{count} lines (good: {soft}, limit: {hard})");
    let mut violation = Violation::failure("file-length", &file.path, count, what)
        .why("a file is one concept that fits in the head")
        .fix("split it along the concepts it holds");
    if count <= hard {
        violation.severity = Severity::Warning;
    }
    Some(violation)
}

fn width(file: &SourceFile, number: usize, line: &str) -> Option<Violation> {
    let count = line.chars().count();
    // A URL cannot be broken.
    if count <= COLUMNS || line.contains("://") {
        return None;
    }
    let what = format!("{count} columns (limit: {COLUMNS})");
    Some(
        Violation::failure("line-width", &file.path, number, what)
            .why("two files fit side by side")
            .fix("break the line; in a string, end it with `\\`"),
    )
}

const SOFT_LINES: usize = 400;
const HARD_LINES: usize = 700;
const TEST_LINES: usize = 900;
const ARCHITECTURE_LINES: usize = 400;
const COLUMNS: usize = 100;
const CODE: &[&str] = &["rs", "py", "js", "mjs", "ts", "tsx", "c", "h", "css"];
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "utilities", "common", "helper", "helpers", "manager", "misc"];

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(&'static str, Severity)> {
        let found = check(&SourceFile::planted(path, text));
        found.into_iter().map(|violation| (violation.rule, violation.severity)).collect()
    }

    #[test]
    fn names_without_a_concept_are_found() {
        for path in ["crates/a/src/utils.rs", "tests/common/mod.rs", "crates/a/src/qos_helper.rs"] {
            assert_eq!(rules(path, ""), [("file-name", Severity::Failure)], "{path}");
        }
        assert_eq!(rules("crates/a/src/retained.rs", ""), []);
        assert_eq!(rules("crates/a/src/miscellany.rs", ""), []);
    }

    #[test]
    fn long_files_are_warned_about_and_then_refused() {
        let path = "crates/a/src/will.rs";
        assert_eq!(rules(path, &"x\n".repeat(400)), []);
        assert_eq!(rules(path, &"x\n".repeat(401)), [("file-length", Severity::Warning)]);
        assert_eq!(rules(path, &"x\n".repeat(701)), [("file-length", Severity::Failure)]);
        assert_eq!(rules("crates/a/tests/will.rs", &"x\n".repeat(900)), []);
        let test = rules("crates/a/tests/will.rs", &"x\n".repeat(901));
        assert_eq!(test, [("file-length", Severity::Failure)]);
        assert_eq!(rules("docs/long.md", &"x\n".repeat(5000)), []);
    }

    #[test]
    fn wide_lines_are_found_but_not_addresses() {
        let path = "crates/a/src/will.rs";
        assert_eq!(rules(path, &"x".repeat(100)), []);
        assert_eq!(rules(path, &"x".repeat(101)), [("line-width", Severity::Failure)]);
        assert_eq!(rules(path, &format!("// https://{}", "x".repeat(100))), []);
    }
}
