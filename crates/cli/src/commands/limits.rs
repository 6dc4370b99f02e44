//! `agentmq limits`: every bound of the broker, and what happens beyond it.

use std::path::PathBuf;

use agentmq_broker::Limits;
use serde_json::json;

use crate::commands::config::load;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file that may change them; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints the values in effect, from file and environment; the default where it is another one.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let limits = load(args.config.as_deref())?.limits;
    let width = Limits::TABLE.iter().map(|info| info.name.len()).max().unwrap_or_default();
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for info in Limits::TABLE {
        let value = limits.get(info.name).unwrap_or(info.default);
        rows.push(json!({
            "name": info.name,
            "value": value,
            "default": info.default,
            "unit": info.unit,
            "beyond": info.overflow,
        }));
        let changed = if value == info.default {
            String::new()
        } else {
            format!(" (default {})", info.default)
        };
        lines.push(format!("{:width$}  {value} {}{changed}", info.name, info.unit));
        lines.push(format!("{:width$}  beyond: {}", "", info.overflow));
    }
    output.result(&lines.join("\n"), &json!(rows))
}
