//! How long a call takes: `cargo run --release -p agentmq-sdk --example bench_calls -- URL...`
//!
//! An echo tool in a process of its own, called from this one over each broker in turn, ten times:
//! both bindings, 1 caller and 100. Each line that it prints is JSON: microseconds of half of all
//! calls and of 99 in 100 (`p50_us`, `p99_us`). Mosquitto must have `set_tcp_nodelay true`: else it
//! holds back a small packet until the one before is acknowledged by TCP, which is 40 ms a call.
//!
//! In one process the broker would decide who is served first: its caller, who learns that the call
//! was taken, or its server, whose answer the caller waits for.

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agentmq_client::Options;
use agentmq_sdk::mcp::{
    Bus, BusConfig, Call, DISCOVERY_TIMEOUT, Server, ServerConfig, Session, call,
};
use agentmq_sdk::tools::{Context, Tool, ToolClient, ToolServer, ToolServerConfig};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
    ErrorData, ProgressNotificationParam, ServerCapabilities, ServerConfig as Info,
};
use rmcp::service::RequestContext;
use rmcp::{ClientHandler, RoleServer, ServerHandler};
use serde_json::json;
use tokio::task::JoinSet;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let mut urls: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, binding, url] = &*urls
        && serve == SERVE
    {
        return self::serve(binding, url).await;
    }
    let mut rows: BTreeMap<_, Vec<Duration>> = BTreeMap::new();
    // Interleaved, and each as often first as last: what else the machine does hits all of them.
    for _ in 0..ROUNDS {
        for url in &urls {
            for callers in [1, 100] {
                for binding in [MQTT_AGENT, MCP_SESSION, MCP_STATELESS] {
                    let tool = Process::start(binding, url)?;
                    let calls = match binding {
                        MQTT_AGENT => mqtt_agent(url, callers).await?,
                        _ => mcp(url, callers).await?,
                    };
                    tool.end()?;
                    rows.entry((binding, callers, url.clone())).or_default().extend(calls);
                }
            }
        }
        urls.reverse();
    }
    for ((binding, callers, url), mut calls) in rows {
        calls.sort_unstable();
        let place = |part: usize| calls[calls.len() * part / 100].as_micros() as u64;
        let (p50_us, p99_us) = (place(50), place(99));
        let of = json!({ "binding": binding, "callers": callers, "url": url });
        println!("{}", json!({ "of": of, "p50_us": p50_us, "p99_us": p99_us }));
    }
    Ok(())
}

/// The tool's process.
struct Process(Child);

impl Process {
    /// Starts it, and waits until callers can find the tool.
    fn start(binding: &str, url: &str) -> Result<Self, Failed> {
        let mut this = Command::new(std::env::current_exe()?);
        this.args([SERVE, binding, url]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = this.spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        if line.is_empty() { Err("the tool's process has ended".into()) } else { Ok(Self(child)) }
    }

    fn end(mut self) -> Result<(), Failed> {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

/// Offers the tool until the input ends.
async fn serve(binding: &str, url: &str) -> Result<(), Failed> {
    if binding == MQTT_AGENT {
        let mut config = ToolServerConfig::new("bench");
        config.concurrency = 200;
        let schema = json!({ "type": "object" });
        config = config.tool(Tool::new("echo", "", schema, async |given, _: Context| Ok(given)));
        let server = ToolServer::connect(Options::new(url)?, config).await?;
        ready().await?;
        server.stop().await;
        return Ok(());
    }
    let revision = if binding == MCP_SESSION { "2025-11-25" } else { "2026-07-28" };
    let versions = rmcp::model::ProtocolVersion::KNOWN_VERSIONS.iter();
    let versions = versions.filter(|it| it.as_str() == revision).cloned().collect();
    let config = ServerConfig { name: "bench".into(), versions, ..ServerConfig::default() };
    let (server, acceptor) = Server::connect(Options::new(url)?, config).await?;
    let work = tokio::spawn(acceptor.run(|_| Echo));
    server.online().await;
    ready().await?;
    server.close().await;
    work.await?;
    Ok(())
}

/// Says so, and waits until the input ends. Not begun before: the runtime waits for who reads.
async fn ready() -> Result<(), Failed> {
    println!("ready");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

/// Runs callers at once, each with so many calls that all make the same number; how long each took.
async fn measure<C, F>(callers: usize, one: C) -> Result<Vec<Duration>, Failed>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Failed>> + Send,
{
    for _ in 0..WARM {
        one().await?;
    }
    let mut all = JoinSet::new();
    for _ in 0..callers {
        let one = one.clone();
        all.spawn(async move {
            let mut taken = Vec::with_capacity(CALLS / callers);
            for _ in 0..CALLS / callers {
                let begun = Instant::now();
                one().await?;
                taken.push(begun.elapsed());
            }
            Ok::<_, Failed>(taken)
        });
    }
    let mut calls = Vec::with_capacity(CALLS);
    while let Some(taken) = all.join_next().await {
        calls.extend(taken??);
    }
    Ok(calls)
}

async fn mqtt_agent(url: &str, callers: usize) -> Result<Vec<Duration>, Failed> {
    let mut options = Options::new(url)?;
    options.client_id = "bench-agent".into();
    let client = ToolClient::connect(options).await?;
    let caller = client.clone();
    let taken = measure(callers, move || {
        let client = caller.clone();
        async move {
            client.call("echo", json!({ "message": TEXT })).await?;
            Ok(())
        }
    })
    .await;
    client.close().await;
    taken
}

async fn mcp(url: &str, callers: usize) -> Result<Vec<Duration>, Failed> {
    let config = BusConfig { filters: vec!["bench".into()], ..BusConfig::default() };
    let bus = Bus::connect(Options::new(url)?, config).await?;
    bus.discovered(DISCOVERY_TIMEOUT).await;
    let session = std::sync::Arc::new(bus.open_any("bench", || Echo).await?);
    let peer = session.clone();
    let taken = measure(callers, move || echo(peer.clone())).await;
    drop(session);
    bus.close().await;
    taken
}

async fn echo(session: std::sync::Arc<Session>) -> Result<(), Failed> {
    let arguments = json!({ "message": TEXT }).as_object().cloned().unwrap_or_default();
    let params = CallToolRequestParams::new("echo").with_arguments(arguments);
    let request = Call::new(CallToolRequest::new(params).into());
    let ignore: Option<fn(ProgressNotificationParam) -> std::future::Ready<()>> = None;
    call(session.peer(), request, ignore, std::future::pending())
        .await
        .map_err(|error| error.message.to_string())?;
    Ok(())
}

/// Says what it hears.
#[derive(Clone)]
struct Echo;

impl ClientHandler for Echo {}

impl ServerHandler for Echo {
    fn get_info(&self) -> Info {
        Info::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let said = params.arguments.and_then(|mut all| all.remove("message")).unwrap_or_default();
        let text = ContentBlock::text(said.as_str().unwrap_or_default());
        Ok(CallToolResult::success(vec![text]).into())
    }
}

const MQTT_AGENT: &str = "mqtt-agent";
const MCP_SESSION: &str = "mcp-session";
const MCP_STATELESS: &str = "mcp-stateless";

/// What the tool's process is told first.
const SERVE: &str = "serve";

/// What is echoed: 64 bytes.
const TEXT: &str = "0123456789012345678901234567890123456789012345678901234567890123";

/// Calls that are measured, of all callers together.
const CALLS: usize = 4_000;

/// Calls before.
const WARM: usize = 200;

/// How often each broker has its turn.
const ROUNDS: usize = 10;
