//! By which bindings to MQTT tools are offered.

use agentmq_client::{Error as MqttError, ReasonCode};
use agentmq_sdk::mcp;

/// The bindings of a server that is exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding {
    /// MCP over MQTT: tools, prompts and resources.
    Mcp,
    /// MQTT.Agent: tools.
    Agent,
    /// Both, as far as the broker allows them.
    #[default]
    Both,
}

impl Binding {
    pub(crate) fn has_mcp(self) -> bool {
        self != Self::Agent
    }

    pub(crate) fn has_agent(self) -> bool {
        self != Self::Mcp
    }

    /// Its name, as it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Agent => "agent",
            Self::Both => "both",
        }
    }
}

/// Whether the broker has said that we may not: it will say so again.
pub(crate) fn is_refusal(error: &MqttError) -> bool {
    let (MqttError::Refused { reason, .. } | MqttError::Rejected { reason, .. }) = error.cause()
    else {
        return false;
    };
    matches!(reason, ReasonCode::NotAuthorized | ReasonCode::BadUserNameOrPassword)
}

/// The same of MCP's binding.
pub(crate) fn is_refused(error: &mcp::Error) -> bool {
    match error {
        mcp::Error::Mqtt(cause) => is_refusal(cause),
        mcp::Error::Subscription { reason, .. } => *reason == ReasonCode::NotAuthorized,
        _ => false,
    }
}
