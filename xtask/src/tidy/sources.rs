//! Third-party crates come from the public registry, and are known by their checksum: nobody can
//! put something else in their place, and nothing comes from a repository that may change.

use super::Violation;
use crate::lock_file::{Locked, locked};

pub fn check(lock_file: &str, ours: &[&str]) -> Vec<Violation> {
    match locked(lock_file) {
        Ok(packages) => packages.iter().filter_map(|package| source(package, ours)).collect(),
        Err(error) => vec![Violation::failure("sources", "Cargo.lock", 0, error.to_string())],
    }
}

fn source(package: &Locked, ours: &[&str]) -> Option<Violation> {
    let Locked { name, version, source, checksum } = package;
    let is_ours = source.is_none() && ours.contains(&name.as_str());
    let is_public = source.as_deref() == Some(REGISTRY) && checksum.is_some();
    if is_ours || is_public {
        return None;
    }
    let from = source.as_deref().unwrap_or("nowhere");
    let what = format!("{name} {version} comes from {from}");
    Some(
        Violation::failure("sources", "Cargo.lock", 0, what)
            .why("only what a registry gives out under a checksum cannot become something else")
            .fix("use a version that is published"),
    )
}

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_from_the_registry_is_found() {
        let package = |name: &str, more: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n{more}\n")
        };
        let found = |text: String| check(&text, &["agentmq"]).len();
        let from_registry = format!("source = \"{REGISTRY}\"");
        assert_eq!(found(package("agentmq", "")), 0);
        assert_eq!(found(package("mio", &format!("{from_registry}\nchecksum = \"ab\""))), 0);
        assert_eq!(found(package("mio", &from_registry)), 1);
        assert_eq!(found(package("mio", "source = \"git+https://x/y#z\"\nchecksum = \"ab\"")), 1);
        assert_eq!(found(package("stranger", "")), 1);
        assert_eq!(found("no lock file".to_owned()), 1);
    }
}
