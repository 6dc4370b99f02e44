//! Which of our crates may import which.

use super::{SourceFile, Violation, source};
use crate::workspace::{Kind, Package};

pub fn check(packages: &[Package], files: &[SourceFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package.manifest.starts_with("crates/")) {
        let Some(place) = crate_of(&package.name).and_then(place) else {
            let what = format!("`{}` is not in the table of crates", package.name);
            found.push(report(&package.manifest, 1, what, "nobody decided who may import it"));
            continue;
        };
        // Tests may use what is built on top of the crate, so dev-dependencies are free.
        for dependency in package.declared.iter().filter(|edge| edge.kind != Kind::Dev) {
            let Some(imported) = crate_of(&dependency.name) else { continue };
            let importer = ORDER.get(place).copied().unwrap_or_default();
            if let Some(why) = forbidden(importer, place, imported) {
                let line = source::dependency_line(files, &package.manifest, &dependency.name);
                let what = format!("`{importer}` imports `{imported}`");
                found.push(report(&package.manifest, line, what, why));
            }
        }
    }
    found
}

/// The reason why one crate must not import the other, if there is one.
fn forbidden(importer: &str, at: usize, imported: &str) -> Option<&'static str> {
    let Some(other) = place(imported) else {
        return Some("it is not in the table of crates");
    };
    if imported == "testkit" {
        return Some("the test kit is for tests: make it a dev-dependency");
    }
    if other >= at {
        return Some("a crate imports only those above it in the table");
    }
    let severed =
        SEVERED.iter().find(|(from, to, _)| from.contains(&importer) && to.contains(&imported));
    severed.map(|(_, _, why)| *why)
}

/// `agentmq-codec` is `codec`; the binary's package `agentmq` is `cli`.
pub fn crate_of(package: &str) -> Option<&str> {
    match package {
        "agentmq" => Some("cli"),
        other => other.strip_prefix("agentmq-"),
    }
}

fn place(name: &str) -> Option<usize> {
    ORDER.iter().position(|listed| *listed == name)
}

fn report(file: &str, line: usize, what: String, why: &'static str) -> Violation {
    Violation::failure("edges", file, line, what).why(why).fix(
        "turn the dependency round, or decide anew in xtask/src/tidy/edges.rs and docs/decisions",
    )
}

/// Import order: a crate may import those before it.
const ORDER: &[&str] = &[
    "codec", "topic", "agents", "identity", "quota", "session", "router", "log", "store", "audit",
    "flow", "net", "shard", "cluster", "admin", "broker", "client", "peer", "sdk", "gateway",
    "cli", "testkit",
];

/// Edges that the order would allow and the design does not.
const SEVERED: &[(&[&str], &[&str], &str)] = &[
    (
        &["net"],
        &[
            "topic", "identity", "quota", "session", "router", "log", "store", "audit", "flow",
            "agents",
        ],
        "`net` moves bytes and never sees a topic",
    ),
    (
        &["client", "peer", "sdk", "gateway"],
        &["router", "log", "store", "audit", "flow", "shard", "cluster", "admin", "broker"],
        "what agents link must not carry the broker",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Declared;

    fn edge(from: &str, to: &str, kind: Kind) -> usize {
        let package = Package {
            name: from.into(),
            manifest: "crates/x/Cargo.toml".into(),
            ours: true,
            declared: vec![Declared { name: to.into(), kind }],
            ..Package::default()
        };
        check(&[package], &[]).len()
    }

    #[test]
    fn the_order_holds() {
        assert_eq!(edge("agentmq-topic", "agentmq-codec", Kind::Normal), 0);
        assert_eq!(edge("agentmq-codec", "agentmq-topic", Kind::Normal), 1);
        assert_eq!(edge("agentmq-codec", "agentmq-topic", Kind::Build), 1);
        assert_eq!(edge("agentmq-codec", "agentmq-topic", Kind::Dev), 0);
        assert_eq!(edge("agentmq-codec", "bytes", Kind::Normal), 0);
        assert_eq!(edge("agentmq", "agentmq-broker", Kind::Normal), 0);
        assert_eq!(edge("agentmq-broker", "agentmq", Kind::Normal), 1);
    }

    #[test]
    fn severed_edges_are_found() {
        assert_eq!(edge("agentmq-net", "agentmq-codec", Kind::Normal), 0);
        assert_eq!(edge("agentmq-net", "agentmq-topic", Kind::Normal), 1);
        assert_eq!(edge("agentmq-client", "agentmq-broker", Kind::Normal), 1);
        assert_eq!(edge("agentmq", "agentmq-testkit", Kind::Normal), 1);
        assert_eq!(edge("agentmq", "agentmq-testkit", Kind::Dev), 0);
    }

    #[test]
    fn a_crate_nobody_placed_is_found() {
        assert_eq!(edge("agentmq-stuff", "bytes", Kind::Normal), 1);
        assert_eq!(edge("agentmq-shard", "agentmq-stuff", Kind::Normal), 1);
    }

    #[test]
    fn the_line_of_the_dependency_is_named() {
        let package = Package {
            name: "agentmq-codec".into(),
            manifest: "crates/codec/Cargo.toml".into(),
            ours: true,
            declared: vec![Declared { name: "agentmq-topic".into(), kind: Kind::Normal }],
            ..Package::default()
        };
        let text = "[dependencies]\nagentmq-topic-extra = \"1\"\nagentmq-topic.workspace = true\n";
        let manifest = SourceFile::planted("crates/codec/Cargo.toml", text);
        assert_eq!(check(&[package], &[manifest])[0].line, 3);
    }
}
