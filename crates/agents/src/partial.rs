//! What a tool says while it works (MQTT.Agent 0.1 §5): messages on the stream of a call.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Partial {
    /// The call.
    pub call_id: String,
    /// Its place. Ours count from 1; the published server writes the time, which may repeat.
    pub seq: u64,
    /// What is said; `None` closes the stream.
    pub value: Option<Value>,
}

#[derive(Serialize)]
struct Written<'a> {
    call_id: &'a str,
    seq: u64,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

#[derive(Deserialize)]
struct Read {
    call_id: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    data: Option<Value>,
}

impl Partial {
    /// As a payload: a text is `content`, everything else `data`.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let (content, data) = match &self.value {
            Some(Value::String(text)) => (Some(&**text), None),
            other => (None, other.as_ref()),
        };
        let r#type = if self.value.is_some() { "partial" } else { DONE };
        let written = Written { call_id: &self.call_id, seq: self.seq, r#type, content, data };
        serde_json::to_vec(&written).expect("texts and values of JSON can be written as JSON")
    }

    /// Reads a payload; `None` for what is no message of a stream.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let read: Read = serde_json::from_slice(payload).ok()?;
        let value = match (&*read.r#type, read.content, read.data) {
            (DONE, ..) => None,
            (_, Some(text), _) => Some(Value::String(text)),
            (_, None, data) => Some(data.unwrap_or_default()),
        };
        Some(Self { call_id: read.call_id, seq: read.seq, value })
    }
}

const DONE: &str = "done";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn streams_are_what_the_published_client_reads() {
        for (value, text) in [
            (Some(json!("a")), r#"{"call_id":"c","seq":1,"type":"partial","content":"a"}"#),
            (Some(json!({"n":1})), r#"{"call_id":"c","seq":1,"type":"partial","data":{"n":1}}"#),
            (Some(json!(null)), r#"{"call_id":"c","seq":1,"type":"partial","data":null}"#),
            (None, r#"{"call_id":"c","seq":1,"type":"done"}"#),
        ] {
            let partial = Partial { call_id: "c".into(), seq: 1, value };
            assert_eq!(String::from_utf8(partial.payload()).unwrap(), text);
            assert_eq!(Partial::parse(text.as_bytes()), Some(partial));
        }
        assert_eq!(Partial::parse(b"{}"), None);
    }
}
