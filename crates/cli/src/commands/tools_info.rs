//! `agentmq tools info`.

use agentmq_gateway::{Protocol, Registered, ServerKey, Tool, Tools};
use serde_json::json;

use crate::bus_args::BusArgs;
use crate::commands::tools::{connect, path, tell_unheard};
use crate::failure::{Exit, Failure};
use crate::json_indent::indent;
use crate::output::{Output, harmless};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A server's name, or a server's and a tool's: files, or files/read_file.
    #[arg(value_name = "SERVER[/TOOL]")]
    target: String,
    #[command(flatten)]
    bus: BusArgs,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let tools = connect(args.bus.servers()?).await?;
    let told = tell(&tools, &args.target, output).await;
    tools.close().await;
    told
}

async fn tell(tools: &Tools, target: &str, output: &Output) -> Result<(), Failure> {
    let (found, unheard) = tools.list().await;
    let registry = tools.registry(&found, &unheard);
    let mut is_known = false;
    for (server, known) in registry.servers() {
        let is_its = |tool: &&Tool| tool.binding == server.protocol && tool.server == server.name;
        if server.name == target {
            is_known = true;
            tell_server(tools, server, known, found.iter().filter(is_its), output)?;
        }
        for tool in found.iter().filter(is_its) {
            if format!("{}/{}", tool.server, tool.name) == target {
                is_known = true;
                tell_tool(tool, known, output)?;
            }
        }
    }
    tell_unheard(&unheard, output);
    if is_known {
        return Ok(());
    }
    let what = format!("no server and no tool that is online is called {target}");
    let fix = "write SERVER or SERVER/TOOL; `agentmq tools ls` lists them";
    Err(Failure::with(Exit::TimedOut, harmless(&what, ""), fix))
}

fn tell_server<'t>(
    tools: &Tools,
    server: &ServerKey,
    known: &Registered,
    its: impl Iterator<Item = &'t Tool>,
    output: &Output,
) -> Result<(), Failure> {
    let instances = match server.protocol {
        Protocol::Mcp => tools.instances(&server.name),
        Protocol::Agent => Vec::new(),
    };
    let fingerprint = known.fingerprint().map(|it| it.to_string()).unwrap_or_default();
    let mut lines = vec![
        format!("server       {}", harmless(&server.name, "")),
        format!("binding      {}", server.protocol),
    ];
    if !instances.is_empty() {
        lines.push(format!("instances    {}", harmless(&instances.join(" "), "")));
    }
    lines.push(format!("fingerprint  {fingerprint}"));
    let mut objects = Vec::new();
    for tool in its {
        let print = known.tools.as_ref().and_then(|all| all.get(&tool.name));
        let print = print.map(|it| it.fingerprint.to_string()).unwrap_or_default();
        let about = tool.description.lines().next().unwrap_or_default();
        let short = print.get(..SHORT).unwrap_or_default();
        let line = format!("  {short}  {}  {}", harmless(&tool.name, ""), harmless(about, ""));
        lines.push(line.trim_end().to_owned());
        objects.push(json!({ "name": tool.name, "fingerprint": print, "tool": tool.json }));
    }
    let object = json!({
        "server": server.name, "binding": server.protocol.name(), "instances": instances,
        "fingerprint": fingerprint, "tools": objects,
    });
    output.result(&lines.join("\n"), &object)
}

fn tell_tool(tool: &Tool, known: &Registered, output: &Output) -> Result<(), Failure> {
    let registered = known.tools.as_ref().and_then(|all| all.get(&tool.name));
    let print = registered.map(|it| it.fingerprint.to_string()).unwrap_or_default();
    let told = tool.json.to_string();
    let text = format!(
        "tool         {}\nbinding      {}\nfingerprint  {print}\n{}\n{}",
        path(tool),
        tool.binding.name(),
        harmless(&tool.description, "\n"),
        harmless(indent(&told).as_deref().unwrap_or(&told), "\n"),
    );
    let object = json!({
        "server": tool.server, "name": tool.name, "binding": tool.binding.name(),
        "fingerprint": print, "tool": tool.json,
    });
    output.result(&text, &object)
}

/// Digits of a fingerprint in a line.
const SHORT: usize = 12;
