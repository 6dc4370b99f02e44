//! What cargo knows about the workspace: packages, declared dependencies, what is really linked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process;

/// The workspace as `cargo metadata` describes it.
#[derive(Debug)]
pub struct Workspace {
    pub root: PathBuf,
    /// Cargo's target folder; everything that tasks produce goes below it.
    pub target: PathBuf,
    pub packages: Vec<Package>,
    pub linked: Linked,
}

/// Each package that is built on some platform, with those that link it. `cargo metadata` also
/// lists optional packages that no feature turns on; `cargo tree` does not.
pub type Linked = BTreeMap<String, BTreeSet<String>>;

/// One package of the lock file, ours or a third party's.
#[derive(Debug, Clone, Default)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    pub description: Option<String>,
    /// Path of its `Cargo.toml`, relative to the workspace's root if it is ours.
    pub manifest: String,
    /// Member of the workspace.
    pub ours: bool,
    /// What its manifest declares.
    pub declared: Vec<Declared>,
    pub targets: Vec<Target>,
}

/// A line of a `[dependencies]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    /// For tests and benches only.
    Dev,
}

/// A thing that cargo builds: `lib`, `bin`, `test`, `bench`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub kind: String,
}

impl Workspace {
    pub fn discover() -> Result<Self> {
        let text =
            process::run_quietly(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
        let mut workspace = Self::parse(&text)?;
        let tree = process::run_quietly(cargo().args([
            "tree",
            "--workspace",
            "--locked",
            "--target=all",
            "--edges=all",
            "--prefix=depth",
            "--format= {p}",
        ]))?;
        workspace.linked = parse_tree(&tree);
        Ok(workspace)
    }

    fn parse(metadata: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(metadata).context("parse cargo metadata")?;
        let root = PathBuf::from(text(&value["workspace_root"]));
        let members: Vec<&str> =
            list(&value["workspace_members"]).iter().filter_map(Value::as_str).collect();
        let packages = list(&value["packages"]).iter();
        let packages = packages.map(|package| {
            let id = package["id"].as_str().unwrap_or_default();
            parse_package(package, members.contains(&id), &root)
        });
        let packages = packages.collect();
        let target = PathBuf::from(text(&value["target_directory"]));
        Ok(Self { root, target, packages, linked: Linked::new() })
    }

    /// Our own packages.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.ours)
    }

    /// A folder below the target folder, created.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }

    /// Builds the broker as users get it and returns the binary's path; `AGENTMQ_BIN` names another
    /// binary to use instead.
    pub fn build_agentmq(&self) -> Result<PathBuf> {
        if let Some(binary) = std::env::var_os("AGENTMQ_BIN") {
            return Ok(PathBuf::from(binary));
        }
        let exists = self.members().any(|package| package.name == "agentmq");
        ensure!(exists, "the workspace has no package `agentmq` (crates/cli) yet");
        let built = process::run_visibly(cargo().current_dir(&self.root).args([
            "build",
            "--release",
            "--locked",
            "--package",
            "agentmq",
        ]))?;
        ensure!(built, "`agentmq` does not build: see the compiler's messages above");
        Ok(self.target.join("release").join("agentmq"))
    }
}

/// A cargo command without what the surrounding `cargo run` put into the environment: build scripts
/// that look at such variables would otherwise run again on every switch between shell and xtask.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

fn parse_package(value: &Value, ours: bool, root: &Path) -> Package {
    let manifest = PathBuf::from(text(&value["manifest_path"]));
    let relative = manifest.strip_prefix(root).unwrap_or(&manifest);
    let declared = list(&value["dependencies"])
        .iter()
        .map(|dependency| Declared {
            name: text(&dependency["name"]),
            kind: match dependency["kind"].as_str() {
                Some("dev") => Kind::Dev,
                Some("build") => Kind::Build,
                _ => Kind::Normal,
            },
        })
        .collect();
    let targets = list(&value["targets"])
        .iter()
        .map(|target| Target {
            name: text(&target["name"]),
            kind: list(&target["kind"]).first().map(text).unwrap_or_default(),
        })
        .collect();
    Package {
        name: text(&value["name"]),
        version: text(&value["version"]),
        license: value["license"].as_str().map(str::to_owned),
        description: value["description"].as_str().map(str::to_owned),
        manifest: relative.display().to_string(),
        ours,
        declared,
        targets,
    }
}

/// Reads `cargo tree --prefix=depth`: a line is the depth, the name, and more.
fn parse_tree(tree: &str) -> Linked {
    let mut linked = Linked::new();
    let mut path: Vec<&str> = Vec::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let depth = words.next().and_then(|word| word.parse::<usize>().ok());
        let (Some(depth), Some(name)) = (depth, words.next()) else { continue };
        path.truncate(depth);
        let parents = linked.entry(name.to_owned()).or_default();
        parents.extend(path.last().map(|parent| (*parent).to_owned()));
        path.push(name);
    }
    linked
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_packages_with_their_edges() {
        let metadata = r#"{
            "workspace_root": "/w", "target_directory": "/w/target",
            "workspace_members": ["a 1"],
            "packages": [
                {"id": "a 1", "name": "a", "version": "1.0.0", "license": null,
                 "description": "d", "manifest_path": "/w/crates/a/Cargo.toml",
                 "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}],
                 "targets": [{"name": "speed", "kind": ["bench"]}]},
                {"id": "b 2", "name": "b", "version": "2.0.0", "license": "MIT",
                 "manifest_path": "/elsewhere/Cargo.toml", "dependencies": [], "targets": []}
            ]
        }"#;
        let workspace = Workspace::parse(metadata).expect("parses");
        let ours: Vec<&Package> = workspace.members().collect();
        let [a] = ours.as_slice() else { panic!("one member, not {ours:?}") };
        assert_eq!(a.manifest, "crates/a/Cargo.toml");
        assert_eq!(a.declared[0], Declared { name: "b".into(), kind: Kind::Normal });
        assert_eq!(a.declared[1], Declared { name: "c".into(), kind: Kind::Dev });
        assert_eq!(a.targets[0], Target { name: "speed".into(), kind: "bench".into() });
    }

    #[test]
    fn the_tree_says_who_links_what() {
        let tree =
            "0 a v1.0.0 (/w/crates/a)\n1 b v2.0.0\n2 c v3.0.0\n1 c v3.0.0 (*)\n\n0 d v1.0.0\n";
        let linked = parse_tree(tree);
        assert_eq!(linked.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(linked["c"].iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(linked["d"].is_empty());
    }
}
