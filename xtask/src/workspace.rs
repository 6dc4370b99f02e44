//! What cargo knows about the workspace: packages, declared dependencies, the resolved graph.

use std::collections::BTreeMap;
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
}

/// One package of the resolved graph, ours or a third party's.
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
    /// Names of the packages it links in the resolved graph (of any kind).
    pub resolved: Vec<String>,
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
        Self::parse(&text)
    }

    fn parse(metadata: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(metadata).context("parse cargo metadata")?;
        let root = PathBuf::from(text(&value["workspace_root"]));
        let members: Vec<&str> =
            list(&value["workspace_members"]).iter().filter_map(Value::as_str).collect();
        let packages = list(&value["packages"]);
        let names: BTreeMap<&str, &str> = packages
            .iter()
            .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
            .collect();
        let links: BTreeMap<&str, Vec<String>> = list(&value["resolve"]["nodes"])
            .iter()
            .filter_map(|node| {
                let linked = list(&node["deps"]).iter().filter_map(|dep| dep["pkg"].as_str());
                let linked = linked.filter_map(|id| names.get(id)).map(|name| (*name).to_owned());
                Some((node["id"].as_str()?, linked.collect()))
            })
            .collect();
        let packages = packages
            .iter()
            .map(|package| {
                let id = package["id"].as_str().unwrap_or_default();
                let ours = members.contains(&id);
                let resolved = links.get(id).cloned().unwrap_or_default();
                parse_package(package, ours, resolved, &root)
            })
            .collect();
        let target = PathBuf::from(text(&value["target_directory"]));
        Ok(Self { root, target, packages })
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

    /// Builds the broker as users get it and returns the binary's path.
    pub fn build_agentmq(&self) -> Result<PathBuf> {
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

fn parse_package(value: &Value, ours: bool, resolved: Vec<String>, root: &Path) -> Package {
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
        resolved,
        targets,
    }
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
            ],
            "resolve": {"nodes": [{"id": "a 1", "deps": [{"pkg": "b 2"}]}]}
        }"#;
        let workspace = Workspace::parse(metadata).expect("parses");
        let ours: Vec<&Package> = workspace.members().collect();
        let [a] = ours.as_slice() else { panic!("one member, not {ours:?}") };
        assert_eq!(a.manifest, "crates/a/Cargo.toml");
        assert_eq!(a.resolved, ["b"]);
        assert_eq!(a.declared[0], Declared { name: "b".into(), kind: Kind::Normal });
        assert_eq!(a.declared[1], Declared { name: "c".into(), kind: Kind::Dev });
        assert_eq!(a.targets[0], Target { name: "speed".into(), kind: "bench".into() });
    }
}
