//! `agentmq config`: check, print and explain the broker's configuration.

use std::path::{Path, PathBuf};

use agentmq_broker::{Config, DEFAULT_TOML, explain, nearest_key, print};
use serde_json::json;

use crate::commands::serve::{config_failure, environment};
use crate::failure::Failure;
use crate::output::Output;

/// Check, print and explain the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say whether a file is valid; every problem with file, line and fix.
    Check {
        /// The file.
        #[arg(default_value = "agentmq.toml")]
        file: PathBuf,
    },
    /// Print the configuration in effect, from file and environment.
    Print {
        /// The file; without it ./agentmq.toml is read if it exists.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Print the commented default file instead: the start of one's own.
        #[arg(long)]
        default: bool,
    },
    /// Say what a key means, what it may be, and what it is.
    Explain {
        /// Such as limits.packet_bytes.
        key: String,
        /// The file; without it ./agentmq.toml is read if it exists.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Check { file } => {
            let config = agentmq_broker::check(&file).map_err(config_failure)?;
            for notice in config.notices() {
                output.note(&format!("note: {notice}"));
            }
            let line = format!("{} is valid", file.display());
            output.result(&line, &json!({ "valid": true, "notices": config.notices() }))
        }
        Action::Print { default: true, .. } => output.raw(DEFAULT_TOML.as_bytes()),
        Action::Print { config, .. } => output.raw(print(&load(config.as_deref())?).as_bytes()),
        Action::Explain { key, config } => {
            let config = load(config.as_deref())?;
            let Some(explanation) = explain(&key, &config) else {
                let fix = nearest_key(&key).map_or_else(
                    || "`agentmq config print --default` shows all keys".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                return Err(Failure::usage(format!("there is no key {key}"), fix));
            };
            let object = json!({
                "key": explanation.key,
                "documentation": explanation.documentation,
                "allowed": explanation.allowed.to_string(),
                "default": explanation.default.as_ref().map(ToString::to_string),
                "variable": explanation.variable,
                "reload": explanation.reload.name(),
            });
            output.result(explanation.to_string().trim_end(), &object)
        }
    }
}

fn load(path: Option<&Path>) -> Result<Config, Failure> {
    let usual = Path::new("agentmq.toml");
    let path = path.or_else(|| usual.exists().then_some(usual));
    Config::load(path, &environment()).map_err(config_failure)
}
