//! The tools of the bus for a caller that wants one answer: the command line.

use std::collections::BTreeMap;
use std::time::Duration;

use agentmq_agents::{Protocol, Registry, ServerKey};
use agentmq_sdk::mcp::{
    self, Bus, BusConfig, Call, DISCOVERY_TIMEOUT, Fault, Session, call, fault_of,
};
use agentmq_sdk::tools::ToolClient;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ContentBlock, ErrorCode, ErrorData,
    JsonObject, ProgressNotificationParam, ResourceContents, ServerResult,
};
use serde_json::Value;

use crate::Error;
use crate::agent_tools::{self, AgentTool};
use crate::binding::is_refused;
use crate::client_side::OurSide;
use crate::listing;
use crate::registrar::now_ms;
use crate::servers::Servers;

/// A connection that asks servers for their tools.
#[derive(Debug)]
pub struct Tools {
    /// `None` where the broker does not allow MCP's binding; then there is the other one.
    bus: Option<Bus>,
    /// `None` without MQTT.Agent's.
    agents: Option<ToolClient>,
    filters: Vec<String>,
}

/// A tool of a server.
#[derive(Debug, Clone)]
pub struct Tool {
    /// By which binding it is called.
    pub binding: Protocol,
    /// The server-name.
    pub server: String,
    /// What the server calls it.
    pub name: String,
    /// What it does, in the server's words.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub input_schema: Value,
    /// All of it, as the server has it.
    pub json: Value,
}

/// A server that could not be asked.
#[derive(Debug, Clone)]
pub struct Unheard {
    /// The server-name.
    pub server: String,
    /// Why.
    pub why: String,
}

/// What a tool has answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The parts of the answer that are texts; of others what they are.
    pub parts: Vec<String>,
    /// Whether the tool says that it has failed.
    pub is_error: bool,
    /// All of it.
    pub json: Value,
}

impl Tools {
    /// Connects, and finds out who is online. A binding that the broker does not allow is left out,
    /// unless that is true of both.
    pub async fn connect(servers: Servers) -> Result<Self, Error> {
        let Servers { filters, namespace, options } = servers;
        let config = BusConfig { filters: filters.clone(), ..BusConfig::default() };
        let (bus, agents) = tokio::join!(
            Box::pin(Bus::connect(options.clone(), config)),
            Box::pin(agent_tools::connect(&options, &namespace)),
        );
        let agents = agents.inspect_err(|error| tracing::info!(%error, "no tools of MQTT.Agent"));
        let (bus, agents) = match (bus, agents.ok()) {
            (Ok(bus), agents) => (Some(bus), agents),
            (Err(error), Some(client)) if is_refused(&error) => {
                tracing::info!(%error, "no servers of MCP");
                (None, Some(client))
            }
            (Err(error), _) => return Err(error.into()),
        };
        if let Some(bus) = &bus
            && !bus.discovered(DISCOVERY_TIMEOUT).await
        {
            if !bus.is_connected() {
                return Err(mcp::Error::from(bus.client().ending()).into());
            }
            tracing::warn!("the broker has not told in time who is online");
        }
        Ok(Self { bus, agents, filters })
    }

    /// The names of MCP's servers that are online.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let names = |bus: &Bus| bus.directory().names().map(str::to_owned).collect();
        self.bus.as_ref().map(names).unwrap_or_default()
    }

    /// Tools of MQTT.Agent that are online. What MCP's binding has is there already.
    async fn agent_tools(&self) -> Vec<AgentTool> {
        let Some(client) = &self.agents else { return Vec::new() };
        if let Err(error) = client.tools().await {
            tracing::info!(%error, "no tools of MQTT.Agent");
        }
        let mut online = agent_tools::online(&client.cards(), &self.filters);
        online.retain(|tool| !(tool.is_served && self.bus.is_some()));
        online
    }

    /// The tools of all servers, and who could not be asked.
    pub async fn list(&self) -> (Vec<Tool>, Vec<Unheard>) {
        let ((mut tools, unheard), agents) = tokio::join!(self.list_mcp(), self.agent_tools());
        tools.extend(agents.iter().map(describe_agent));
        tools.sort_by(|a, b| (&a.server, &a.name).cmp(&(&b.server, &b.name)));
        (tools, unheard)
    }

    async fn list_mcp(&self) -> (Vec<Tool>, Vec<Unheard>) {
        let Some(bus) = &self.bus else { return Default::default() };
        let mut asked = tokio::task::JoinSet::new();
        let (mut tools, mut unheard) = (Vec::new(), Vec::new());
        let mut names = self.servers().into_iter();
        loop {
            while asked.len() < AT_ONCE
                && let Some(server) = names.next()
            {
                let bus = bus.clone();
                asked.spawn(async move { (tools_of(&bus, &server).await, server) });
            }
            match asked.join_next().await {
                Some(Ok((Ok(its), _))) => tools.extend(its),
                Some(Ok((Err(why), server))) => unheard.push(Unheard { server, why }),
                Some(Err(_)) => {}
                None => break,
            }
        }
        unheard.sort_by(|a, b| a.server.cmp(&b.server));
        (tools, unheard)
    }

    /// What the registry says of servers with these tools; those that could not be asked are not in
    /// it.
    #[must_use]
    pub fn registry(&self, tools: &[Tool], unheard: &[Unheard]) -> Registry {
        let mut by_server: BTreeMap<ServerKey, Vec<(String, Value)>> = BTreeMap::new();
        let is_heard = |name: &String| !unheard.iter().any(|it| it.server == *name);
        for name in self.servers().into_iter().filter(is_heard) {
            by_server.insert(ServerKey { protocol: Protocol::Mcp, name }, Vec::new());
        }
        for tool in tools {
            let server = ServerKey { protocol: tool.binding, name: tool.server.clone() };
            by_server.entry(server).or_default().push((tool.name.clone(), tool.json.clone()));
        }
        let mut registry = Registry::default();
        for (server, tools) in by_server {
            let instances = match server.protocol {
                Protocol::Mcp => self.instances(&server.name).len(),
                Protocol::Agent => 1,
            };
            registry.set_instances(&server, instances);
            registry.set_tools(&server, tools, now_ms());
        }
        registry
    }

    /// The client ids of the instances of an MCP server that are online.
    #[must_use]
    pub fn instances(&self, server: &str) -> Vec<String> {
        let Some(bus) = &self.bus else { return Vec::new() };
        bus.directory().instances(server).map(|it| it.instance.id().to_owned()).collect()
    }

    /// The MCP server and the tool that `SERVER/TOOL` means: both parts may have slashes, and a
    /// server that is online wins over one with a shorter name.
    #[must_use]
    pub fn resolve(&self, target: &str) -> Option<(String, String)> {
        let servers = self.servers().into_iter();
        servers
            .filter_map(|server| {
                let tool = target.strip_prefix(&*server)?.strip_prefix('/')?.to_owned();
                (!tool.is_empty()).then_some((server, tool))
            })
            .max_by_key(|(server, _)| server.len())
    }

    /// Opens a session with a server.
    pub async fn open(&self, server: &str) -> Result<Opened, Error> {
        let nobody = || mcp::Error::Offline(server.to_owned());
        let bus = self.bus.as_ref().ok_or_else(nobody)?;
        Ok(Opened(Way::Mcp(Box::new(bus.open_any(server, ours).await?))))
    }

    /// The tool of MQTT.Agent that `SERVER/TOOL` means, if there is one.
    pub async fn open_agent(&self, target: &str) -> Option<(Opened, Tool)> {
        let client = self.agents.clone()?;
        let mut online = self.agent_tools().await.into_iter();
        let tool = online.find(|tool| format!("{}/{}", tool.server, tool.name) == target)?;
        let described = describe_agent(&tool);
        Some((Opened(Way::Agent(Box::new((client, tool)))), described))
    }

    /// Says good-bye.
    pub async fn close(&self) {
        if let Some(bus) = &self.bus {
            bus.close().await;
        }
        if let Some(client) = &self.agents {
            client.close().await;
        }
    }
}

/// A way to a server.
#[derive(Debug)]
pub struct Opened(Way);

#[derive(Debug)]
enum Way {
    Mcp(Box<Session>),
    Agent(Box<(ToolClient, AgentTool)>),
}

impl Opened {
    /// A tool of the server, if it has one of that name.
    pub async fn tool(&self, server: &str, name: &str) -> Result<Option<Tool>, Refusal> {
        let session = match &self.0 {
            Way::Mcp(session) => session,
            Way::Agent(agent) => return Ok(Some(describe_agent(&agent.1))),
        };
        let tools = listing::tools(session.peer(), has_tools(session)).await?;
        Ok(tools.iter().find(|tool| tool.name == name).map(|tool| describe(server, tool)))
    }

    /// Calls a tool. Progress is told as it comes: how far, of how much, and a text.
    pub async fn call(
        &self,
        name: &str,
        arguments: JsonObject,
        timeout: Duration,
        mut progress: impl FnMut(f64, Option<f64>, Option<&str>),
        stop: impl Future<Output = ()>,
    ) -> Result<Answer, Refusal> {
        let told = |report: ProgressNotificationParam| {
            progress(report.progress, report.total, report.message.as_deref());
            std::future::ready(())
        };
        let session = match &self.0 {
            Way::Mcp(session) => session,
            Way::Agent(agent) => {
                let (client, tool) = &**agent;
                let called = tool.call(client, arguments, timeout, Some(told), stop).await;
                return Ok(Answer::of(&called?));
            }
        };
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        let mut request = Call::new(CallToolRequest::new(params).into());
        request.timeout = timeout;
        match call(session.peer(), request, Some(told), stop).await? {
            ServerResult::CallToolResult(result) => Ok(Answer::of(&result)),
            other => Ok(Answer {
                parts: Vec::new(),
                is_error: false,
                json: serde_json::to_value(&other).unwrap_or_default(),
            }),
        }
    }
}

impl Answer {
    fn of(result: &CallToolResult) -> Self {
        Self {
            parts: result.content.iter().map(text_of).collect(),
            is_error: result.is_error == Some(true),
            json: serde_json::to_value(result).unwrap_or_default(),
        }
    }
}

/// A JSON-RPC error: of the server, or of the way to it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// JSON-RPC's code.
    pub code: i32,
    /// In words.
    pub message: String,
    /// What happened on the way; `None` when it is the server that says no.
    pub fault: Option<Fault>,
}

impl Refusal {
    /// Whether the server does not accept the arguments.
    #[must_use]
    pub fn is_invalid_params(&self) -> bool {
        self.fault.is_none() && self.code == ErrorCode::INVALID_PARAMS.0
    }
}

impl From<ErrorData> for Refusal {
    fn from(error: ErrorData) -> Self {
        let fault = fault_of(&error);
        Self { code: error.code.0, message: error.message.into_owned(), fault }
    }
}

async fn tools_of(bus: &Bus, server: &str) -> Result<Vec<Tool>, String> {
    let session = bus.open_any(server, ours).await.map_err(|error| error.to_string())?;
    let has = has_tools(&session);
    let tools = listing::tools(session.peer(), has).await;
    let tools = tools.map_err(|error| error.message.into_owned())?;
    Ok(tools.iter().map(|tool| describe(server, tool)).collect())
}

fn has_tools(session: &Session) -> bool {
    session.peer().peer_info().is_some_and(|info| info.capabilities.tools.is_some())
}

fn describe(server: &str, tool: &rmcp::model::Tool) -> Tool {
    Tool {
        binding: Protocol::Mcp,
        server: server.to_owned(),
        name: tool.name.to_string(),
        description: tool.description.as_deref().unwrap_or_default().to_owned(),
        input_schema: Value::Object(tool.input_schema.as_ref().clone()),
        json: serde_json::to_value(tool).unwrap_or_default(),
    }
}

fn describe_agent(tool: &AgentTool) -> Tool {
    Tool {
        binding: Protocol::Agent,
        server: tool.server.clone(),
        name: tool.name.clone(),
        description: tool.tool.description.as_deref().unwrap_or_default().to_owned(),
        input_schema: Value::Object(tool.tool.input_schema.as_ref().clone()),
        json: tool.card.clone(),
    }
}

fn text_of(block: &ContentBlock) -> String {
    let binary = |what: &str, mime: &str, data: &str| {
        format!("({what}, {mime}, {} bytes of base64; --json prints it)", data.len())
    };
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => binary("image", &image.mime_type, &image.data),
        ContentBlock::Audio(audio) => binary("audio", &audio.mime_type, &audio.data),
        ContentBlock::ResourceLink(link) => format!("(resource {})", link.uri),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { uri, blob, .. } => {
                binary("resource", uri, blob)
            }
            _ => "(resource)".into(),
        },
        _ => "(content of an unknown kind; --json prints it)".into(),
    }
}

/// Our side of a session in which only answers are of use.
fn ours() -> OurSide {
    OurSide::new(drop)
}

/// Servers that are asked at the same time.
const AT_ONCE: usize = 64;
