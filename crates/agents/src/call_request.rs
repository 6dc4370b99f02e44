//! A call of a tool, whole: what a caller sends and a server reads (MQTT.Agent 0.1 §5).

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::timestamp;

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// What the caller knows the answer by.
    pub call_id: String,
    /// What the tool is given.
    pub arguments: Value,
    /// Who calls, as it says itself; empty where it does not.
    pub client: String,
    /// Where the answer goes if no property says so.
    pub response_topic: Option<String>,
    /// An extension: the caller wants to be told that the call has started, and how to cancel it
    /// ([`StartedCall`]). Servers that do not know it do not look at it.
    pub cancellable: bool,
}

/// An extension: a server's word that a call has started. Its Response Topic is where the caller
/// may cancel it, whatever the message there says. It goes to callers that have asked for it only,
/// since others would take it for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartedCall<'a> {
    /// What the caller knows the call by.
    pub call_id: &'a str,
}

#[derive(Serialize)]
struct Written<'a> {
    call_id: &'a str,
    arguments: &'a Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    client: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "is_not")]
    cancellable: bool,
}

impl CallRequest {
    /// As a payload, sent at this time: milliseconds since 1970.
    #[must_use]
    pub fn payload(&self, now_ms: u64) -> Vec<u8> {
        let written = Written {
            call_id: &self.call_id,
            arguments: &self.arguments,
            client: &self.client,
            timestamp: timestamp(now_ms),
            response_topic: self.response_topic.as_deref(),
            cancellable: self.cancellable,
        };
        serde_json::to_vec(&written).expect("texts and values of JSON can be written as JSON")
    }

    /// Reads a payload; `None` for what is no JSON object or has no `call_id`, since nobody could
    /// be answered. Arguments that are left out are none.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut object: Map<String, Value> = serde_json::from_slice(payload).ok()?;
        let mut text = |key: &str| match object.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let call_id = text("call_id").filter(|id| !id.is_empty())?;
        let client = text("client").unwrap_or_default();
        let response_topic = text("response_topic").filter(|topic| !topic.is_empty());
        let cancellable = object.get("cancellable") == Some(&Value::Bool(true));
        let arguments = match object.remove("arguments") {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(arguments) => arguments,
        };
        Some(Self { call_id, arguments, client, response_topic, cancellable })
    }
}

impl StartedCall<'_> {
    /// As a payload.
    #[must_use]
    pub fn payload(self) -> Vec<u8> {
        json!({ "call_id": self.call_id, "status": STARTED }).to_string().into_bytes()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_not(yes: &bool) -> bool {
    !yes
}

pub(crate) const STARTED: &str = "started";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CallAnswer, Outcome};

    #[test]
    fn a_call_is_what_the_published_client_sends() {
        let mut call = CallRequest {
            call_id: "c1".into(),
            arguments: json!({ "a": 1 }),
            client: "me".into(),
            response_topic: Some("r".into()),
            cancellable: false,
        };
        let text = String::from_utf8(call.payload(0)).unwrap();
        let expected = [
            r#"{"call_id":"c1","arguments":{"a":1},"client":"me","#,
            r#""timestamp":"1970-01-01T00:00:00.000Z","response_topic":"r"}"#,
        ];
        assert_eq!(text, expected.concat());
        call.cancellable = true;
        assert_eq!(CallRequest::parse(&call.payload(7)), Some(call.clone()));
        call.client.clear();
        assert!(!String::from_utf8(call.payload(7)).unwrap().contains("client"));
        assert_eq!(CallRequest::parse(&call.payload(7)), Some(call));
    }

    #[test]
    fn what_others_leave_out_is_no_fault() {
        let call = CallRequest::parse(br#"{"call_id":"c","client":7,"arguments":null}"#).unwrap();
        assert_eq!((call.arguments, &*call.client), (json!({}), ""));
        assert_eq!((call.response_topic, call.cancellable), (None, false));
        for payload in [&b""[..], b"[]", b"{}", br#"{"call_id":""}"#, br#"{"call_id":1}"#, b"\xff"]
        {
            assert_eq!(CallRequest::parse(payload), None);
        }
    }

    #[test]
    fn that_it_has_started_is_no_answer() {
        let started = CallAnswer::parse(&StartedCall { call_id: "c" }.payload()).unwrap();
        assert_eq!((&*started.call_id, started.outcome), ("c", Outcome::Started));
    }
}
