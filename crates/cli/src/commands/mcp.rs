//! `agentmq mcp`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use agentmq_gateway::{
    Binding, Devices, Expose, ExposeDevices, Exposed, Happening, HttpServer, Program, bridge,
    check_server_name, expose_devices, expose_replicas,
};
use clap::Subcommand;
use serde_json::json;

use crate::bus_args::{BusArgs, ServersArgs};
use crate::commands::mcp_install;
use crate::failure::Failure;
use crate::interruption::interrupted;
use crate::log_filter::log_filter;
use crate::output::{Output, harmless};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put an MCP server on the bus: one that speaks on standard input and output, one that is
    /// reached by HTTP, or plain MQTT devices as one.
    Expose(ExposeArgs),
    /// Be an MCP server on standard input and output that offers what is on the bus: for hosts like
    /// Claude Desktop.
    Bridge(ServersArgs),
    /// Have a program that uses MCP servers start the bridge: shows what changes in its file.
    Install(mcp_install::Args),
}

#[derive(Debug, clap::Args)]
// --mqtt is the file of devices here; MCP needs MQTT 5 in any case.
#[command(mut_arg("mqtt", |version| version.long("mqtt-version")))]
struct ExposeArgs {
    /// Offer MQTT devices that know nothing of MCP: a file says which topics and payloads make
    /// which tool (docs/devices.md).
    #[arg(long = "mqtt", value_name = "FILE", conflicts_with = "command")]
    devices: Option<PathBuf>,
    /// What it is called on the bus; servers of the same name are interchangeable. Without this,
    /// what the program calls itself.
    #[arg(long)]
    name: Option<String>,
    /// A line about it for people.
    #[arg(long)]
    description: Option<String>,
    /// By which bindings: MCP over MQTT, MQTT.Agent (tools only), or both, as far as the broker
    /// allows them.
    #[arg(long, value_enum, default_value = "both")]
    binding: BindingArg,
    /// How many processes of the program; each is an instance of its own, and is started again by
    /// itself. With --id their client ids are ID:1, ID:2 and so on.
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=MOST_REPLICAS),
        conflicts_with_all = ["devices", "http"]
    )]
    replicas: u16,
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    http: HttpArgs,
    /// The program and its arguments; no shell reads them.
    #[arg(last = true, required_unless_present_any = ["devices", "http"], value_name = "PROGRAM")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum BindingArg {
    Mcp,
    Agent,
    Both,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A server that is reached by HTTP")]
struct HttpArgs {
    /// Its address instead of a program: https://HOST/PATH, or http:// on this machine.
    #[arg(long, value_name = "URL", conflicts_with_all = ["devices", "command"])]
    http: Option<String>,
    /// A bearer token for it; better given by the environment or a file.
    #[arg(long, env = "AGENTMQ_HTTP_TOKEN", hide_env_values = true)]
    #[arg(conflicts_with = "token_file")]
    token: Option<String>,
    /// File with that token.
    #[arg(long, value_name = "FILE", requires = "http")]
    token_file: Option<PathBuf>,
    /// A header for it, as NAME=VALUE; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", requires = "http", value_parser = header)]
    headers: Vec<(String, String)>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl HttpArgs {
    fn server(&self) -> Result<Option<Exposed>, Failure> {
        let Some(url) = &self.http else { return Ok(None) };
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| {
                    let what = format!("cannot read {}: {error}", file.display());
                    Failure::usage(what, "give a file that holds the token and nothing else")
                })?;
                Some(text.trim().to_owned())
            }
            (None, None) => None,
        };
        let server = HttpServer::new(url, token.as_deref(), &self.headers).map_err(|wrong| {
            Failure::usage(wrong.to_string(), "`agentmq mcp expose --help` shows how")
        })?;
        Ok(Some(Exposed::Http(server)))
    }
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    start_log(output.json);
    match args.command {
        Command::Expose(args) => run_expose(args, output).await,
        Command::Bridge(args) => Box::pin(run_bridge(args)).await,
        Command::Install(args) => mcp_install::run(&args, output),
    }
}

async fn run_expose(args: ExposeArgs, output: &Output) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        check_server_name(name).map_err(agentmq_gateway::Error::from)?;
    }
    let mut printed = Ok(());
    let report = |happening| {
        let (line, object) = describe(&happening);
        let so_far = std::mem::replace(&mut printed, Ok(()));
        printed = so_far.and_then(|()| output.result(&line, &object));
    };
    let options = args.bus.options()?;
    let ExposeArgs { name, description, bus: BusArgs { namespace, .. }, .. } = args;
    let binding = match args.binding {
        BindingArg::Mcp => Binding::Mcp,
        BindingArg::Agent => Binding::Agent,
        BindingArg::Both => Binding::Both,
    };
    if let Some(file) = &args.devices {
        let devices = Devices::read(file)?;
        let config = ExposeDevices { devices, name, description, binding, namespace, options };
        Box::pin(expose_devices(config, stopped(), report)).await?;
        return printed;
    }
    let server = match args.http.server()? {
        Some(server) => server,
        None => {
            let mut command = args.command.into_iter();
            let program = command.next().unwrap_or_default();
            Exposed::Program(Program { program, arguments: command.collect() })
        }
    };
    let config = Expose { server, name, description, binding, namespace, options };
    expose_replicas(config, args.replicas.into(), stopped(), report).await?;
    printed
}

fn describe(happening: &Happening) -> (String, serde_json::Value) {
    match happening {
        Happening::Online { instance } => {
            let (name, id) = (instance.name(), instance.id());
            let line = format!("{} is online as {}", harmless(name, ""), harmless(id, ""));
            (line, json!({ "event": "online", "server": name, "id": id }))
        }
        Happening::Offered { server, namespace, id, tools } => {
            let (shown, count) = (harmless(server, ""), tools.len());
            let place = harmless(namespace, "");
            let line = format!("{shown} offers {count} tools to clients of MQTT.Agent in {place}");
            let object = json!({
                "event": "offered", "binding": Binding::Agent.name(), "server": server,
                "namespace": namespace, "id": id, "tools": tools,
            });
            (line, object)
        }
        Happening::Refused { binding, why } => {
            let name = binding.name();
            let line = format!("not offered by the binding {name}: {}", harmless(why, ""));
            (line, json!({ "event": "refused", "binding": name, "why": why }))
        }
        Happening::Offline { instance, why, retry_in } => {
            let who = match instance {
                Some(it) => format!("{} as {}", harmless(it.name(), ""), harmless(it.id(), "")),
                None => "the server".to_owned(),
            };
            let name = instance.as_ref().map(|it| it.name());
            let id = instance.as_ref().map(|it| it.id());
            let line =
                format!("{who} is offline: {}; trying again in {retry_in:.1?}", harmless(why, ""));
            let retry = retry_in.as_millis();
            let object = json!({
                "event": "offline", "server": name, "id": id, "why": why, "retry_in_ms": retry,
            });
            (line, object)
        }
        _ => (String::new(), json!({})),
    }
}

/// Nothing but the protocol goes to standard output, so there is no [`Output`] here.
async fn run_bridge(args: ServersArgs) -> Result<(), Failure> {
    Ok(Box::pin(bridge(args.servers()?, stopped())).await?)
}

/// Ready when somebody wants us to end.
pub(crate) async fn stopped() {
    if let Err(failure) = interrupted().await {
        tracing::warn!("{failure}");
        std::future::pending().await
    }
}

/// The log on standard error: what exposed programs print there, and what goes wrong.
pub(crate) fn start_log(json: bool) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(log_filter(LOGGED))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Whoever has started one already knows better.
    let _ = if json { log.json().try_init() } else { log.with_target(false).try_init() };
}

/// Processes of one program that one command watches.
const MOST_REPLICAS: i64 = 256;

/// Peers that break the protocol are told so; the rest is noise unless asked for.
const LOGGED: &str = "warn,mcp_server=info,rmcp=error,rmcp::transport::worker=off";
