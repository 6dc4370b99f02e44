//! Why a call has failed (MQTT.Agent 0.1 §5), and the answer where no tool has given one.

use serde_json::json;

/// Why a call has failed, in the protocol's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallErrorKind {
    /// The arguments, or the call itself, are not what is expected.
    InvalidArguments,
    /// The caller may not.
    Unauthorized,
    /// The caller may not now: a quota is used up. No word of the protocol's own; a caller shows
    /// the message of what it does not know.
    QuotaExceeded,
    /// There is no server to answer, or none any more.
    Unavailable,
    /// The tool has tried, and failed.
    ToolError,
    /// It took too long.
    Timeout,
}

impl CallErrorKind {
    /// `error.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArguments => "invalid_arguments",
            Self::Unauthorized => "unauthorized",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Unavailable => "unavailable",
            Self::ToolError => "tool_error",
            Self::Timeout => "timeout",
        }
    }

    /// The kind of this name; `None` for words that nobody here knows.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.name() == name)
    }
}

const KINDS: [CallErrorKind; 6] = [
    CallErrorKind::InvalidArguments,
    CallErrorKind::Unauthorized,
    CallErrorKind::QuotaExceeded,
    CallErrorKind::Unavailable,
    CallErrorKind::ToolError,
    CallErrorKind::Timeout,
];

/// The answer.
#[derive(Debug, Clone, Copy)]
pub struct CallError<'a> {
    /// What the caller knows the call by.
    pub call_id: &'a str,
    /// Why it has failed.
    pub kind: CallErrorKind,
    /// The same for people, with what to do about it.
    pub message: &'a str,
}

impl CallError<'_> {
    /// As a payload.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let error = json!({ "type": self.kind.name(), "message": self.message });
        let answer = json!({ "call_id": self.call_id, "status": "error", "error": error });
        answer.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_answer_is_what_a_caller_reads() {
        let kind = CallErrorKind::Unavailable;
        let payload = CallError { call_id: "c\"1", kind, message: "gone" }.payload();
        let answer: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((&answer["call_id"], &answer["status"]), (&"c\"1".into(), &"error".into()));
        assert_eq!(answer["error"], json!({"type": "unavailable", "message": "gone"}));
    }

    #[test]
    fn kinds_are_known_by_their_names() {
        for kind in KINDS {
            assert_eq!(CallErrorKind::named(kind.name()), Some(kind));
        }
        assert_eq!(CallErrorKind::named("Timeout"), None);
    }
}
