//! Which of our crates may import which third-party crate.
//!
//! What moves fast or weighs much stays behind one door, so that it can be replaced there.

use super::edges::crate_of;
use super::{SourceFile, Violation, source};
use crate::workspace::{Kind, Package};

pub fn check(packages: &[Package], files: &[SourceFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package.manifest.starts_with("crates/")) {
        let importer = crate_of(&package.name).unwrap_or(&package.name);
        for dependency in package.declared.iter().filter(|edge| edge.kind != Kind::Dev) {
            let Some(door) = door(&dependency.name) else { continue };
            if door.open_to.contains(&importer) {
                continue;
            }
            let line = source::dependency_line(files, &package.manifest, &dependency.name);
            let what = format!("`{importer}` imports `{}`", dependency.name);
            let fix = format!("ask one of these for what you need: {}", door.open_to.join(", "));
            found.push(
                Violation::failure("quarantine", &package.manifest, line, what)
                    .why(door.why)
                    .fix(fix),
            );
        }
    }
    found
}

fn door(name: &str) -> Option<&'static Door> {
    DOORS.iter().find(|door| {
        door.crates.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *pattern,
        })
    })
}

/// Third-party crates and the crates of ours that may name them.
#[derive(Debug)]
struct Door {
    /// A trailing `*` stands for any ending.
    crates: &'static [&'static str],
    open_to: &'static [&'static str],
    why: &'static str,
}

const DOORS: &[Door] = &[
    Door {
        crates: &["rustls", "rustls-*", "tokio-rustls", "webpki-roots"],
        open_to: &["net", "client", "peer", "admin", "gateway"],
        why: "TLS is a property of a link",
    },
    Door {
        crates: &["mio"],
        open_to: &["net", "shard", "cli"],
        why: "only event loops wait for sockets: a shard's, and the load generator's",
    },
    Door {
        crates: &["tokio", "tokio-*"],
        open_to: &[
            "client", "cli", "testkit", "admin", "cluster", "gateway", "sdk", "peer", "broker",
        ],
        why: "no runtime runs between packets: the data path is one mio loop per shard",
    },
    Door { crates: &["fjall", "lsm-tree"], open_to: &["store"], why: "the index is replaceable" },
    Door { crates: &["quinn", "quinn-*"], open_to: &["net", "peer"], why: "QUIC is a link" },
    Door {
        crates: &["axum", "axum-*", "hyper", "hyper-*", "tower", "tower-*", "utoipa", "utoipa-*"],
        open_to: &["admin", "gateway"],
        why: "HTTP is spoken at the edge",
    },
    Door {
        crates: &["async-nats"],
        open_to: &["cluster"],
        why: "one machine must never pay for a cluster",
    },
    Door {
        crates: &["rmcp", "rmcp-*", "a2a-*"],
        open_to: &["sdk", "gateway"],
        why: "they move fast",
    },
    Door {
        crates: &["opentelemetry", "opentelemetry-*", "opentelemetry_*", "tracing-opentelemetry"],
        open_to: &["broker"],
        why: "telemetry is assembled in one place",
    },
    Door {
        crates: &["clap", "clap_*", "indicatif"],
        open_to: &["cli"],
        why: "libraries take values, not arguments",
    },
    Door {
        crates: &["anyhow"],
        open_to: &["cli", "testkit"],
        why: "a library has one error enum, with a reason code for each cause",
    },
    Door {
        crates: &["mimalloc", "libmimalloc-sys"],
        open_to: &["cli"],
        why: "the binary chooses the allocator",
    },
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
    fn doors_are_closed_to_others() {
        for door in DOORS {
            for pattern in door.crates {
                let name = pattern.replace('*', "anything");
                assert_eq!(edge("agentmq-codec", &name, Kind::Normal), 1, "{name}");
                for importer in door.open_to {
                    let importer = match *importer {
                        "cli" => "agentmq".to_owned(),
                        library => format!("agentmq-{library}"),
                    };
                    assert_eq!(edge(&importer, &name, Kind::Normal), 0, "{importer} -> {name}");
                }
            }
        }
    }

    #[test]
    fn tests_may_use_anything() {
        assert_eq!(edge("agentmq-shard", "tokio", Kind::Dev), 0);
        assert_eq!(edge("agentmq-shard", "tokio", Kind::Build), 1);
    }

    #[test]
    fn deny_toml_names_the_same_doors() {
        let deny: toml::Table =
            include_str!("../../../deny.toml").parse().expect("deny.toml is TOML");
        let listed = deny["bans"]["deny"].as_array().expect("a list");
        for item in listed.iter().filter(|item| item.get("wrappers").is_some()) {
            let name = item["crate"].as_str().expect("a name");
            let door = door(name).unwrap_or_else(|| panic!("{name} has no door here"));
            let ours: Vec<&str> = item["wrappers"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|wrapper| wrapper.as_str()?.strip_prefix("agentmq-"))
                .collect();
            assert_eq!(ours, door.open_to, "{name}");
        }
    }
}
