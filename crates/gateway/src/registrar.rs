//! Keeps the registry of tools for those who follow servers, and tells what changes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use agentmq_agents::{Protocol, Registered, Registry, RegistryEvent, ServerKey};
use agentmq_sdk::tools::Cards;
use rmcp::model::Tool;
use tokio::sync::broadcast;

/// The registry, and who is told of changes.
#[derive(Debug)]
pub(crate) struct Registrar {
    registry: Mutex<Registry>,
    changes: broadcast::Sender<RegistryChange>,
}

/// What has happened to a server.
#[derive(Debug, Clone)]
pub struct RegistryChange {
    /// Which.
    pub server: ServerKey,
    /// What.
    pub event: RegistryEvent,
    /// What is known of it now.
    pub now: Registered,
}

impl Registrar {
    pub(crate) fn new() -> Self {
        Self { registry: Mutex::default(), changes: broadcast::channel(CHANGES).0 }
    }

    /// What happens from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<RegistryChange> {
        self.changes.subscribe()
    }

    /// So many instances of a server of MCP are there.
    pub(crate) fn set_instances(&self, server: &str, instances: usize) {
        let server = mcp(server);
        let event = self.lock().set_instances(&server, instances);
        self.tell(server, event);
    }

    /// A server of MCP tells its tools.
    pub(crate) fn set_tools(&self, server: &str, tools: &[Tool]) {
        let server = mcp(server);
        let tools = tools
            .iter()
            .map(|tool| (tool.name.to_string(), serde_json::to_value(tool).unwrap_or_default()));
        let event = self.lock().set_tools(&server, tools, now_ms());
        self.tell(server, event);
    }

    /// The cards of MQTT.Agent are these. A server is looked at when the cards of all its tools are
    /// there; what a gateway offers there is one of MCP already.
    pub(crate) fn set_cards(&self, cards: &Cards, filters: &[String]) {
        let is_meant = |server: &str| filters.iter().any(|it| agentmq_topic::matches(it, server));
        for info in cards.servers().filter(|info| is_meant(&info.name)) {
            let tools: Option<Vec<_>> = info.tools.iter().map(|name| cards.tool(name)).collect();
            let its = |tools: &Vec<agentmq_sdk::tools::ToolInfo>| {
                tools.iter().all(|tool| tool.server == info.name && tool.mcp.is_none())
            };
            let Some(tools) = tools.filter(its) else { continue };
            let server = ServerKey { protocol: Protocol::Agent, name: info.name };
            let event = self.lock().set_instances(&server, usize::from(info.online));
            self.tell(server.clone(), event);
            let tools = tools.into_iter().map(|tool| (tool.name, tool.card));
            let event = self.lock().set_tools(&server, tools, now_ms());
            self.tell(server, event);
        }
    }

    fn tell(&self, server: ServerKey, event: Option<RegistryEvent>) {
        let Some(event) = event else { return };
        if let RegistryEvent::ToolsChanged(change) = &event
            && !change.changed.is_empty()
        {
            let (server, tools) = (&*server.name, &change.changed);
            tracing::warn!(server, ?tools, "tools are not what they were");
        }
        let now = self.lock().server(&server).cloned().unwrap_or_default();
        // Nobody listens, as a rule.
        let _ = self.changes.send(RegistryChange { server, event, now });
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mcp(server: &str) -> ServerKey {
    ServerKey { protocol: Protocol::Mcp, name: server.to_owned() }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Changes that wait for who listens. Who is further behind misses the oldest.
const CHANGES: usize = 1024;
