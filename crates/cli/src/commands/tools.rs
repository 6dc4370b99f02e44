//! `agentmq tools`.

use std::time::Duration;

use agentmq_client::Reconnect;
use agentmq_gateway::{Answer, Fault, Opened, Refusal, Servers, Tool, Tools, Unheard};
use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::bus_args::{BusArgs, ServersArgs};
use crate::commands::mcp::{start_log, stopped};
use crate::commands::{tools_info, tools_watch};
use crate::connection::parse_pair;
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::json_indent::indent;
use crate::output::{Output, harmless};
use crate::tool_arguments;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the tools of all MCP servers on the bus, and those of MQTT.Agent.
    Ls(ServersArgs),
    /// Tell all of a server or a tool: what it takes, who serves it, and its fingerprint, which is
    /// another one when the tool says something else.
    Info(tools_info::Args),
    /// Call a tool and print its answer.
    Call(CallArgs),
    /// Tell what happens to servers and tools until Ctrl-C: who comes and goes, and which tools say
    /// something else than before.
    Watch(ServersArgs),
}

#[derive(Debug, clap::Args)]
struct CallArgs {
    /// The server's name and the tool's: files/read_file.
    #[arg(value_name = "SERVER/TOOL")]
    target: String,
    /// An argument; the tool's schema says whether the value is read as text or as JSON.
    #[arg(long = "arg", short = 'a', value_name = "NAME=VALUE", value_parser = parse_pair)]
    arguments: Vec<(String, String)>,
    /// All arguments, as a JSON object; --arg adds to it.
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// How long the tool may take; each progress notification of MCP starts the time anew.
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    #[command(flatten)]
    bus: BusArgs,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    start_log(output.json);
    match args.command {
        Command::Ls(args) => ls(args, output).await,
        Command::Info(args) => Box::pin(tools_info::run(args, output)).await,
        Command::Call(args) => Box::pin(call(args, output)).await,
        Command::Watch(args) => Box::pin(tools_watch::run(args, output)).await,
    }
}

async fn ls(args: ServersArgs, output: &Output) -> Result<(), Failure> {
    let tools = connect(args.servers()?).await?;
    let (found, unheard) = tools.list().await;
    let names = found.iter().map(|tool| path(tool).chars().count());
    let width = names.max().unwrap_or_default().min(WIDEST);
    for tool in &found {
        let about = tool.description.lines().next().unwrap_or_default();
        let binding = tool.binding.name();
        let line = format!("{:width$}  {binding:5}  {}", path(tool), harmless(about, ""));
        let object = json!({
            "server": tool.server, "name": tool.name, "binding": binding, "tool": tool.json,
        });
        output.result(line.trim_end(), &object)?;
    }
    tell_unheard(&unheard, output);
    if found.is_empty() && unheard.is_empty() {
        output.note("no tools: `agentmq mcp expose -- PROGRAM` puts an MCP server on the bus");
    }
    tools.close().await;
    Ok(())
}

/// Says who could not be asked.
pub(crate) fn tell_unheard(unheard: &[Unheard], output: &Output) {
    for it in unheard {
        let line =
            format!("{} does not answer: {}", harmless(&it.server, ""), harmless(&it.why, ""));
        output.event(&line, &json!({ "event": "unheard", "server": it.server, "why": it.why }));
    }
}

async fn call(args: CallArgs, output: &Output) -> Result<(), Failure> {
    let tools = connect(args.bus.servers()?).await?;
    let ended = call_with(&tools, &args, output).await;
    tools.close().await;
    ended
}

async fn call_with(tools: &Tools, args: &CallArgs, output: &Output) -> Result<(), Failure> {
    let (opened, tool) = find(tools, &args.target).await?;
    let arguments = tool_arguments::read(args.args.as_deref(), &args.arguments, &tool.input_schema);
    let arguments = arguments.map_err(|what| Failure::usage(harmless(&what, ""), schema(&tool)))?;
    let answer = ask(&opened, &tool, arguments, args.timeout, output).await?;
    print(&answer, output)?;
    if answer.is_error {
        let what = format!("the tool failed: {}", harmless(&answer.parts.join("\n"), "\n\t"));
        return Err(Failure::with(Exit::Failed, what, schema(&tool)));
    }
    Ok(())
}

/// MCP's servers are asked first: what both bindings have is called by theirs.
async fn find(tools: &Tools, target: &str) -> Result<(Opened, Tool), Failure> {
    let of_mcp = tools.resolve(target);
    if let Some((server, name)) = &of_mcp {
        let opened = tools.open(server).await?;
        let found = opened.tool(server, name).await.map_err(|refusal| refused(server, &refusal))?;
        if let Some(tool) = found {
            return Ok((opened, tool));
        }
    }
    if let Some(found) = tools.open_agent(target).await {
        return Ok(found);
    }
    if let Some((server, name)) = of_mcp {
        let what = format!("{server} has no tool named {name}");
        let fix = "`agentmq tools ls` lists what it has";
        return Err(Failure::usage(harmless(&what, ""), fix));
    }
    let online = tools.servers();
    let what = if online.is_empty() {
        format!("{target} names no tool that is online")
    } else {
        format!("{target} names no server that is online: {}", online.join(", "))
    };
    let fix = "write it as SERVER/TOOL; `agentmq tools ls` lists them";
    Err(Failure::with(Exit::TimedOut, harmless(&what, ""), fix))
}

async fn ask(
    opened: &Opened,
    tool: &Tool,
    arguments: Map<String, Value>,
    timeout: Duration,
    output: &Output,
) -> Result<Answer, Failure> {
    let told = |done: f64, total: Option<f64>, text: Option<&str>| {
        let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
        let text = text.unwrap_or_default();
        let line = format!("progress: {done}{of} {}", harmless(text, ""));
        let object =
            json!({ "event": "progress", "progress": done, "total": total, "message": text });
        output.event(line.trim_end(), &object);
    };
    let answer = opened.call(&tool.name, arguments, timeout, told, stopped()).await;
    answer.map_err(|refusal| {
        let mut failure = refused(&path(tool), &refusal);
        if refusal.is_invalid_params() {
            failure.fix = Some(schema(tool));
        }
        failure
    })
}

/// Prints an answer; that of a tool that has failed is the failure's text, but for `--json`.
fn print(answer: &Answer, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.result("", &answer.json);
    }
    if answer.is_error {
        return Ok(());
    }
    if answer.parts.is_empty() {
        let json = answer.json.get("structuredContent").unwrap_or(&answer.json).to_string();
        return output
            .result(&harmless(indent(&json).as_deref().unwrap_or(&json), "\n"), &json!({}));
    }
    for part in &answer.parts {
        output.result(&harmless(indent(part).as_deref().unwrap_or(part), "\n\t"), &json!({}))?;
    }
    Ok(())
}

pub(crate) async fn connect(mut servers: Servers) -> Result<Tools, Failure> {
    servers.options.reconnect = Reconnect::NEVER;
    Ok(Tools::connect(servers).await?)
}

pub(crate) fn path(tool: &Tool) -> String {
    harmless(&format!("{}/{}", tool.server, tool.name), "")
}

/// What a tool wants, for whoever called it wrongly.
fn schema(tool: &Tool) -> String {
    format!("its arguments are {}", harmless(&tool.input_schema.to_string(), ""))
}

fn refused(what: &str, refusal: &Refusal) -> Failure {
    let (exit, fix) = match refusal.fault {
        Some(Fault::Offline | Fault::Gone | Fault::Timeout) => {
            (Exit::TimedOut, "try again: `agentmq tools ls` shows who is online")
        }
        Some(Fault::Unreachable) => (Exit::Connection, "check the connection to the broker"),
        Some(Fault::TooLarge) => (Exit::Refused, "send less, or raise the broker's limit"),
        Some(_) => (Exit::Failed, "try again"),
        None => (Exit::Failed, "see the server's log"),
    };
    let code = if refusal.fault.is_none() { format!(" ({})", refusal.code) } else { String::new() };
    let message = format!("{what}: {}{code}", refusal.message);
    Failure::with(exit, harmless(&message, "\n\t"), fix)
}

/// Columns of a tool's name in the list at most.
const WIDEST: usize = 48;
