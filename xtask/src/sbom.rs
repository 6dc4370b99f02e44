//! `cargo xtask sbom`: what the binary is made of, as a CycloneDX document (version 1.5), for
//! whoever must know whether a flaw in some crate concerns him.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::lock_file::{Locked, locked};
use crate::process;
use crate::workspace::{Workspace, cargo};

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<std::process::ExitCode> {
    let [file] = arguments else { bail!("usage: cargo xtask sbom FILE") };
    // What is linked on any platform, and what builds it; not what only tests use.
    let tree = process::run_quietly(cargo().current_dir(&workspace.root).args([
        "tree",
        "--package=agentmq",
        "--locked",
        "--target=all",
        "--edges=normal,build",
        "--prefix=none",
        "--no-dedupe",
        "--format={p}",
    ]))?;
    let text = std::fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let packages = locked(&text).context("Cargo.lock")?;
    let licences = workspace.packages.iter().map(|package| {
        let key = (package.name.clone(), package.version.clone());
        (key, package.license.clone().unwrap_or_default())
    });
    let document = document(&built(&tree), &packages, &licences.collect())?;
    let text = format!("{}\n", serde_json::to_string_pretty(&document)?);
    std::fs::write(Path::new(file), text).with_context(|| format!("write {file}"))?;
    let count = document["components"].as_array().map_or(0, Vec::len);
    println!("{file}: {count} components");
    Ok(std::process::ExitCode::SUCCESS)
}

/// Name and version.
type Key = (String, String);

/// The packages of `cargo tree`: a line is `name vVERSION`, and more.
fn built(tree: &str) -> BTreeSet<Key> {
    let lines = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    });
    lines.collect()
}

fn document(
    built: &BTreeSet<Key>,
    locked: &[Locked],
    licences: &BTreeMap<Key, String>,
) -> Result<Value> {
    let mut components = Vec::new();
    let mut whole = json!(null);
    for (name, version) in built {
        let key = (name.clone(), version.clone());
        let Some(package) = locked.iter().find(|it| it.name == *name && it.version == *version)
        else {
            bail!("{name} {version} is not in Cargo.lock");
        };
        let licence = licences.get(&key).map_or("", String::as_str);
        let mut component = json!({
            "type": "library",
            "name": name,
            "version": version,
            "licenses": [{ "expression": licence.replace('/', " OR ") }],
        });
        if let Some(checksum) = &package.checksum {
            component["purl"] = json!(format!("pkg:cargo/{name}@{version}"));
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        if name == "agentmq" {
            component["type"] = json!("application");
            whole = component;
        } else {
            components.push(component);
        }
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": whole },
        "components": components,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_says_what_it_is_and_how_to_know_it_again() {
        let tree = "agentmq v0.1.0 (/w/crates/cli)\nmio v1.2.0\nmio v1.2.0 (*)\n\n";
        let lock = concat!(
            "[[package]]\nname = \"agentmq\"\nversion = \"0.1.0\"\n",
            "[[package]]\nname = \"mio\"\nversion = \"1.2.0\"\nsource = \"registry+x\"\n",
            "checksum = \"ab\"\n"
        );
        let licences = BTreeMap::from([(("mio".into(), "1.2.0".into()), "MIT/Apache-2.0".into())]);
        let locked = locked(lock).expect("is one");
        let document = document(&built(tree), &locked, &licences).expect("all are there");
        assert_eq!(document["metadata"]["component"]["name"], "agentmq");
        assert_eq!(
            document["components"],
            json!([{
                "type": "library", "name": "mio", "version": "1.2.0",
                "purl": "pkg:cargo/mio@1.2.0",
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                "hashes": [{ "alg": "SHA-256", "content": "ab" }],
            }])
        );
        assert!(self::document(&built("other v1.0.0"), &locked, &licences).is_err());
    }
}
