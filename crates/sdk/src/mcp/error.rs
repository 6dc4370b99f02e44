//! What can go wrong, with the cause and the way out.

use std::sync::Arc;
use std::time::Duration;

use agentmq_agents::mcp::WrongName;

/// Every failure of this module. `Display` names the cause, [`Error::fix`] what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection to the broker.
    #[error(transparent)]
    Mqtt(Arc<agentmq_client::Error>),
    /// A name or identifier that the binding does not allow.
    #[error("{0}")]
    Name(WrongName),
    /// The broker has given this server another name since.
    #[error("the broker has renamed this server from {from:?} to {to:?}")]
    Renamed {
        /// The name in use.
        from: String,
        /// The new one.
        to: String,
    },
    /// The broker granted no subscription that a session needs.
    #[error("the broker refused the subscription to {filter}: {reason}")]
    Subscription {
        /// The filter.
        filter: String,
        /// Its reason code.
        reason: agentmq_client::ReasonCode,
    },
    /// No instance of this server is online.
    #[error("no MCP server named {0:?} is online")]
    Offline(String),
    /// Nobody subscribes where the message went: the peer is gone.
    #[error("nobody reads {topic}: the other side is gone")]
    NobodyReads {
        /// The topic.
        topic: String,
    },
    /// The server did not answer, or broke off, while a session began.
    #[error("cannot begin a session with {server}: {why}")]
    Initialize {
        /// Server-name and server-id.
        server: String,
        /// Cause.
        why: String,
    },
    /// Nothing came in time.
    #[error("no {what} within {after:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The broker has lost our session, and with it what it had not acknowledged.
    #[error("the broker has lost our session: this may not have been sent")]
    SessionLost,
    /// The connection was ended by ourselves.
    #[error("the connection to the bus is closed")]
    Closed,
}

impl Error {
    /// One sentence on what to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Mqtt(error) => error.fix(),
            Self::Name(_) => "choose another one",
            Self::Renamed { .. } => "start the server again",
            Self::Subscription { .. } => "ask for the right to the topics of MCP (`$mcp-…`)",
            Self::Offline(_) => "`agentmq tools ls` shows which servers are online",
            Self::NobodyReads { .. } => "try again: another instance may have taken over",
            Self::Initialize { .. } => "see the server's log",
            Self::Timeout { .. } => "check that the other side runs, or wait longer",
            Self::SessionLost => "try again",
            Self::Closed => "connect again",
        }
    }
}

impl From<WrongName> for Error {
    fn from(wrong: WrongName) -> Self {
        Self::Name(wrong)
    }
}

impl From<agentmq_client::Error> for Error {
    fn from(error: agentmq_client::Error) -> Self {
        match error {
            agentmq_client::Error::Closed => Self::Closed,
            agentmq_client::Error::SessionLost => Self::SessionLost,
            other => Self::Mqtt(Arc::new(other)),
        }
    }
}
