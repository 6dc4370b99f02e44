//! The lock file: which packages, from where, and by what they are known again.

use anyhow::{Context, Result};
use serde::Deserialize;

/// A package of the lock file.
#[derive(Debug, Clone, Deserialize)]
pub struct Locked {
    pub name: String,
    pub version: String,
    /// `None`: it is ours.
    pub source: Option<String>,
    /// SHA-256 of what the registry gives out.
    pub checksum: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LockFile {
    package: Vec<Locked>,
}

pub fn locked(text: &str) -> Result<Vec<Locked>> {
    let file: LockFile = toml::from_str(text).context("it is no lock file")?;
    Ok(file.package)
}
