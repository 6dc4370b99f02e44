//! `agentmq mcp install`: the bridge in the configuration of a program that uses MCP servers.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use crate::bus_args::check_name_filters;
use crate::failure::Failure;
use crate::json_indent::indent;
use crate::json_members::Members;
use crate::output::Output;
use crate::private_file::{self, Exclusive};

/// Which bridge for which program.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program.
    host: Host,
    /// What the program calls it.
    #[arg(long, default_value = "agentmq")]
    name: String,
    /// Its file, where that is not in its usual place.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Take it out again.
    #[arg(long)]
    remove: bool,
    /// Offer only servers whose names match; + stands for one level, # for the rest.
    #[arg(long = "server", value_name = "FILTER")]
    servers: Vec<String>,
    /// Broker address, without a password: this file is no place for one.
    #[arg(long, conflicts_with = "context")]
    url: Option<String>,
    /// Context with the broker's address and what it asks for; see `agentmq ctx`.
    #[arg(long)]
    context: Option<String>,
}

/// Programs that use MCP servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Host {
    /// Claude Desktop, for this user.
    ClaudeDesktop,
    /// Claude Code, in this folder: .mcp.json.
    ClaudeCode,
    /// Cursor, for this user.
    Cursor,
    /// VS Code, in this folder: .vscode/mcp.json.
    Vscode,
}

impl Host {
    /// Where it keeps its servers.
    fn file(self) -> Result<PathBuf, Failure> {
        let home = || {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
            let why = || Failure::usage("HOME is not set", "name the file with --file");
            home.map(PathBuf::from).ok_or_else(why)
        };
        let desktop = if cfg!(target_os = "macos") {
            "Library/Application Support/Claude/claude_desktop_config.json"
        } else {
            ".config/Claude/claude_desktop_config.json"
        };
        Ok(match self {
            Self::ClaudeDesktop => home()?.join(desktop),
            Self::ClaudeCode => ".mcp.json".into(),
            Self::Cursor => home()?.join(".cursor/mcp.json"),
            Self::Vscode => ".vscode/mcp.json".into(),
        })
    }

    /// The member of the file that they are in.
    const fn member(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            Self::ClaudeDesktop | Self::ClaudeCode | Self::Cursor => "mcpServers",
        }
    }
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => args.host.file()?,
    };
    let entry = (!args.remove).then(|| entry(args)).transpose()?;
    let before = private_file::read(&path)?;
    let change = change(args, &path, before.as_deref(), entry.as_deref())?;
    for line in &change.lines {
        output.note(line);
    }
    let shown = path.display();
    let line = match (change.lines.is_empty(), args.dry_run) {
        (true, _) => format!("{shown} says so already"),
        (false, true) => format!("{shown} was not changed: --dry-run"),
        (false, false) => {
            write(&path, before.as_deref(), &change.text)?;
            format!("wrote {shown}: start the program again to have it read")
        }
    };
    let is_changed = !change.lines.is_empty() && !args.dry_run;
    output.result(&line, &json!({ "file": path, "changed": is_changed, "lines": change.lines }))
}

/// What the file says of the bridge.
fn entry(args: &Args) -> Result<String, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot tell where this program is: {error}")))?;
    let mut words = vec!["mcp".to_owned(), "bridge".to_owned()];
    if let Some(url) = &args.url {
        if agentmq_client::Options::new(url)?.password.is_some() {
            let fix = "put it into a context (`agentmq ctx add`) and give --context NAME";
            return Err(Failure::usage("a password would stand in that file", fix));
        }
        words.extend(["--url".to_owned(), url.clone()]);
    }
    if let Some(context) = &args.context {
        words.extend(["--context".to_owned(), context.clone()]);
    }
    check_name_filters(&args.servers)?;
    for filter in &args.servers {
        words.extend(["--server".to_owned(), filter.clone()]);
    }
    let program = program.to_string_lossy();
    Ok(match args.host {
        Host::Vscode | Host::ClaudeCode => {
            json!({ "type": "stdio", "command": program, "args": words }).to_string()
        }
        Host::ClaudeDesktop | Host::Cursor => {
            json!({ "command": program, "args": words }).to_string()
        }
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// All of the file.
    text: String,
    /// What is different, for people.
    lines: Vec<String>,
}

/// The file with this entry, or without any; everything else stays as it is.
fn change(
    args: &Args,
    path: &Path,
    before: Option<&str>,
    entry: Option<&str>,
) -> Result<Change, Failure> {
    let unreadable = || {
        let (shown, member, name) = (path.display(), args.host.member(), &args.name);
        let entry = entry.unwrap_or("null");
        let what = format!("{shown} is no JSON object, or one with comments");
        let fix = format!("put it in by hand: {{\"{member}\": {{\"{name}\": {entry}}}}}");
        Failure::usage(what, fix)
    };
    let text = before.filter(|text| !text.trim().is_empty()).unwrap_or("{}");
    let mut file = Members::parse(text).ok_or_else(unreadable)?;
    let servers = file.get(args.host.member()).unwrap_or("{}");
    let mut servers = Members::parse(servers).ok_or_else(unreadable)?;
    let old = servers.get(&args.name).map(str::to_owned);
    let is_same = |old: &str, new: &str| indent(old) == indent(new);
    let is_done = match (&old, entry) {
        (Some(old), Some(new)) => is_same(old, new),
        (old, new) => old.is_none() && new.is_none(),
    };
    if is_done {
        return Ok(Change { text: text.to_owned(), lines: Vec::new() });
    }
    let mut lines = Vec::new();
    for (sign, text) in [("-", old.as_deref()), ("+", entry)] {
        let Some(text) = text else { continue };
        let shown = format!("{}: {}", json!(args.name), indent(text).unwrap_or_default().trim());
        lines.extend(shown.lines().map(|line| format!("{sign} {line}")));
    }
    match entry {
        Some(entry) => servers.set(&args.name, entry),
        None => servers.remove(&args.name),
    }
    file.set(args.host.member(), &servers.to_string());
    let mut text = indent(&file.to_string()).ok_or_else(unreadable)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(Change { text, lines })
}

/// Replaces the file, if it still is what was read.
fn write(path: &Path, before: Option<&str>, text: &str) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), std::fs::create_dir_all).map_err(|error| {
        Failure::new(format!("cannot make the folder of {}: {error}", path.display()))
    })?;
    let file = Exclusive::open(path)?;
    if file.text()?.as_deref() != before {
        let what = format!("{} has changed meanwhile", path.display());
        return Err(Failure::usage(what, "look at it and try again"));
    }
    file.write(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(host: Host, name: &str) -> Args {
        Args {
            host,
            name: name.to_owned(),
            file: None,
            dry_run: false,
            remove: false,
            servers: Vec::new(),
            url: None,
            context: None,
        }
    }

    fn changed(before: Option<&str>, entry: Option<&str>) -> Result<Change, Failure> {
        change(&args(Host::Cursor, "agentmq"), Path::new("f"), before, entry)
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let before = r#"{"z": 1.50, "mcpServers": {"b": {"command": "x"}}, "a": [1]}"#;
        let Change { text, lines } = changed(Some(before), Some(r#"{"command":"q"}"#)).unwrap();
        assert_eq!(lines, ["+ \"agentmq\": {", "+   \"command\": \"q\"", "+ }"]);
        assert!(text.contains("\"z\": 1.50") && text.contains("\"b\": {"), "{text}");
        let places: Vec<_> =
            ["\"z\"", "\"b\"", "\"agentmq\"", "\"a\""].map(|key| text.find(key)).into();
        assert!(places.is_sorted() && places[0].is_some(), "{text}");
        let again = changed(Some(&text), Some(r#"{ "command": "q" }"#)).unwrap();
        assert_eq!((again.lines.len(), again.text), (0, text.clone()));
        let other = changed(Some(&text), Some(r#"{"command":"r"}"#)).unwrap();
        let signs: String = other.lines.iter().filter_map(|line| line.chars().next()).collect();
        assert_eq!(signs, "---+++");
        let without = changed(Some(&text), None).unwrap();
        assert_eq!(indent(&without.text), indent(before));
        assert!(changed(Some(before), None).unwrap().lines.is_empty(), "it is not there");
    }

    #[test]
    fn what_the_bridge_would_refuse_is_not_written() {
        let mut args = args(Host::Cursor, "agentmq");
        args.servers = vec!["files/#".to_owned(), "+/tools".to_owned()];
        assert!(entry(&args).unwrap().contains("+/tools"));
        args.servers.push("files/#/x".to_owned());
        assert!(entry(&args).unwrap_err().message.contains("files/#/x"));
    }

    #[test]
    fn a_file_that_is_not_there_is_made() {
        for before in [None, Some(""), Some(" \n")] {
            let text = changed(before, Some("{}")).unwrap().text;
            assert_eq!(indent(&text), indent(r#"{"mcpServers":{"agentmq":{}}}"#));
        }
    }

    #[test]
    fn what_is_no_plain_json_is_not_touched() {
        for before in ["[]", "{\"mcpServers\": 7}", "{ // comment\n}", "{"] {
            let failure = changed(Some(before), Some("{}")).unwrap_err();
            assert!(failure.message.contains("no JSON object"), "{}", failure.message);
        }
    }
}
