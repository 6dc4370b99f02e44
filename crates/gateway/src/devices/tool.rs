//! A tool that is a device's: what is sent for a call, and what ends it.

use std::time::Duration;

use agentmq_client::{Publish, QoS};
use agentmq_sdk::tools::ArgumentSchema;
use rmcp::model::Tool;
use serde_json::{Map, Value};

use super::template::{Template, fill_json};

/// A tool of a file.
#[derive(Debug)]
pub(crate) struct DeviceTool {
    /// As clients see it.
    pub(crate) tool: Tool,
    /// The schema of its arguments.
    pub(crate) schema: ArgumentSchema,
    /// What is sent; a tool that only reads sends nothing.
    pub(crate) request: Option<Request>,
    /// When it is done.
    pub(crate) end: End,
    /// In which unit a number is that it returns.
    pub(crate) unit: Option<String>,
    /// How long a call may take, its wait for its turn included.
    pub(crate) limit: Duration,
}

/// What is sent to a device.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) topic: Template,
    pub(crate) payload: Payload,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

/// What it is sent.
#[derive(Debug)]
pub(crate) enum Payload {
    /// The arguments as a JSON object.
    Arguments,
    /// A text with arguments in it.
    Text(Template),
    /// JSON with arguments in it.
    Json(Value),
}

/// What ends a call.
#[derive(Debug)]
pub(crate) enum End {
    /// The broker has the request.
    Sent,
    /// The answer by MQTT 5's Response Topic and Correlation Data.
    Correlated,
    /// The first message on a topic of answers.
    Response(Template),
    /// A message on a topic of states.
    State(State),
}

/// What is waited for on a topic of states. The retained message is the state of now.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) topic: Template,
    /// Which part of the message counts (RFC 6901); else all of it.
    pub(crate) pointer: Option<String>,
    /// The argument that it must equal.
    pub(crate) equals: Option<String>,
}

impl Request {
    /// What is published for these arguments.
    pub(crate) fn fill(&self, arguments: &Map<String, Value>) -> Result<(String, Publish), String> {
        let topic = self.topic.topic(arguments)?;
        let (payload, kind) = match &self.payload {
            Payload::Arguments => (Value::Object(arguments.clone()).to_string(), Some(JSON)),
            Payload::Text(text) => (text.text(arguments)?, None),
            Payload::Json(json) => {
                let filled = fill_json(json, arguments)?.unwrap_or_default();
                (filled.to_string(), Some(JSON))
            }
        };
        if payload.len() > PAYLOAD_BYTES {
            return Err(format!("the payload would have more than {PAYLOAD_BYTES} bytes"));
        }
        let mut publish =
            Publish::new(topic.clone(), payload).qos(self.qos).retain(self.retain).text();
        if let Some(kind) = kind {
            publish = publish.content_type(kind);
        }
        Ok((topic, publish))
    }
}

impl State {
    /// What a message says, if it is what is waited for.
    pub(crate) fn part(&self, payload: &[u8], arguments: &Map<String, Value>) -> Option<Value> {
        let whole = read(payload)?;
        let part = match &self.pointer {
            Some(pointer) => whole.pointer(pointer)?.clone(),
            None => whole,
        };
        let Some(name) = &self.equals else { return Some(part) };
        let wanted = arguments.get(name)?;
        let text = std::str::from_utf8(payload).ok().filter(|_| self.pointer.is_none());
        let is_text = wanted.as_str().is_some_and(|wanted| text == Some(wanted));
        (is_text || is_equal(wanted, &part)).then_some(part)
    }
}

/// A payload as JSON, or as the text that it is.
pub(crate) fn read(payload: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(payload).ok()?;
    Some(serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

/// Numbers are equal whether they are written with a point or not.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() < f64::EPSILON * one.abs().max(1.0),
        _ => one == other,
    }
}

/// Bytes of a payload to or from a device. A larger one is refused, or not delivered to us.
pub(crate) const PAYLOAD_BYTES: usize = 1 << 20;

const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(pointer: Option<&str>, equals: Option<&str>) -> State {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        State { topic: Template::parse("s"), pointer: owned(pointer), equals: owned(equals) }
    }

    fn part(state: &State, payload: &str, wanted: Value) -> Option<Value> {
        let arguments = json!({ "x": wanted }).as_object().unwrap().clone();
        state.part(payload.as_bytes(), &arguments)
    }

    #[test]
    fn a_state_is_what_its_pointer_shows() {
        assert_eq!(part(&state(None, None), "on", json!(1)), Some(json!("on")));
        let deep = state(Some("/a/0"), None);
        assert_eq!(part(&deep, r#"{"a":[7]}"#, json!(1)), Some(json!(7)));
        assert_eq!(part(&deep, r#"{"a":[]}"#, json!(1)), None);
        assert_eq!(deep.part(b"\xff", &Map::new()), None);
    }

    #[test]
    fn a_state_equals_an_argument_as_people_write_it() {
        let whole = state(None, Some("x"));
        for (payload, wanted, is) in [
            ("21", json!(21.0), true),
            ("21.0", json!(21), true),
            ("21", json!("21"), true),
            ("on", json!("on"), true),
            ("\"on\"", json!("on"), true),
            ("ON", json!("on"), false),
            ("true", json!(true), true),
            ("22", json!(21), false),
            ("", json!(""), true),
        ] {
            assert_eq!(part(&whole, payload, wanted.clone()).is_some(), is, "{payload} {wanted}");
        }
        let deep = state(Some("/t"), Some("x"));
        assert!(part(&deep, r#"{"t":5}"#, json!(5)).is_some());
        assert!(part(&deep, r#"{"t":6}"#, json!(5)).is_none());
    }
}
