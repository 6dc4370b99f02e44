//! What the tests need and cargo does not bring: Debian packages, Python and Node packages.
//!
//! Debian packages are installed for the machine, everything else below `target/foreign/`. What is
//! there already is left alone.

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
    ("node", "nodejs"),
    ("npm", "npm"),
];

pub fn install(workspace: &Workspace) -> Result<Tally> {
    debian()?;
    if workspace.root.join(FOREIGN).is_dir() {
        python(workspace, &Runtime::PAHO1)?;
        python(workspace, &Runtime::PYTHON)?;
        node(workspace)?;
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

    pub fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.target.join("foreign").join(self.folder)
    }
}

/// Where the Node packages of the scenarios are.
pub fn node_modules(workspace: &Workspace) -> PathBuf {
    workspace.target.join("foreign").join("mqttjs").join("node_modules")
}

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

fn node(workspace: &Workspace) -> Result<()> {
    let sources = workspace.root.join(FOREIGN).join("mqttjs");
    let (package, lock) = (sources.join("package.json"), sources.join("package-lock.json"));
    // A package of ours that stands in for one that the registry does not have.
    let stand_in = ["package.json", "index.js"].map(|file| Path::new(STAND_IN).join(file));
    let modules = node_modules(workspace);
    let folder = modules.parent().context("node_modules has a parent")?;
    let [first, second] = stand_in.each_ref().map(|file| sources.join(file));
    let all = [&package, &lock, &first, &second];
    let Some(wanted) = outdated(&all, folder)? else { return Ok(()) };
    println!("installing the Node packages into {}", folder.display());
    std::fs::create_dir_all(folder.join(STAND_IN))?;
    for file in &stand_in {
        std::fs::copy(sources.join(file), folder.join(file))?;
    }
    std::fs::copy(&package, folder.join("package.json"))?;
    std::fs::copy(&lock, folder.join("package-lock.json"))?;
    process::run_quietly(Command::new("npm").current_dir(folder).args([
        "ci",
        "--no-audit",
        "--no-fund",
    ]))?;
    stamp(folder, &wanted)
}

/// Below the Node scenarios' folder.
const STAND_IN: &str = "packages/mqtt-client";

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
