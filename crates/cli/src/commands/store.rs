//! `agentmq store`: look at a data directory, and copy it.

use std::path::{Path, PathBuf};

use agentmq_broker::{DataError, Inspection, backup, inspect};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Look at a data directory, and copy it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say what a start would find in a data directory, and fail if any of it is damaged. Changes
    /// nothing.
    Check {
        /// The data directory, which no broker may be using.
        #[arg(value_name = "DIR", default_value = "agentmq-data")]
        data: PathBuf,
    },
    /// Say how much of each file of a data directory still counts. Changes nothing.
    Stats {
        /// The data directory, which no broker may be using.
        #[arg(value_name = "DIR", default_value = "agentmq-data")]
        data: PathBuf,
    },
    /// Copy a data directory, while a broker uses it or not, and check the copy.
    Backup {
        /// The data directory.
        #[arg(value_name = "DIR")]
        data: PathBuf,
        /// Where the copy is to lie: a folder that is not there yet. `agentmq serve --data` starts
        /// from it.
        #[arg(value_name = "COPY")]
        copy: PathBuf,
    },
    /// Make a data directory of a copy, which stays as it is. A damaged copy is refused.
    Restore {
        /// The copy, which no broker may be using.
        #[arg(value_name = "COPY")]
        copy: PathBuf,
        /// The data directory, which may not be there yet.
        #[arg(value_name = "DIR", default_value = "agentmq-data")]
        data: PathBuf,
    },
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Check { data } => {
            let found = inspect(&data).map_err(data_failure)?;
            output.result(&check_text(&data, &found), &check_json(&data, &found))?;
            whole(&data, &found)
        }
        Action::Stats { data } => {
            let found = inspect(&data).map_err(data_failure)?;
            output.result(&stats_text(&found), &stats_json(&data, &found))
        }
        Action::Backup { data, copy } => copied(&data, &copy, output),
        Action::Restore { copy, data } => {
            let found = inspect(&copy).map_err(data_failure)?;
            if !found.is_whole() {
                output.result(&check_text(&copy, &found), &check_json(&copy, &found))?;
                whole(&copy, &found)?;
            }
            copied(&copy, &data, output)
        }
    }
}

/// Copies a data directory, and says what the copy has.
fn copied(from: &Path, to: &Path, output: &Output) -> Result<(), Failure> {
    let copied = backup(from, to).map_err(data_failure)?;
    let found = inspect(to).map_err(data_failure)?;
    let (files, bytes, check) = (copied.segments, copied.bytes, check_text(to, &found));
    let mut object = check_json(to, &found);
    object["bytes"] = json!(bytes);
    output.result(&format!("copied {files} files with {bytes} bytes\n{check}"), &object)?;
    whole(to, &found)
}

/// Damage is a failure, when everything about it has been said.
fn whole(folder: &Path, found: &Inspection) -> Result<(), Failure> {
    if found.is_whole() {
        return Ok(());
    }
    let message = format!("something that was acknowledged cannot be read in {}", folder.display());
    let fix = "a broker that starts from it serves everything else, and keeps the damaged files \
               under a second name (.bad); check the disk";
    Err(Failure::with(Exit::Failed, message, fix))
}

fn check_text(folder: &Path, found: &Inspection) -> String {
    let mut lines = vec![format!(
        "{}: {} sessions, {} subscriptions, {} deliveries of {} messages, {} retained",
        folder.display(),
        found.sessions,
        found.subscriptions,
        found.deliveries,
        found.messages,
        found.retained
    )];
    if found.unfinished > 0 {
        let bytes = found.unfinished;
        lines.push(format!("{bytes} bytes of a commit that was not finished or acknowledged"));
    }
    if found.unknown > 0 {
        lines.push(format!("{} records that this version does not know", found.unknown));
    }
    for damage in &found.damage {
        let records = match damage.records {
            0 => "an unknown number of".to_owned(),
            records => records.to_string(),
        };
        let (file, at, why) = (&damage.file, damage.offset, damage.origin);
        lines.push(format!("damage: {file} at byte {at}: {records} records are lost: {why}"));
    }
    lines.join("\n")
}

fn check_json(folder: &Path, found: &Inspection) -> Value {
    let damage = found.damage.iter().map(|it| {
        let (file, at, records) = (&it.file, it.offset, it.records);
        json!({ "file": file, "at": at, "records": records, "why": it.origin.to_string() })
    });
    json!({
        "data_dir": folder,
        "whole": found.is_whole(),
        "sessions": found.sessions,
        "subscriptions": found.subscriptions,
        "messages": found.messages,
        "deliveries": found.deliveries,
        "retained": found.retained,
        "unfinished_bytes": found.unfinished,
        "unknown_records": found.unknown,
        "damage": damage.collect::<Vec<_>>(),
    })
}

fn stats_text(found: &Inspection) -> String {
    let mut lines = vec![format!("{:<16}{:>14}{:>14}{:>6}", "file", "bytes", "count", "%")];
    let (mut all, mut all_live) = (0, 0);
    for segment in &found.segments {
        lines.push(stats_row(&segment.file, segment.used, segment.live));
        (all, all_live) = (all + segment.used, all_live + segment.live);
    }
    lines.push(stats_row("all", all, all_live));
    lines.join("\n")
}

fn stats_row(name: &str, used: u64, live: u64) -> String {
    let percent = (live * 100).checked_div(used).unwrap_or_default();
    format!("{name:<16}{used:>14}{live:>14}{percent:>6}")
}

fn stats_json(folder: &Path, found: &Inspection) -> Value {
    let segments = found
        .segments
        .iter()
        .map(|it| json!({ "file": it.file, "size": it.size, "used": it.used, "live": it.live }));
    json!({ "data_dir": folder, "segments": segments.collect::<Vec<_>>() })
}

fn data_failure(error: DataError) -> Failure {
    let (exit, fix) = match &error {
        DataError::InUse { .. } => {
            (Exit::Refused, "`agentmq store backup` copies one in use, and the copy can be read")
        }
        DataError::Folder { .. } => (Exit::Failed, "check the path and its permissions"),
        _ => return Failure::new(error.to_string()),
    };
    Failure::with(exit, error.to_string(), fix)
}
