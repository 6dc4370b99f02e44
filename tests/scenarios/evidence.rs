//! Tables in docs/ that name the tests by which something is known.

use std::path::{Path, PathBuf};

/// The rows of a table whose first cell begins with one of these, and these cells.
pub(crate) fn rows(document: &str, prefixes: &[&str]) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let id = |row: &str| row.split('|').nth(1).unwrap_or_default().trim().to_owned();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let rows = rows.map(|row| (id(row), row.to_owned()));
    rows.filter(|(id, _)| prefixes.iter().any(|prefix| id.starts_with(prefix))).collect()
}

/// Checks that every test is there which a row names, as `file::name`; how many it names.
pub(crate) fn named_tests(row: &str) -> usize {
    let mut named = 0;
    for test in row.split('`').skip(1).step_by(2).filter(|text| text.contains("::")) {
        let (file, name) = test.rsplit_once("::").unwrap();
        let path = root().join(file);
        let candidates = [path.with_extension("rs"), path.join("main.rs"), path.clone()];
        let file = candidates.into_iter().find(|path: &PathBuf| path.is_file());
        let file = file.unwrap_or_else(|| panic!("{test}: there is no such file"));
        let source = std::fs::read_to_string(file).unwrap();
        assert!(
            source.contains(&format!("fn {name}(")) || source.contains(&format!("\"{name}\"")),
            "{test}"
        );
        named += 1;
    }
    named
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
