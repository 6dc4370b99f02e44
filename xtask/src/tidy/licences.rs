//! Licences of third-party crates, and crates that must not be linked at all.
//!
//! `deny.toml` says the same to those who have cargo-deny; a test below holds the two together.

use super::{Violation, spdx};
use crate::workspace::{Linked, Package};

pub fn check(packages: &[Package], linked: &Linked) -> Vec<Violation> {
    let third_party =
        packages.iter().filter(|package| !package.ours && linked.contains_key(&package.name));
    let banned = BANNED.iter().filter_map(|(name, why)| ban(name, why, linked));
    third_party.filter_map(licence).chain(banned).collect()
}

fn licence(package: &Package) -> Option<Violation> {
    let expression = package.license.as_deref().unwrap_or_default();
    if spdx::is_satisfied(expression, LICENCES) {
        return None;
    }
    let Package { name, version, .. } = package;
    let what = format!("{name} {version} has the licence `{expression}`");
    Some(
        Violation::failure("licences", "Cargo.lock", 0, what)
            .why("the whole program is given away under Apache-2.0")
            .fix("use another crate, or add the licence here and in deny.toml"),
    )
}

fn ban(name: &str, why: &'static str, linked: &Linked) -> Option<Violation> {
    let parents: Vec<&str> = linked.get(name)?.iter().map(String::as_str).collect();
    let what = format!("{name} is linked (through {})", parents.join(", "));
    Some(
        Violation::failure("bans", "Cargo.lock", 0, what)
            .why(why)
            .fix("turn off the feature that brings it in (`cargo tree -i` shows which)"),
    )
}

const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const BANNED: &[(&str, &str)] = &[
    ("native-tls", "TLS is rustls, the same on every machine"),
    ("openssl", "TLS is rustls, the same on every machine"),
    ("openssl-sys", "TLS is rustls, the same on every machine"),
    ("ring", "aws-lc-rs is the one crypto provider; two of them quarrel at start"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn third_party(name: &str, license: Option<&str>) -> Package {
        Package { name: name.into(), license: license.map(str::to_owned), ..Package::default() }
    }

    fn linked(name: &str, parents: &[&str]) -> Linked {
        let parents = parents.iter().map(|parent| (*parent).to_owned());
        [(name.to_owned(), parents.collect())].into()
    }

    #[test]
    fn licences_outside_the_list_are_found() {
        let found = |license| check(&[third_party("a", license)], &linked("a", &["b"])).len();
        assert_eq!(found(Some("MIT OR Apache-2.0")), 0);
        assert_eq!(found(Some("AGPL-3.0")), 1);
        assert_eq!(found(None), 1);
        assert_eq!(check(&[third_party("a", None)], &Linked::new()), [], "locked, never built");
    }

    #[test]
    fn banned_crates_are_found_with_those_who_link_them() {
        let found = check(&[third_party("ring", Some("ISC"))], &linked("ring", &["webpki"]));
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("through webpki"), "{found:?}");
    }

    #[test]
    fn deny_toml_says_the_same() {
        let text = include_str!("../../../deny.toml");
        let deny: toml::Table = text.parse().expect("deny.toml is TOML");
        let names = |list: &toml::Value, key: &str| -> Vec<String> {
            let list = list.as_array().expect("a list").iter();
            list.map(|item| item.get(key).unwrap_or(item).as_str().expect("a name").to_owned())
                .collect()
        };
        assert_eq!(names(&deny["licenses"]["allow"], ""), LICENCES);
        let denied = names(&deny["bans"]["deny"], "crate");
        for (name, _) in BANNED {
            assert!(denied.contains(&(*name).to_owned()), "deny.toml does not ban {name}");
        }
    }
}
