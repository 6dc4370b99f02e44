//! `agentmq limits`: every bound of the broker, and what happens beyond it.

use agentmq_broker::{Config, Limits};
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn run(output: &Output) -> Result<(), Failure> {
    let limits = Config::default().limits;
    let rows: Vec<_> = Limits::TABLE
        .iter()
        .map(|info| {
            let value = limits.get(info.name).unwrap_or(info.default);
            json!({
                "name": info.name,
                "value": value,
                "unit": info.unit,
                "beyond": info.overflow,
            })
        })
        .collect();
    let width = Limits::TABLE.iter().map(|info| info.name.len()).max().unwrap_or_default();
    let lines: Vec<String> = Limits::TABLE
        .iter()
        .map(|info| {
            let value = limits.get(info.name).unwrap_or(info.default);
            format!(
                "{:width$}  {value} {}\n{:width$}  beyond: {}",
                info.name, info.unit, "", info.overflow
            )
        })
        .collect();
    output.result(&lines.join("\n"), &json!(rows))
}
