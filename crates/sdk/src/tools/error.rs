//! What can go wrong, with the cause and the way out.

use std::fmt;
use std::sync::Arc;

use agentmq_agents::CallErrorKind;
use serde_json::Value;

/// Every failure of this module. `Display` names the cause, [`Error::fix`] what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection to the broker.
    #[error(transparent)]
    Mqtt(Arc<agentmq_client::Error>),
    /// A name that cannot stand in a topic, or stands twice.
    #[error("{what} {text:?} {why}")]
    Name {
        /// What it is.
        what: &'static str,
        /// The name.
        text: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// A schema of a tool that is none.
    #[error("the input schema of tool {tool:?}: {why}")]
    Schema {
        /// The tool.
        tool: String,
        /// What is wrong with it.
        why: String,
    },
    /// A call has failed.
    #[error("tool {tool:?} failed ({failure}): {message}")]
    Failed {
        /// The tool.
        tool: String,
        /// Why.
        failure: Failure,
        /// The same for people.
        message: String,
        /// The tool's own word for it.
        code: Option<Value>,
    },
    /// The connection was ended by ourselves.
    #[error("the connection to the bus is closed")]
    Closed,
}

/// Why a call has failed, in the protocol's words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The arguments do not fit the tool's input schema. Nothing was done.
    InvalidArguments,
    /// The caller may not. Nothing was done.
    Unauthorized,
    /// The tool has tried, and failed.
    ToolError,
    /// No answer in time; the tool may have done its work.
    Timeout,
    /// There is no server, it has no room, or it went away before it answered.
    Unavailable,
    /// Another word of the server's or the broker's, such as `quota_exceeded`.
    Other(String),
}

impl Failure {
    /// From `error.type`.
    pub(crate) fn named(name: &str) -> Self {
        match CallErrorKind::named(name) {
            Some(CallErrorKind::InvalidArguments) => Self::InvalidArguments,
            Some(CallErrorKind::Unauthorized) => Self::Unauthorized,
            Some(CallErrorKind::ToolError) => Self::ToolError,
            Some(CallErrorKind::Timeout) => Self::Timeout,
            Some(CallErrorKind::Unavailable) => Self::Unavailable,
            Some(CallErrorKind::QuotaExceeded) | None => Self::Other(name.to_owned()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidArguments => CallErrorKind::InvalidArguments.name(),
            Self::Unauthorized => CallErrorKind::Unauthorized.name(),
            Self::ToolError => CallErrorKind::ToolError.name(),
            Self::Timeout => CallErrorKind::Timeout.name(),
            Self::Unavailable => CallErrorKind::Unavailable.name(),
            Self::Other(name) => name,
        })
    }
}

impl Error {
    /// One sentence on what to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Mqtt(error) => error.fix(),
            Self::Name { .. } => "choose another one",
            Self::Schema { .. } => "correct the schema",
            Self::Failed { failure, .. } => match failure {
                Failure::InvalidArguments => "see the tool's card for what it takes",
                Failure::Unauthorized => "ask for the right to call this tool",
                Failure::ToolError => "see the message, and the server's log",
                Failure::Timeout => "wait longer; call again only if that does no harm",
                Failure::Unavailable => "start a server for it, or call again later",
                Failure::Other(_) => "see the message",
            },
            Self::Closed => "connect again",
        }
    }

    /// Why a call has failed, if this is about one.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure, .. } => Some(failure),
            _ => None,
        }
    }

    pub(crate) fn failed(tool: &str, failure: Failure, message: impl Into<String>) -> Self {
        Self::Failed { tool: tool.to_owned(), failure, message: message.into(), code: None }
    }
}

impl From<agentmq_client::Error> for Error {
    fn from(error: agentmq_client::Error) -> Self {
        match error {
            agentmq_client::Error::Closed => Self::Closed,
            other => Self::Mqtt(Arc::new(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_keep_their_names() {
        for name in
            ["invalid_arguments", "unauthorized", "tool_error", "timeout", "unavailable", "odd", ""]
        {
            assert_eq!(Failure::named(name).to_string(), name);
        }
        assert_eq!(Failure::named("quota_exceeded"), Failure::Other("quota_exceeded".into()));
    }
}
