//! Keeps the registry of tools for those who follow servers, and tells what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use agentmq_agents::{Protocol, Registered, Registry, RegistryEvent, ServerKey};
use agentmq_sdk::tools::Cards;
use rmcp::model::Tool;
use tokio::sync::broadcast;

use crate::agent_tools::AgentTool;

/// The registry, and who is told of changes.
#[derive(Debug)]
pub(crate) struct Registrar {
    /// `None` where nobody asks for it: then nothing is done.
    registry: Option<Mutex<Registry>>,
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

/// A server, as the cards have it.
#[derive(Debug, Default)]
struct Seen {
    is_online: bool,
    /// Whether cards of its tools are missing.
    is_partial: bool,
    tools: Vec<AgentTool>,
}

impl Registrar {
    pub(crate) fn new() -> Self {
        Self { registry: Some(Mutex::default()), changes: broadcast::channel(CHANGES).0 }
    }

    /// One that does nothing.
    pub(crate) fn off() -> Self {
        Self { registry: None, changes: broadcast::channel(1).0 }
    }

    /// What happens from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<RegistryChange> {
        self.changes.subscribe()
    }

    /// So many instances of a server of MCP are there.
    pub(crate) fn set_instances(&self, server: &str, instances: usize) {
        self.change(mcp(server), |registry, server| registry.set_instances(server, instances));
    }

    /// A server of MCP tells its tools.
    pub(crate) fn set_tools(&self, server: &str, tools: &[Tool]) {
        let tools = tools
            .iter()
            .map(|tool| (tool.name.to_string(), serde_json::to_value(tool).unwrap_or_default()));
        self.change(mcp(server), |registry, server| registry.set_tools(server, tools, now_ms()));
    }

    /// The cards of MQTT.Agent are these. A server is looked at when the cards of all its tools are
    /// there; what a gateway serves by MCP's binding, too, is one of MCP already. Without a card it
    /// is offline.
    pub(crate) fn set_cards(&self, cards: &Cards, filters: &[String]) {
        if self.registry.is_none() {
            return;
        }
        let is_meant = |server: &str| filters.iter().any(|it| agentmq_topic::matches(it, server));
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        for info in cards.servers() {
            let its = info.tools.iter().filter_map(|name| cards.tool(name));
            let its: Vec<_> = its.filter(|tool| tool.server == info.name).collect();
            let is_partial = its.len() < info.tools.len();
            let mut names = BTreeSet::new();
            for tool in its.into_iter().map(AgentTool::new) {
                // What a gateway offers is called by what it is to MCP.
                names.insert(tool.server.clone());
                seen.entry(tool.server.clone()).or_default().tools.push(tool);
            }
            if names.is_empty() {
                names.insert(info.name);
            }
            for name in names {
                let server = seen.entry(name).or_default();
                server.is_online |= info.online;
                server.is_partial |= is_partial;
            }
        }
        seen.retain(|name, it| is_meant(name) && !it.tools.iter().any(|tool| tool.is_served));
        for gone in self.online_agents() {
            if !seen.get(&gone.name).is_some_and(|it| it.is_online) {
                self.change(gone, |registry, server| registry.set_instances(server, 0));
            }
        }
        for (name, Seen { is_online, tools, .. }) in seen.into_iter().filter(|it| !it.1.is_partial)
        {
            let server = ServerKey { protocol: Protocol::Agent, name };
            let instances = usize::from(is_online);
            self.change(server.clone(), |it, server| it.set_instances(server, instances));
            let tools = tools.into_iter().map(|tool| (tool.name, tool.card));
            self.change(server, |it, server| it.set_tools(server, tools, now_ms()));
        }
    }

    fn online_agents(&self) -> Vec<ServerKey> {
        let Some(registry) = self.lock() else { return Vec::new() };
        let online = registry
            .servers()
            .filter(|(server, known)| server.protocol == Protocol::Agent && known.instances > 0);
        online.map(|(server, _)| server.clone()).collect()
    }

    /// Changes what is known of a server, and tells if that is news.
    fn change(
        &self,
        server: ServerKey,
        change: impl FnOnce(&mut Registry, &ServerKey) -> Option<RegistryEvent>,
    ) {
        let Some(mut registry) = self.lock() else { return };
        let Some(event) = change(&mut registry, &server) else { return };
        let now = registry.server(&server).cloned().unwrap_or_default();
        drop(registry);
        if let RegistryEvent::ToolsChanged(change) = &event
            && !change.changed.is_empty()
        {
            let (server, tools) = (&*server.name, &change.changed);
            tracing::warn!(server, ?tools, "tools are not what they were");
        }
        // Nobody listens, as a rule.
        let _ = self.changes.send(RegistryChange { server, event, now });
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> Option<MutexGuard<'_, Registry>> {
        let registry = self.registry.as_ref()?;
        Some(registry.lock().unwrap_or_else(PoisonError::into_inner))
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
