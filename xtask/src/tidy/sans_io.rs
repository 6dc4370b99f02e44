//! The protocol crates do no I/O: no sockets, files, clock, randomness or runtime in their sources.
//!
//! Clippy's list (`clippy.toml` of each of these crates) bans the calls; this rule reads the text,
//! so it also sees imports, types and what a macro hides.

use super::source::code_of;
use super::{SourceFile, Violation};

pub fn check(file: &SourceFile) -> Vec<Violation> {
    let of_such_a_crate =
        CRATES.iter().any(|name| file.path.strip_prefix(&format!("crates/{name}/src/")).is_some());
    if !of_such_a_crate || file.extension() != "rs" || file.is_test() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut lines = file.lines().peekable();
    while let Some((number, line)) = lines.next() {
        let opens_tests = |next: &str| next.trim_start().starts_with("mod ") && next.ends_with('{');
        if line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| opens_tests(next))
        {
            break; // tests come last in a file, and may do what they like
        }
        let code = code_of(line);
        for (pattern, instead) in PATTERNS.iter().filter(|(pattern, _)| occurs(code, pattern)) {
            found.push(
                Violation::failure("sans-io", &file.path, number, format!("`{pattern}`"))
                    .why("a core that takes time and bytes as arguments is tested in seconds")
                    .fix(*instead),
            );
        }
    }
    found
}

fn occurs(code: &str, pattern: &str) -> bool {
    code.match_indices(pattern).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code.get(at + pattern.len()..).and_then(|text| text.chars().next());
        let joins = |character: char| character.is_alphanumeric() || character == '_';
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

/// The crates that this rule, and the stricter `clippy.toml`, hold for.
pub const CRATES: &[&str] = &["codec", "topic", "agents", "identity", "quota", "session", "router"];

const PATTERNS: &[(&str, &str)] = &[
    ("Instant::now", "take the time as an argument"),
    ("SystemTime::now", "take the time as an argument"),
    ("std::net", "sockets belong to `net`; address types are in `core::net`"),
    ("std::fs", "files belong to the caller: take bytes as an argument"),
    ("tokio", "runtimes belong to the crates that own one"),
    ("mio", "sockets belong to `net` and `shard`"),
    ("rand", "take randomness as an argument"),
    ("getrandom", "take randomness as an argument"),
    ("std::thread", "threads belong to the caller"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&SourceFile::planted(path, text)).into_iter().map(|found| found.line).collect()
    }

    const NONE: [usize; 0] = [];
    const PATH: &str = "crates/session/src/will.rs";

    #[test]
    fn each_way_out_is_found() {
        for (pattern, _) in PATTERNS {
            assert_eq!(lines(PATH, &format!("fn f() {{}}\nlet x = {pattern}::x();")), [2]);
        }
    }

    #[test]
    fn comments_tests_words_and_other_crates_pass() {
        assert_eq!(
            lines(PATH, "/// Unlike tokio, this has no clock.\nlet operand = strand;"),
            NONE
        );
        assert_eq!(lines(PATH, "#[cfg(test)]\nmod tests {\n    use std::fs;\n}"), NONE);
        assert_eq!(lines(PATH, "#[cfg(test)]\nfn f() { std::fs::read(p) }"), [2]);
        assert_eq!(lines("crates/session/tests/will.rs", "use std::fs;"), NONE);
        assert_eq!(lines("crates/net/src/tcp.rs", "use std::net::TcpStream;"), NONE);
    }
}
