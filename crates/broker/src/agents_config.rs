//! `[agents]`: what agent protocols get beyond the letter of MQTT.

use agentmq_agents::Namespaces;
use agentmq_router::AgentSettings;

use crate::error::quoted;

/// `[agents]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentsConfig {
    /// Below which topics MQTT.Agent is spoken.
    pub namespaces: Vec<String>,
    /// Seconds that the session of an agent is kept which resumes it and says nothing of that.
    pub session_expiry_secs: u32,
    /// The same of one with a will, and so long that waits.
    pub return_secs: u32,
    /// Milliseconds for which the messages of such a session wait when its client is back.
    pub hold_on_resume_ms: u32,
    /// And so many more for each of its subscriptions.
    pub hold_per_subscription_ms: u32,
    /// Whether the arguments of a call must be what the tool's card says.
    pub check_arguments: bool,
    /// Whether MCP over MQTT is spoken below `$mcp-…`.
    pub mcp: bool,
    /// Whether who does not say which part of it he is has nothing to do there.
    pub mcp_component_type: bool,
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self {
            namespaces: vec!["a2a/v1".into()],
            session_expiry_secs: 300,
            return_secs: 5,
            hold_on_resume_ms: 200,
            hold_per_subscription_ms: 50,
            check_arguments: true,
            mcp: true,
            mcp_component_type: false,
        }
    }
}

impl AgentsConfig {
    /// Every rule that is broken, as key and message.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let problem = |text: &String| {
            let wrong = Namespaces::new(&[text]).err()?;
            Some(("agents.namespaces".to_owned(), format!("{}: {}", quoted(text), wrong.0)))
        };
        self.namespaces.iter().filter_map(problem).collect()
    }

    /// The same for a router.
    pub(crate) fn settings(&self) -> AgentSettings {
        AgentSettings {
            namespaces: Namespaces::new(&self.namespaces).unwrap_or_default(), // it was checked
            session_expiry_secs: self.session_expiry_secs,
            return_secs: self.return_secs,
            hold_on_resume_ms: self.hold_on_resume_ms,
            hold_per_subscription_ms: self.hold_per_subscription_ms,
            check_arguments: self.check_arguments,
            mcp: self.mcp,
            mcp_component_type: self.mcp && self.mcp_component_type,
        }
    }
}
