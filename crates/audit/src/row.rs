//! What a row says: its members, in the order in which people read them.

use std::net::IpAddr;

use agentmq_codec::{ProtocolVersion, ReasonCode};
use agentmq_identity::Principal;
use agentmq_session::{Attempt, AuditEvent, Deed};
use serde::Serialize;
use serde_json::{Map, Value};

/// A row that is to be written: the members of a JSON object, without braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(String);

/// The members that a row may have. Absent ones are left out.
#[derive(Debug, Default, Serialize)]
struct Members<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    who: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retain: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    will: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_present: Option<bool>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
}

impl Row {
    /// What a client has done.
    pub(crate) fn of(event: &AuditEvent<'_>) -> Self {
        let mut members = Members {
            client_id: beginning(event.client_id),
            source: event.source,
            who: who(event.principal),
            ..Members::default()
        };
        match event.deed {
            Deed::Connected { version, session_present } => {
                members.kind = CONNECT;
                members.version = Some(version_name(version));
                members.session_present = session_present.then_some(true);
            }
            Deed::Authenticated => members.kind = "authenticate",
            Deed::Disconnected { reason, why } => {
                members.kind = DISCONNECT;
                (members.reason, members.why) = (code(reason), beginning(why));
            }
            Deed::Subscribed { filter, qos } => {
                members.kind = "subscribe";
                (members.filter, members.qos) = (Some(beginning(filter)), Some(qos as u8));
            }
            Deed::Published { topic, qos, retain, bytes, is_will } => {
                members.will = is_will.then_some(true);
                members.kind = "publish";
                (members.topic, members.qos) = (Some(beginning(topic)), Some(qos as u8));
                (members.retain, members.bytes) = (retain.then_some(true), Some(bytes));
            }
            Deed::Refused { attempt, topic, reason, why } => {
                members.kind = REFUSE;
                members.attempt = Some(attempt.name());
                match attempt {
                    Attempt::Subscribe => members.filter = Some(beginning(topic)),
                    _ => members.topic = (!topic.is_empty()).then(|| beginning(topic)),
                }
                (members.reason, members.why) = (code(reason), beginning(why));
            }
        }
        Self::with(&members)
    }

    /// A row of this kind that says what an object does. Texts that are too long are cut.
    #[must_use]
    pub fn new(kind: &str, mut says: Map<String, Value>) -> Self {
        for (_, value) in &mut says {
            match value {
                Value::String(text) => text.truncate(text.floor_char_boundary(LONGEST_TEXT)),
                Value::Object(_) => {} // what the broker itself has put together
                other => shorten(other),
            }
        }
        let mut row = Self::with(&Members { kind, ..Members::default() });
        if !says.is_empty() {
            let text = Value::Object(says).to_string();
            row.0.push(',');
            row.0.push_str(inner(&text));
        }
        row
    }

    fn with(members: &Members<'_>) -> Self {
        let text = serde_json::to_string(members).unwrap_or_default();
        Self(inner(&text).to_owned())
    }

    pub(crate) fn members(&self) -> &str {
        &self.0
    }
}

/// The members of an object in JSON.
fn inner(object: &str) -> &str {
    object.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap_or_default()
}

/// What is known of a client, without the rules that it brings.
fn who(principal: &Principal) -> Map<String, Value> {
    let mut who = principal.to_object();
    who.remove("acl");
    who.retain(|_, value| !value.is_null());
    who.values_mut().for_each(shorten);
    who
}

/// Cuts what a value says to what a row takes.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => text.truncate(text.floor_char_boundary(LONGEST_NAME)),
        Value::Array(items) => {
            items.truncate(MOST_ITEMS);
            items.iter_mut().for_each(shorten);
        }
        Value::Object(members) => members.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A code that says that something is wrong.
fn code(reason: ReasonCode) -> String {
    if reason == ReasonCode::NORMAL_DISCONNECTION { String::new() } else { reason.to_string() }
}

fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    }
}

/// By what a row names the contents of a file: SHA-256, in hexadecimal digits.
#[must_use]
pub fn digest(contents: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, contents);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As much of a text as a row takes.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// Bytes that a row has at most, whatever clients say.
pub(crate) const LONGEST_ROW: usize = 64 * 1024;
/// Kinds of rows that the settings can leave out.
pub(crate) const CONNECT: &str = "connect";
/// See `CONNECT`.
pub(crate) const DISCONNECT: &str = "disconnect";
/// See `CONNECT`.
pub(crate) const REFUSE: &str = "refuse";

/// Bytes of a text in a row, at most: a row has a handful.
const LONGEST_TEXT: usize = 1024;
/// Bytes of what a client is called, and of each of its claims.
const LONGEST_NAME: usize = 256;
/// Items of a claim that is a list.
const MOST_ITEMS: usize = 16;

#[cfg(test)]
mod tests {
    use agentmq_codec::QoS;
    use agentmq_identity::Claims;
    use serde_json::json;

    use super::*;

    fn row(principal: &Principal, deed: Deed<'_>) -> Value {
        let source = Some(IpAddr::from([127, 0, 0, 1]));
        let row = Row::of(&AuditEvent { client_id: "c\"1", principal, source, deed });
        serde_json::from_str(&format!("{{{}}}", row.members())).expect("JSON")
    }

    #[test]
    fn rows_say_who_and_what() {
        let mut claims = Claims::default();
        claims.agent_id = Some("scout".into());
        let scout = Principal::verified("scout", claims);
        let deed = Deed::Published {
            topic: "a",
            qos: QoS::AtLeastOnce,
            retain: false,
            bytes: 3,
            is_will: false,
        };
        assert_eq!(
            row(&scout, deed),
            json!({
                "kind": "publish", "client_id": "c\"1", "source": "127.0.0.1",
                "who": { "name": "scout", "verified": true, "agent_id": "scout" },
                "topic": "a", "qos": 1, "bytes": 3,
            })
        );
        let (reason, why) = (ReasonCode::NotAuthorized, "no rule");
        let deed = Deed::Refused { attempt: Attempt::Subscribe, topic: "#", reason, why };
        assert_eq!(
            row(&Principal::ANONYMOUS, deed),
            json!({
                "kind": "refuse", "attempt": "subscribe", "client_id": "c\"1",
                "source": "127.0.0.1", "filter": "#", "reason": "0x87 Not authorized",
                "why": "no rule",
            })
        );
    }

    #[test]
    fn a_row_is_one_short_line() {
        let topic = "\u{1}\n".repeat(40_000);
        let deed = Deed::Published {
            topic: &topic,
            qos: QoS::AtMostOnce,
            retain: true,
            bytes: 0,
            is_will: false,
        };
        let event =
            AuditEvent { client_id: &topic, principal: &Principal::ANONYMOUS, source: None, deed };
        let row = Row::of(&event);
        assert!(!row.members().contains('\n') && row.members().len() < 16_384);
    }
}
