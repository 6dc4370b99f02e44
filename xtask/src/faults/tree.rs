//! What a chunk of the campaign has tested: the trees, in git, of everything that decides it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::{Kind, Package, Workspace};

/// The key of what is checked out. An error if it is not what is committed: nobody could say later
/// what has been tested.
pub fn committed(workspace: &Workspace) -> Result<String> {
    let paths = paths(&workspace.packages);
    let changed = git(&workspace.root, ["status", "--porcelain", "--"], &paths)?;
    if let Some(refusal) = refusal(&changed) {
        bail!("{refusal}");
    }
    key(workspace)
}

/// The key of the last commit.
pub fn key(workspace: &Workspace) -> Result<String> {
    let listed = git(&workspace.root, ["ls-tree", "HEAD", "--"], &paths(&workspace.packages))?;
    let file = workspace.scratch("faults")?.join("tree");
    std::fs::write(&file, listed).with_context(|| format!("write {}", file.display()))?;
    Ok(process::run_quietly(Command::new("git").arg("hash-object").arg(&file))?.trim().to_owned())
}

/// Why changes that are not committed are in the way, if there are any.
fn refusal(changed: &str) -> Option<String> {
    let files: Vec<&str> = changed.lines().filter_map(|line| line.get(3..)).collect();
    let (first, more) = (files.first()?, files.len() - 1);
    let others = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "{first}{others} is not committed: what the campaign has counted is kept for the tree that \
         was tested, so commit it or take it back first (`git status` shows all)"
    ))
}

/// The folders of the packages that the broker's program is made of, the experiments, and what
/// decides which other code is built, and how.
fn paths(packages: &[Package]) -> Vec<String> {
    let ours = |name: &str| packages.iter().find(|it| it.ours && it.name == name);
    let (mut found, mut waiting) = (BTreeSet::new(), vec![BROKER]);
    while let Some(name) = waiting.pop() {
        let Some(package) = ours(name) else { continue };
        let folder = package.manifest.trim_end_matches("/Cargo.toml").to_owned();
        if found.insert(folder) {
            let linked = package.declared.iter().filter(|it| it.kind != Kind::Dev);
            waiting.extend(linked.map(|it| it.name.as_str()));
        }
    }
    let others = ["tests/faults", "Cargo.toml", "Cargo.lock"].map(str::to_owned);
    found.into_iter().chain(others).collect()
}

fn git<const N: usize>(root: &Path, words: [&str; N], paths: &[String]) -> Result<String> {
    process::run_quietly(Command::new("git").current_dir(root).args(words).args(paths))
}

/// The package of the broker's program.
const BROKER: &str = "agentmq";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Declared;

    fn package(name: &str, folder: &str, ours: bool, declared: &[(&str, Kind)]) -> Package {
        let declared = declared.iter();
        let declared = declared.map(|(name, kind)| Declared { name: (*name).into(), kind: *kind });
        Package {
            name: name.into(),
            manifest: format!("{folder}/Cargo.toml"),
            ours,
            declared: declared.collect(),
            ..Package::default()
        }
    }

    #[test]
    fn what_the_program_is_made_of_counts_and_nothing_else() {
        let packages = [
            package("agentmq", "crates/cli", true, &[("store", Kind::Normal)]),
            package(
                "store",
                "crates/store",
                true,
                &[("log", Kind::Build), ("testkit", Kind::Dev), ("serde", Kind::Normal)],
            ),
            package("log", "crates/log", true, &[]),
            package("testkit", "crates/testkit", true, &[]),
            package("serde", "elsewhere", false, &[]),
            package("xtask", "xtask", true, &[]),
        ];
        let wanted = ["crates/cli", "crates/log", "crates/store", "tests/faults", "Cargo.toml"];
        assert_eq!(paths(&packages), [&wanted[..], &["Cargo.lock"]].concat());
    }

    #[test]
    fn changes_are_named() {
        assert_eq!(refusal(""), None);
        let one = refusal(" M crates/log/src/log.rs\n").expect("refused");
        assert!(one.starts_with("crates/log/src/log.rs is not committed"), "{one}");
        let more = refusal(" M a\n?? b\nA  c\n").expect("refused");
        assert!(more.starts_with("a and 2 more"), "{more}");
    }
}
