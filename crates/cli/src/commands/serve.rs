//! `agentmq serve` and `agentmq dev`: run a broker in the foreground.

use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};

use agentmq_broker::{
    Broker, BrokerError, Config, ConfigError, Durability, Environment, InnerDoor, ListenerConfig,
    LogFormat, Mount,
};
use agentmq_gateway::{MESSAGE_BYTES, McpHttp};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Exit, Failure};
use crate::listen_args::ListenArgs;
use crate::log_filter::log_filter;
use crate::memory;
use crate::output::Output;

/// Run the broker.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    listeners: ListenArgs,
    /// Folder that keeps the broker's state.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What an acknowledgement promises.
    #[arg(long, value_name = "fsync|os|memory", value_parser = durability)]
    durability: Option<Durability>,
}

/// Run a broker for development: loopback, no configuration, free ports if the usual are taken.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    listeners: ListenArgs,
}

pub(crate) fn serve(args: Args, output: &Output) -> Result<(), Failure> {
    let config = args.load()?;
    start_log(&config);
    for notice in config.notices() {
        tracing::warn!("{notice}");
    }
    let signals = prepare()?;
    let broker = start(config).map_err(broker_failure)?;
    announce(&broker, output)?;
    run(broker, signals, Some(&args))
}

pub(crate) fn dev(args: &DevArgs, output: &Output) -> Result<(), Failure> {
    // A try-out leaves no folder behind.
    let mut config = Config { durability: Durability::Memory, ..Config::default() };
    args.listeners.apply(&mut config)?;
    start_log(&config);
    let signals = prepare()?;
    let broker = match start(config.clone()) {
        Err(BrokerError::Net(error)) if args.listeners.listen.is_empty() => {
            output.note(&format!("{error}; taking free ports instead"));
            let free = ["mqtt://127.0.0.1:0", "ws://127.0.0.1:0/mqtt"];
            config.listeners = free.map(ListenerConfig::new).into();
            start(config)
        }
        other => other,
    }
    .map_err(broker_failure)?;
    announce(&broker, output)?;
    if let Some(url) = broker.endpoints().first() {
        output.note("\nIn two other terminals:");
        output.note(&format!("  agentmq sub --url {url} 'demo/#'"));
        output.note(&format!("  agentmq pub --url {url} demo/hello '{{\"hi\":1}}'"));
        output.note("\nCtrl-C ends the broker.");
    }
    run(broker, signals, None)
}

/// A broker with the endpoint for MCP clients on its HTTP side.
fn start(config: Config) -> Result<Broker, BrokerError> {
    let longest_body = MESSAGE_BYTES.min(config.limits.packet_bytes as usize);
    let namespace = config.agents.namespaces.first().cloned();
    Broker::start_with(config, |door: InnerDoor| {
        let connect = move |from| door.connect(from);
        let mcp = McpHttp::new(connect, namespace.as_deref(), longest_body);
        Some(Mount::new("/mcp", move |request, visitor| {
            let mcp = mcp.clone();
            async move { mcp.answer(request, visitor.address(), || visitor.may_stay()).await }
        }))
    })
}

impl Args {
    /// The configuration of file, environment and command line.
    fn load(&self) -> Result<Config, Failure> {
        let usual = Path::new("agentmq.toml");
        let path = self.config.as_deref().or_else(|| usual.exists().then_some(usual));
        let mut config = Config::load(path, &environment()).map_err(config_failure)?;
        self.listeners.apply(&mut config)?;
        if let Some(data) = &self.data {
            config.data_dir.clone_from(data);
        }
        if let Some(durability) = self.durability {
            config.durability = durability;
        }
        config.validate().map_err(config_failure)?;
        Ok(config)
    }
}

/// The `AGENTMQ_` variables of this process.
pub(crate) fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("AGENTMQ_"))
        .collect()
}

pub(crate) fn config_failure(error: ConfigError) -> Failure {
    let fix = match &error {
        ConfigError::Unreadable { source, .. } if source.kind() == ErrorKind::NotFound => {
            "check the path; `agentmq config print --default` prints a configuration to start \
             from, `agentmq keys create` makes keys, `agentmq user add` users"
        }
        ConfigError::Unreadable { .. } | ConfigError::TooLong { .. } => {
            "check that it is the right file and that it may be read"
        }
        ConfigError::Invalid { .. } => "`agentmq config explain KEY` tells what a key may be",
    };
    Failure::with(Exit::Usage, error.to_string(), fix)
}

fn durability(text: &str) -> Result<Durability, String> {
    Durability::from_name(text).ok_or_else(|| "one of fsync, os, memory".to_owned())
}

fn broker_failure(error: BrokerError) -> Failure {
    match error {
        BrokerError::Config(error) => config_failure(error),
        other => Failure::new(other.to_string()),
    }
}

/// Says where the broker listens: the first line on standard output, for people or programs.
fn announce(broker: &Broker, output: &Output) -> Result<(), Failure> {
    let urls: Vec<String> = broker.endpoints().iter().map(ToString::to_string).collect();
    let config = broker.config();
    let scheme = config.admin.url.split("://").next().unwrap_or_default();
    let admin = broker.admin_address().map(|address| format!("{scheme}://{address}"));
    let listeners: Vec<_> = urls.iter().map(|url| json!({ "url": url })).collect();
    let object = json!({
        "event": "listening",
        "listeners": listeners,
        "pid": std::process::id(),
        "durability": config.durability.name(),
        "admin": admin,
    });
    let http = admin.map_or_else(String::new, |url| format!(", HTTP on {url}"));
    output.result(&format!("listening on {}{http}", urls.join(" ")), &object)
}

/// What must be so before anybody is told that the broker listens: whoever reads that may send a
/// signal at once.
fn prepare() -> Result<Signals, Failure> {
    raise_file_limit();
    memory::give_back_aside()
        .map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?;
    Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Failure::new(format!("cannot watch signals: {error}")))
}

/// Serves until a signal ends it, or a shard fails: SIGTERM and SIGINT drain, SIGHUP reloads.
fn run(mut broker: Broker, mut signals: Signals, args: Option<&Args>) -> Result<(), Failure> {
    let handle = signals.handle();
    broker.when_ended(move || handle.close()).map_err(broker_failure)?;
    for signal in signals.forever() {
        if signal == SIGHUP {
            reload(&mut broker, args);
        } else {
            tracing::info!(signal, "shutting down");
            broker.drain();
            break;
        }
    }
    broker.wait().map_err(broker_failure)
}

fn reload(broker: &mut Broker, args: Option<&Args>) {
    let Some(args) = args else { return };
    let config = match args.load() {
        Ok(config) => config,
        Err(failure) => return tracing::error!("reload refused, nothing has changed: {failure}"),
    };
    match broker.reload(&config) {
        Ok(plan) => {
            for change in &plan.applied {
                tracing::info!("reloaded {change}");
            }
            for change in &plan.waiting {
                tracing::warn!("waits for a restart: {change}");
            }
            tracing::info!("reload done");
        }
        Err(error) => tracing::error!("reload refused, nothing has changed: {error}"),
    }
}

/// Each connection takes a descriptor: use as many as the system lets us have.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

fn start_log(config: &Config) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(log_filter(config.log.level.name()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match config.log.format {
        LogFormat::Json => log.json().try_init(),
        LogFormat::Text => log.with_target(false).try_init(),
    };
}
