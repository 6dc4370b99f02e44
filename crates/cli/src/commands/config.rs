//! `agentmq config`: check, print and explain the broker's configuration.

use std::path::{Path, PathBuf};

use agentmq_broker::{Config, DEFAULT_TOML, Value, explain, key_names, nearest_key, print};
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
        Action::Print { default: true, .. } => print_toml(DEFAULT_TOML, output),
        Action::Print { config, .. } => print_toml(&print(&load(config.as_deref())?), output),
        Action::Explain { key, config } => {
            let config = load(config.as_deref())?;
            let Some(explanation) = explain(&key, &config) else {
                let fix = fix_key(&key);
                return Err(Failure::usage(format!("there is no key {key}"), fix));
            };
            let object = json!({
                "key": explanation.key,
                "documentation": explanation.documentation,
                "allowed": explanation.allowed.to_string(),
                "default": explanation.default.as_ref().map(value_json),
                "now": explanation.current.iter().map(|(owner, value)| {
                    json!({ "of": owner, "value": value_json(value) })
                }).collect::<Vec<_>>(),
                "variable": explanation.variable,
                "reload": explanation.reload.name(),
            });
            output.result(explanation.to_string().trim_end(), &object)
        }
    }
}

/// What to type instead of a key that does not exist.
fn fix_key(key: &str) -> String {
    let table: Vec<String> =
        key_names().into_iter().filter(|name| name.starts_with(&format!("{key}."))).collect();
    if !table.is_empty() {
        return format!("{key} is a table; name one of {}", table.join(", "));
    }
    nearest_key(key).map_or_else(
        || "`agentmq config print --default` shows all keys".to_owned(),
        |near| format!("did you mean {near}?"),
    )
}

fn print_toml(text: &str, output: &Output) -> Result<(), Failure> {
    if !output.json {
        return output.raw(text.as_bytes());
    }
    let object: serde_json::Value = toml::from_str(text)
        .map_err(|error| Failure::new(format!("cannot read our own TOML: {error}")))?;
    output.result("", &object)
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Boolean(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Text(value) => json!(value),
        Value::List(values) => json!(values),
    }
}

pub(crate) fn load(path: Option<&Path>) -> Result<Config, Failure> {
    let usual = Path::new("agentmq.toml");
    let path = path.or_else(|| usual.exists().then_some(usual));
    Config::load(path, &environment()).map_err(config_failure)
}
