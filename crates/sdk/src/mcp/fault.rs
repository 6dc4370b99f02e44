//! What we say in JSON-RPC when a request fails on its way, and not at the server.

use std::time::Duration;

use rmcp::model::{ErrorCode, ErrorData};
use serde_json::json;

/// Why a request failed on its way. It stands in the error's `data.reason`, so that a caller need
/// not read the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No instance of the server is online, or its program is not running.
    Offline,
    /// The server went away while it worked on the request. It may or may not have done it.
    Gone,
    /// Too much at once: of requests, of sessions, or of messages that wait.
    Busy,
    /// No answer in time.
    Timeout,
    /// The message, or its answer, is larger than may be sent.
    TooLarge,
    /// The broker cannot be reached.
    Unreachable,
    /// The caller has taken the request back.
    Cancelled,
}

impl Fault {
    /// The word in `data.reason`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Offline => "server_offline",
            Self::Gone => "server_gone",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Unreachable => "broker_unreachable",
            Self::Cancelled => "cancelled",
        }
    }

    /// From the range that JSON-RPC leaves to implementations; -32000 and -32001 as others over
    /// MQTT use them.
    fn code(self) -> ErrorCode {
        ErrorCode(match self {
            Self::Timeout => -32001,
            _ => -32000,
        })
    }

    /// The fault with this name.
    fn named(name: &str) -> Option<Self> {
        const ALL: [Fault; 7] = [
            Fault::Offline,
            Fault::Gone,
            Fault::Busy,
            Fault::Timeout,
            Fault::TooLarge,
            Fault::Unreachable,
            Fault::Cancelled,
        ];
        ALL.into_iter().find(|fault| fault.name() == name)
    }
}

/// A JSON-RPC error for a fault.
#[must_use]
pub fn fault(fault: Fault, message: impl Into<String>) -> ErrorData {
    ErrorData::new(fault.code(), message.into(), Some(json!({ "reason": fault.name() })))
}

/// The fault that a JSON-RPC error tells of, if it is one of ours.
#[must_use]
pub fn fault_of(error: &ErrorData) -> Option<Fault> {
    Fault::named(error.data.as_ref()?.get("reason")?.as_str()?)
}

/// No answer in time.
pub(crate) fn timed_out(method: &str, after: Duration) -> ErrorData {
    fault(Fault::Timeout, format!("no answer to {method} within {after:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_known_again_by_its_error() {
        for kind in [Fault::Offline, Fault::Gone, Fault::Busy, Fault::Timeout, Fault::TooLarge] {
            let text = serde_json::to_string(&fault(kind, "x")).unwrap();
            let read: ErrorData = serde_json::from_str(&text).unwrap();
            assert_eq!(fault_of(&read), Some(kind));
        }
        assert_eq!(fault_of(&ErrorData::invalid_params("x", None)), None);
    }
}
