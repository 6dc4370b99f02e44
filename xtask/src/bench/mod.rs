//! `cargo xtask bench`: counts the instructions of the hot paths.
//!
//! Brokers that run are measured by `cargo xtask compare`.

mod instructions;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let mut save = false;
    for argument in arguments {
        match argument.as_str() {
            "--save" => save = true,
            other => bail!(
                "bench does not know `{other}`; `cargo xtask help` lists what it does, and running \
                 brokers are measured by `cargo xtask compare`"
            ),
        }
    }
    let worse = instructions::run(workspace, save)?;
    println!("\nbrokers that run, side by side: cargo xtask compare");
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
