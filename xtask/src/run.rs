//! `cargo xtask run`: build the broker and become it.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// Replaces this process by `agentmq dev ARGUMENTS`, so that signals and the exit code are its own.
///
/// `agentmq dev` needs no configuration, binds to loopback, and prints its addresses and what to
/// type next.
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let binary = workspace.build_agentmq()?;
    let error = Command::new(&binary).arg("dev").args(arguments).exec();
    Err(error).with_context(|| format!("start {}", binary.display()))
}
