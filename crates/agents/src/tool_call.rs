//! A call of a tool, as a broker sees it (MQTT.Agent 0.1 §5).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a call's payload says. Of what is not asked for nothing is kept, and arguments are not
/// read: each call passes here.
#[derive(Debug, Clone, Default)]
pub struct ToolCall<'a> {
    /// `call_id`: what the caller knows the answer by.
    pub call_id: Option<Cow<'a, str>>,
    /// `client`: who calls, as it says itself.
    pub client: Option<Cow<'a, str>>,
    /// `response_topic`: where the answer goes if no property says so.
    pub response_topic: Option<Cow<'a, str>>,
    /// `arguments`: what the tool is given.
    arguments: Option<&'a RawValue>,
}

impl<'a> ToolCall<'a> {
    /// Reads a payload; `None` for what is no JSON object. Of keys that stand twice the last one
    /// counts, as for whoever gets it.
    #[must_use]
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_str(str::from_utf8(payload).ok()?).ok()
    }

    /// What the tool is given, null where nothing is; `None` for what servers cannot read: it is
    /// nested too deeply, or has a number that is too large.
    #[must_use]
    pub fn arguments(&self) -> Option<Value> {
        self.arguments.map_or(Some(Value::Null), |it| serde_json::from_str(it.get()).ok())
    }
}

impl<'de> Deserialize<'de> for ToolCall<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = ToolCall<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut call = ToolCall::default();
                while let Some(Text(key)) = map.next_key()? {
                    let place = match &*key {
                        "call_id" => &mut call.call_id,
                        "client" => &mut call.client,
                        "response_topic" => &mut call.response_topic,
                        "arguments" => {
                            call.arguments = Some(map.next_value()?);
                            continue;
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *place = text(map.next_value()?);
                }
                Ok(call)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A text, without a copy where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(value.get()).ok().map(|Text(text)| text)
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
        assert_eq!(call.arguments(), Some(json!({ "client": "x" })));
        let odd = br#"{"call_id":7,"client":null,"response_topic":["a"],"arguments":null}"#;
        let odd = ToolCall::parse(odd).unwrap();
        assert_eq!((&odd.call_id, &odd.client, &odd.response_topic), (&None, &None, &None));
        assert_eq!(odd.arguments(), Some(Value::Null));
        let escaped = ToolCall::parse(br#"{"cl\u0069ent":"\u0061\n"}"#).unwrap();
        assert_eq!(escaped.client.as_deref(), Some("a\n"));
        assert_eq!(escaped.arguments(), Some(Value::Null));
    }

    #[test]
    fn what_is_no_object_is_no_call() {
        for payload in [&b""[..], b"[]", b"null", b"{", b"{\"a\":\"\xff\"}", b"{}{}"] {
            assert!(ToolCall::parse(payload).is_none());
        }
    }

    #[test]
    fn how_deep_a_call_is_costs_no_stack() {
        for key in ["arguments", "client", "other"] {
            let deep = format!("{{\"{key}\":{}1{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
            let call = ToolCall::parse(deep.as_bytes()).unwrap();
            assert!(call.client.is_none() && call.arguments().is_none_or(|it| it.is_null()));
        }
    }

    #[test]
    fn arguments_that_nobody_can_read_are_not_read() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for arguments in [&*deep, "1e999", r#""\ud800""#] {
            let payload = format!(r#"{{"client":"a","arguments":{arguments}}}"#);
            let call = ToolCall::parse(payload.as_bytes()).unwrap();
            assert_eq!((call.client.as_deref(), call.arguments()), (Some("a"), None));
        }
    }
}
