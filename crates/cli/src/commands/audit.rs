//! `agentmq audit`: read the audit log, and check that it is as it was written.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use agentmq_broker::{Head, RowOfFile, Rows, seen_by_its_own, verify};
use agentmq_topic::{matches, overlaps};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde_json::{Map, Value, json};

use crate::commands::config::load;
use crate::failure::{Exit, Failure};
use crate::output::{Output, harmless, harmless_json};
use crate::time_arg::TimeArg;

/// Read the audit log, and check that it is as it was written.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the last rows.
    Tail {
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        /// Go on with those that come.
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        log: Log,
    },
    /// Print the rows that fit, the oldest first.
    Search {
        #[command(flatten)]
        wanted: Box<Wanted>,
        /// At most so many, the newest.
        #[arg(short = 'n', long, default_value_t = 1_000)]
        limit: usize,
        #[command(flatten)]
        log: Log,
    },
    /// Check that no row was changed, moved, added or removed. Exit code 1: one was.
    Verify {
        /// A row that it must have, as $SYS/audit/head told it: who can write the log can write it
        /// anew, but not one that has this row.
        #[arg(long = "head", value_name = "ROW:HASH")]
        heads: Vec<Head>,
        #[command(flatten)]
        log: Log,
    },
}

/// Where the log is.
#[derive(Debug, clap::Args)]
struct Log {
    /// The data directory; without it that of the configuration (data_dir).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which rows. All that is given must fit.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// Of this kind: connect, disconnect, authenticate, refuse, publish, subscribe, token, change,
    /// reload, start, stop.
    #[arg(long)]
    kind: Option<String>,
    /// Of the client of this identifier.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Of this agent (agent_id).
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Of this name or user (user_id).
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Of this organisation (org_id).
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// From this address.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// About a topic that this filter matches, or a filter that has one in common with it.
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// Not older: a time such as 2026-01-31 or 2026-01-31T12:00Z, or how long ago (2h).
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArg>,
    /// Older: like --since.
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArg>,
    /// With this text anywhere.
    #[arg(value_name = "TEXT")]
    text: Option<String>,
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Tail { lines, follow, log } => tail(lines, follow, &log.folder()?, output),
        Action::Search { wanted, limit, log } => search(&wanted, limit, &log.folder()?, output),
        Action::Verify { heads, log } => {
            let folder = log.folder()?;
            let verified = verify(&folder, &heads).map_err(|error| unreadable(&folder, &error))?;
            let verified = verified.map_err(|broken| {
                let fix = "compare it with a copy; rows before that one are as they were written";
                Failure::with(Exit::Failed, broken.to_string(), fix)
            })?;
            let (first, head) = (verified.first, verified.head);
            let object = json!({
                "first": first, "last": head.row, "head": head.to_string(),
                "unfinished_bytes": verified.unfinished,
            });
            output.result(&verified.to_string(), &object)
        }
    }
}

impl Log {
    fn folder(&self) -> Result<PathBuf, Failure> {
        let folder = match &self.data {
            Some(data) => data.join("audit"),
            None => load(self.config.as_deref())?.audit_folder().ok_or_else(|| {
                let fix = "set audit.enabled, or give the data directory of one by --data";
                Failure::usage("this configuration keeps no audit log", fix)
            })?,
        };
        if !folder.is_dir() {
            let what = format!("there is no audit log in {}", folder.display());
            return Err(Failure::usage(what, "start a broker with it, or give another --data"));
        }
        Ok(folder)
    }
}

fn tail(lines: usize, follow: bool, folder: &Path, output: &Output) -> Result<(), Failure> {
    let failed = |error: io::Error| unreadable(folder, &error);
    let mut rows = Rows::last(folder, lines as u64).map_err(failed)?;
    let mut last = VecDeque::new();
    for row in &mut rows {
        last.push_back(row.map_err(failed)?);
        if last.len() > lines {
            last.pop_front();
        }
    }
    last.iter().try_for_each(|row| print(row, output))?;
    if follow { follow_on(rows, folder, output) } else { Ok(()) }
}

/// Prints rows as they come, until somebody ends it.
fn follow_on(mut rows: Rows, folder: &Path, output: &Output) -> Result<(), Failure> {
    let failed = |error: io::Error| unreadable(folder, &error);
    let watch = inotify::init(CreateFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    inotify::add_watch(&watch, folder, WatchFlags::MODIFY | WatchFlags::CREATE)
        .map_err(|error| failed(error.into()))?;
    let mut events = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut events);
    loop {
        rows.look_again(folder).map_err(failed)?;
        for row in &mut rows {
            print(&row.map_err(failed)?, output)?;
        }
        if rows.has_missed() {
            output.note("rows were removed before they could be read: see audit.max_bytes");
        }
        events.next().map_err(|error| failed(error.into()))?;
    }
}

fn search(wanted: &Wanted, limit: usize, folder: &Path, output: &Output) -> Result<(), Failure> {
    let failed = |error: io::Error| unreadable(folder, &error);
    let (mut found, mut more) = (VecDeque::new(), 0_u64);
    for row in Rows::of(folder).map_err(failed)? {
        let row = row.map_err(failed)?;
        let is_wanted = wanted.text.as_ref().is_none_or(|text| row.text.contains(text));
        if is_wanted && read(&row).is_some_and(|members| wanted.fits(&members)) {
            found.push_back(row);
            if found.len() > limit {
                found.pop_front();
                more += 1;
            }
        }
    }
    if more > 0 {
        output.note(&format!("{more} older rows fit as well: see --limit"));
    }
    found.iter().try_for_each(|row| print(row, output))
}

impl Wanted {
    fn fits(&self, row: &Map<String, Value>) -> bool {
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let who = |name: &str| row.get("who")?.get(name)?.as_str();
        let is = |wanted: &Option<String>, values: &[Option<&str>]| {
            wanted.as_deref().is_none_or(|wanted| values.contains(&Some(wanted)))
        };
        // An operator names topics of organisations otherwise than their clients.
        let is_about = |wanted: &str| {
            let names = |text: &str| [text.to_owned(), seen_by_its_own(text).to_owned()];
            let topics = text("topic").map(names).into_iter().flatten();
            let filters = text("filter").map(without_group).map(names).into_iter().flatten();
            topics.into_iter().any(|topic| matches(wanted, &topic))
                || filters.into_iter().any(|filter| overlaps(wanted, &filter))
        };
        let at = text("at").unwrap_or_default();
        is(&self.kind, &[text("kind")])
            && is(&self.client_id, &[text("client_id")])
            && is(&self.agent, &[who("agent_id")])
            && is(&self.user, &[who("name"), who("user_id"), text("user"), text("name")])
            && is(&self.org, &[who("org_id"), text("organization")])
            && is(&self.source, &[text("source")])
            && self.topic.as_deref().is_none_or(is_about)
            && self.since.as_ref().is_none_or(|since| at >= since.0.as_str())
            && self.until.as_ref().is_none_or(|until| at < until.0.as_str())
    }
}

/// The filter of a shared subscription, or the filter itself.
fn without_group(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, filter)| filter)
}

fn read(row: &RowOfFile) -> Option<Map<String, Value>> {
    serde_json::from_str(&row.text).ok()
}

/// A row for people, or as it is.
fn print(row: &RowOfFile, output: &Output) -> Result<(), Failure> {
    let Some(mut members) = read(row) else {
        let what = format!("{}, line {}: it is no row", row.file.display(), row.line);
        return Err(Failure::with(Exit::Failed, what, "see `agentmq audit verify`"));
    };
    if output.json {
        // Its hash is that of these bytes, so programs get no others.
        let is_shown = io::stdout().is_terminal();
        let text = if is_shown { harmless_json(&row.text) } else { row.text.clone() };
        return output.raw(format!("{text}\n").as_bytes());
    }
    let mut take = |name: &str| members.remove(name).map(|value| shown(&value)).unwrap_or_default();
    let (number, at, kind) = (take("row"), take("at"), take("kind"));
    take("hash");
    let mut line = format!("{at} {number:>8} {kind:<12}");
    let (who, rest): (Vec<_>, Vec<_>) = members.iter().partition(|(name, _)| *name == "who");
    let who = who.into_iter().filter_map(|(_, value)| value.as_object()).flatten();
    for (name, value) in rest.into_iter().chain(who) {
        line.push_str(&format!(" {name}={}", shown(value)));
    }
    output.raw(format!("{}\n", harmless(&line, "")).as_bytes())
}

/// A value as people read it: in quotation marks where it could be taken for something else.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') => {
            text.clone()
        }
        other => other.to_string(),
    }
}

fn unreadable(folder: &Path, error: &io::Error) -> Failure {
    let what = format!("the audit log in {} cannot be read: {error}", folder.display());
    Failure::with(Exit::Failed, what, "run this as the user of the broker")
}
