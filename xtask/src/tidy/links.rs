//! Links between the repository's pages lead somewhere.

use std::collections::BTreeSet;

use super::{SourceFile, Violation};

pub fn check(files: &[SourceFile]) -> Vec<Violation> {
    let mut places: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    for file in files {
        let folders = file.path.match_indices('/').filter_map(|(at, _)| file.path.get(..at));
        places.extend(folders.map(str::to_owned));
    }
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "md") {
        for (number, line) in file.lines() {
            for target in targets(line).filter(|target| !leads_somewhere(file, target, &places)) {
                let what = format!("`{target}` does not exist");
                found.push(
                    Violation::failure("links", &file.path, number, what)
                        .why("a reader follows it and finds nothing")
                        .fix("name the file where it is now"),
                );
            }
        }
    }
    found
}

/// What the `](…)` of a line link to within the repository.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#', ' ']).next()?;
        let elsewhere = target.contains("://") || target.starts_with("mailto:");
        (!target.is_empty() && !elsewhere).then_some(target)
    })
}

fn leads_somewhere(file: &SourceFile, target: &str, places: &BTreeSet<String>) -> bool {
    let mut path: Vec<&str> = file.path.split('/').collect();
    path.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." if path.pop().is_some() => {}
            ".." => return false,
            name => path.push(name),
        }
    }
    let path = path.join("/");
    path.is_empty() || path == "LICENSE" || places.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let files = [
            SourceFile::planted("docs/page.md", text),
            SourceFile::planted("crates/topic/src/lib.rs", ""),
        ];
        check(&files).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        assert_eq!(lines("[a](gone.md)"), [1]);
        assert_eq!(lines("[a](page.md)\n[b](page.md) [c](../crates/gone)"), [2]);
        assert_eq!(lines("[a](../../outside.md)"), [1]);
    }

    #[test]
    fn files_folders_places_in_a_page_and_addresses_pass() {
        let none: [usize; 0] = [];
        let text = "[a](page.md#part) [b](#part) [c](../crates/topic/src/lib.rs) [d](../crates/)\n\
                    [e](https://x.example/gone.md) [f](../LICENSE) [g](..)";
        assert_eq!(lines(text), none);
    }
}
