//! What the tests need and cargo does not bring: Debian packages, Python and Node packages.
//!
//! Debian packages are installed for the machine, everything else below `target/foreign/`, Node
//! itself included, which is a Python package. What is there already is left alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Tally;
use crate::process;
use crate::workspace::Workspace;

/// A program and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("mosquitto", "mosquitto"),
    ("mosquitto_pub", "mosquitto-clients"),
    ("chromium", "chromium"),
    ("python3", "python3"),
    ("strace", "strace"),
    ("faketime", "faketime"),
];

pub fn install(workspace: &Workspace) -> Result<Tally> {
    debian()?;
    if workspace.root.join(FOREIGN).is_dir() {
        python(workspace, &Runtime::PAHO1)?;
        python(workspace, &Runtime::PYTHON)?;
        for packages in NODE_PACKAGES {
            node(workspace, packages)?;
        }
    }
    Ok(Tally::of(true))
}

/// True if this Debian package is one that [`install`] sees to.
pub fn knows(package: &str) -> bool {
    PROGRAMS.iter().any(|(_, known)| *known == package)
}

/// A Python environment of the scenarios.
#[derive(Debug)]
pub struct Runtime {
    /// Folder below `target/foreign/`.
    folder: &'static str,
    /// File in `tests/foreign/`.
    requirements: &'static str,
}

impl Runtime {
    pub const PAHO1: Self = Self { folder: "python-paho1", requirements: "requirements-paho1.txt" };
    pub const PYTHON: Self = Self { folder: "python", requirements: "requirements.txt" };

    fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.target.join("foreign").join(self.folder)
    }

    /// `python`, `node` and every installed script then mean the environment's.
    pub fn enter(&self, workspace: &Workspace, command: &mut Command) -> Result<()> {
        let folder = self.folder(workspace);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let first = std::iter::once(folder.join("bin"));
        let joined = std::env::join_paths(first.chain(std::env::split_paths(&path)))
            .context("put a Python environment on the search path")?;
        command.env("PATH", joined).env("VIRTUAL_ENV", folder).env("PYTHONUNBUFFERED", "1");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(())
    }
}

/// Where the Node packages of the scenarios are, as Node's own search path.
pub fn node_path(workspace: &Workspace) -> Result<OsString> {
    let folders = NODE_PACKAGES.iter().map(|packages| {
        workspace.target.join("foreign").join(packages.folder).join("node_modules")
    });
    std::env::join_paths(folders).context("make a search path of Node packages")
}

/// A folder in `tests/foreign/` with a `package.json`, and below `target/foreign/` with what that
/// lists.
struct NodePackages {
    folder: &'static str,
    /// Files of packages of ours that stand in for some that the registry does not have.
    stand_ins: &'static [&'static str],
}

const NODE_PACKAGES: &[NodePackages] = &[
    NodePackages {
        folder: "mqttjs",
        stand_ins: &["packages/mqtt-client/package.json", "packages/mqtt-client/index.js"],
    },
    NodePackages { folder: "mcpjs", stand_ins: &[] },
];

fn debian() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !process::installed(program))
        .map(|(_, package)| *package)
        .collect();
    // Debian's Python comes without the part that makes environments.
    if process::run_quietly(Command::new("python3").args(["-c", "import ensurepip"])).is_err() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let by_hand = format!("sudo apt-get install --no-install-recommends -y {packages}");
    if !process::installed("apt-get") {
        bail!("missing: {packages}. Install these with your package manager");
    }
    let user = process::run_quietly(Command::new("id").arg("-u"))?;
    if user.trim() != "0" {
        bail!("missing: {packages}. Run: {by_hand}");
    }
    println!("installing {packages}");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    process::run_quietly(apt().args(["update", "-q"]))?;
    process::run_quietly(
        apt().args(["install", "-q", "-y", "--no-install-recommends"]).args(&missing),
    )
    .map(|_| ())
}

fn python(workspace: &Workspace, runtime: &Runtime) -> Result<()> {
    let requirements = workspace.root.join(FOREIGN).join(runtime.requirements);
    let folder = runtime.folder(workspace);
    let Some(wanted) = outdated(&[&requirements], &folder)? else { return Ok(()) };
    println!("installing {} into {}", runtime.requirements, folder.display());
    process::run_quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    process::run_quietly(
        Command::new(folder.join("bin").join("python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg("--requirement")
            .arg(&requirements),
    )?;
    stamp(&folder, &wanted)
}

/// With the npm, and so the Node, of the Python environment.
fn node(workspace: &Workspace, packages: &NodePackages) -> Result<()> {
    let sources = workspace.root.join(FOREIGN).join(packages.folder);
    let folder = workspace.target.join("foreign").join(packages.folder);
    let files = ["package.json", "package-lock.json"].iter().chain(packages.stand_ins);
    let files: Vec<&str> = files.copied().collect();
    let paths: Vec<PathBuf> = files.iter().map(|file| sources.join(file)).collect();
    let Some(wanted) = outdated(&paths.iter().collect::<Vec<_>>(), &folder)? else { return Ok(()) };
    println!("installing the Node packages into {}", folder.display());
    for file in files {
        let copy = folder.join(file);
        std::fs::create_dir_all(copy.parent().context("a file is in a folder")?)?;
        std::fs::copy(sources.join(file), copy)?;
    }
    let mut npm = Command::new("npm");
    Runtime::PYTHON.enter(workspace, &mut npm)?;
    process::run_quietly(npm.current_dir(&folder).args(["ci", "--no-audit", "--no-fund"]))?;
    stamp(&folder, &wanted)
}

/// The text of `sources` if it is not what `folder` was installed from.
fn outdated(sources: &[&PathBuf], folder: &Path) -> Result<Option<String>> {
    let mut wanted = String::new();
    for source in sources {
        let text = std::fs::read_to_string(source);
        wanted.push_str(&text.with_context(|| format!("read {}", source.display()))?);
    }
    let installed = std::fs::read_to_string(folder.join(STAMP)).unwrap_or_default();
    Ok((installed != wanted).then_some(wanted))
}

/// Written last, so that an installation that was interrupted is done again.
fn stamp(folder: &Path, wanted: &str) -> Result<()> {
    std::fs::write(folder.join(STAMP), wanted).context("write the stamp of an installation")
}

const FOREIGN: &str = "tests/foreign";
const STAMP: &str = ".installed-from";
