//! What a server answers to a call (MQTT.Agent 0.1 §5).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call_request::STARTED;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct CallAnswer {
    /// The call that it answers.
    pub call_id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long the tool has worked.
    pub elapsed_ms: u64,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The tool's result.
    Ok(Value),
    /// It failed.
    Error {
        /// `error.type`, a word of [`crate::CallErrorKind`] or one that nobody here knows.
        kind: String,
        /// The same for people.
        message: String,
        /// `error.code`, if there is one.
        code: Option<Value>,
    },
    /// No answer yet: see [`crate::StartedCall`].
    Started,
}

#[derive(Serialize)]
struct Written<'a> {
    call_id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<WrittenError<'a>>,
    elapsed_ms: u64,
}

#[derive(Serialize)]
struct WrittenError<'a> {
    r#type: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a Value>,
}

#[derive(Deserialize)]
struct Read {
    call_id: String,
    status: String,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<ReadError>,
    #[serde(default)]
    elapsed_ms: f64,
}

#[derive(Default, Deserialize)]
struct ReadError {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    code: Option<Value>,
}

impl CallAnswer {
    /// As a payload.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let (status, result, error) = match &self.outcome {
            Outcome::Ok(result) => ("ok", Some(result), None),
            Outcome::Error { kind, message, code } => {
                let code = code.as_ref();
                ("error", None, Some(WrittenError { r#type: kind, message, code }))
            }
            Outcome::Started => (STARTED, None, None),
        };
        let elapsed_ms = self.elapsed_ms;
        let written = Written { call_id: &self.call_id, status, result, error, elapsed_ms };
        serde_json::to_vec(&written).expect("texts and values of JSON can be written as JSON")
    }

    /// Reads a payload; `None` for what is no answer. A result that is left out is null: so the
    /// published server says that its tool has returned nothing.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let read: Read = serde_json::from_slice(payload).ok()?;
        let outcome = match &*read.status {
            "ok" => Outcome::Ok(read.result),
            "error" => {
                let ReadError { r#type: kind, message, code } = read.error.unwrap_or_default();
                Outcome::Error { kind, message, code }
            }
            STARTED => Outcome::Started,
            _ => return None,
        };
        // A cast takes the nearest number there is.
        Some(Self { call_id: read.call_id, outcome, elapsed_ms: read.elapsed_ms as u64 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answer(outcome: Outcome) -> CallAnswer {
        CallAnswer { call_id: "c".into(), outcome, elapsed_ms: 3 }
    }

    #[test]
    fn answers_are_what_the_published_server_says() {
        let text = |outcome| String::from_utf8(answer(outcome).payload()).unwrap();
        let ok = r#"{"call_id":"c","status":"ok","result":[1],"elapsed_ms":3}"#;
        assert_eq!(text(Outcome::Ok(json!([1]))), ok);
        let (kind, message) = ("tool_error".to_owned(), "no".to_owned());
        let failed = [
            r#"{"call_id":"c","status":"error","#,
            r#""error":{"type":"tool_error","message":"no"},"elapsed_ms":3}"#,
        ];
        assert_eq!(text(Outcome::Error { kind, message, code: None }), failed.concat());
    }

    #[test]
    fn what_others_leave_out_is_no_fault() {
        let nothing = CallAnswer::parse(br#"{"call_id":"c","status":"ok","elapsed_ms":1.5}"#);
        assert_eq!(nothing.unwrap().outcome, Outcome::Ok(Value::Null));
        let bare = CallAnswer::parse(br#"{"call_id":"c","status":"error"}"#).unwrap();
        assert!(matches!(bare.outcome, Outcome::Error { kind, .. } if kind.is_empty()));
        for payload in [&b""[..], b"{}", b"7", br#"{"call_id":"c","status":"late"}"#] {
            assert_eq!(CallAnswer::parse(payload), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            kind in ".*",
            message in ".*",
            code in 0..9i32,
            ok in any::<bool>(),
        ) {
            let outcome = match ok {
                true => Outcome::Ok(json!({ "text": message })),
                false => Outcome::Error { kind, message, code: Some(json!(code)) },
            };
            let written = answer(outcome);
            prop_assert_eq!(CallAnswer::parse(&written.payload()), Some(written));
        }

        #[test]
        fn anything_may_come(payload in any::<Vec<u8>>()) {
            let _ = CallAnswer::parse(&payload);
            let _ = crate::CallRequest::parse(&payload);
            let _ = crate::Partial::parse(&payload);
        }
    }
}
