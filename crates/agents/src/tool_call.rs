//! A call of a tool, as a broker sees it (MQTT.Agent 0.1 §5).

use serde_json::Value;

/// What a call's payload says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// `call_id`: what the caller knows the answer by.
    pub call_id: Option<String>,
    /// `client`: who calls, as it says itself.
    pub client: Option<String>,
    /// `response_topic`: where the answer goes if no property says so.
    pub response_topic: Option<String>,
    /// `arguments`: what the tool is given; null is none.
    pub arguments: Option<Value>,
}

impl ToolCall {
    /// Reads a payload; `None` for what is no JSON object. Of keys that stand twice the last one
    /// counts, as for whoever gets it.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let Value::Object(mut object) = serde_json::from_slice(payload).ok()? else { return None };
        let mut take = |key: &str| match object.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Some(Self {
            call_id: take("call_id"),
            client: take("client"),
            response_topic: take("response_topic"),
            arguments: object.remove("arguments").filter(|it| !it.is_null()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_read() {
        let payload = br#"{"call_id":"c1","arguments":{"client":"x"},"client":"a","client":"b"}"#;
        let call = ToolCall::parse(payload).unwrap();
        assert_eq!((call.call_id.as_deref(), call.client.as_deref()), (Some("c1"), Some("b")));
        assert_eq!(call.response_topic, None);
        assert_eq!(call.arguments, Some(json!({ "client": "x" })));
        let odd = ToolCall::parse(br#"{"call_id":7,"client":null,"arguments":null}"#);
        assert_eq!(odd, Some(ToolCall::default()));
    }

    #[test]
    fn what_is_no_object_is_no_call() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        for payload in [&b""[..], b"[]", b"null", b"{", b"{\"a\":\"\xff\"}", deep.as_bytes()] {
            assert_eq!(ToolCall::parse(payload), None);
        }
    }
}
