//! Words that must not be committed: notes to oneself, panics for later, one machine's paths.

use super::{SourceFile, Violation};

pub fn check(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        for word in NOTES.iter().filter(|word| occurs(line, word, is_part_of_word)) {
            let what = format!("`{word}`");
            found.push(
                Violation::failure("words", &file.path, number, what)
                    .why("nobody comes back to it")
                    .fix("do it now, or open an issue and state the limit in plain words"),
            );
        }
        let code = file.extension() == "rs";
        for call in MACROS.iter().filter(|call| code && occurs(line, call, is_part_of_word)) {
            let what = format!("`{call}`");
            found.push(
                Violation::failure("words", &file.path, number, what)
                    .why("it panics, or prints, in front of a user")
                    .fix("write the code, or return an error"),
            );
        }
        for path in PATHS.iter().filter(|path| occurs(line, path, is_part_of_path)) {
            let what = format!("`{path}…` is a path of one machine");
            found.push(
                Violation::failure("words", &file.path, number, what)
                    .why("it does not exist where this is read")
                    .fix("use a path relative to the repository, or a temporary folder"),
            );
        }
    }
    found
}

/// True if `line` contains `word` with nothing before and after it that makes it part of another.
fn occurs(line: &str, word: &str, continues: fn(char) -> bool) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        // A path may go on; a word may not. A macro's `!` ends it by itself.
        let ends = word.ends_with(['/', '!']) || !after.is_some_and(continues);
        !before.is_some_and(continues) && ends
    })
}

fn is_part_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Topics such as `site/home/lamp` and addresses such as `https://x/home/` are no paths of a machine.
fn is_part_of_path(character: char) -> bool {
    character.is_alphanumeric() || "_-.~+#$*}>".contains(character)
}

// Written in two halves, so that this file passes its own rule.
const NOTES: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
const MACROS: &[&str] = &[concat!("to", "do!"), concat!("unimpl", "emented!"), concat!("db", "g!")];
const PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&SourceFile::planted(path, text)).len()
    }

    #[test]
    fn each_word_is_found() {
        for word in NOTES {
            assert_eq!(count("a.md", &format!("see {word}: later")), 1, "{word}");
            assert_eq!(count("a.rs", &format!("MAS{word}")), 0, "{word} within a word");
        }
        for call in MACROS {
            assert_eq!(count("a.rs", &format!("    {call}()")), 1, "{call}");
            assert_eq!(count("a.md", &format!("    {call}()")), 0, "{call} in prose");
        }
        for path in PATHS {
            assert_eq!(count("a.toml", &format!("path = \"{path}x\"")), 1, "{path}");
            assert_eq!(count("a.rs", &format!("\"site{path}lamp\"")), 0, "{path} in a topic");
        }
    }

    #[test]
    fn the_line_is_named() {
        let found = check(&SourceFile::planted("a.rs", &format!("fn a() {{}}\n// {}", NOTES[0])));
        assert_eq!(found[0].line, 2);
    }
}
