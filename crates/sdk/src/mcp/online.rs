//! The online message: what a server says of itself while it is there.

use rmcp::model::ProtocolVersion;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Instance, ONLINE_BYTES};
use crate::weight_of;

/// A server instance that is online, and what it says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Online {
    /// Which one. The name is that of the topic: the message may leave it out, or be wrong.
    pub instance: Instance,
    /// What it does, in a line for people.
    pub description: String,
    /// Whatever else it says: roles, versions.
    pub meta: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct Notification<'a> {
    #[serde(default)]
    jsonrpc: &'a str,
    method: &'a str,
    #[serde(default)]
    params: Option<Params>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Params {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    meta: Value,
}

impl Online {
    /// The payload of the presence topic.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let params = Params {
            server_name: Some(self.instance.name().to_owned()),
            description: Some(self.description.clone()),
            meta: self.meta.clone(),
        };
        let message = Notification { jsonrpc: "2.0", method: METHOD, params: Some(params) };
        serde_json::to_vec(&message).expect("texts and values of JSON can be written as JSON")
    }

    /// The revisions of MCP that it says it speaks, texts as they stand in
    /// `meta.supportedVersions`; nothing where it says nothing of it: then it is to be taken for
    /// one that speaks those with `initialize`.
    pub fn supported_versions(&self) -> impl Iterator<Item = &str> {
        let all = self.meta.get(VERSIONS).and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether it answers requests without a session.
    #[must_use]
    pub fn is_stateless(&self) -> bool {
        self.supported_versions().any(|it| it == ProtocolVersion::NO_INITIALIZE.as_str())
    }

    /// Bytes that it takes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        let Self { instance, description, meta } = self;
        let texts = instance.id().len() + instance.name().len() + description.len();
        texts + weight_of(meta)
    }

    /// Says which revisions it speaks. Something else than an object in its place stays.
    pub(crate) fn speaking(mut self, versions: &[ProtocolVersion]) -> Self {
        if self.meta.is_null() {
            self.meta = Value::Object(serde_json::Map::new());
        }
        if let Value::Object(meta) = &mut self.meta {
            let versions = versions.iter().map(|it| Value::from(it.as_str())).collect();
            meta.entry(VERSIONS).or_insert(Value::Array(versions));
        }
        self
    }

    /// Reads what stands on a presence topic; `None` when it is not an online message.
    #[must_use]
    pub fn decode(instance: Instance, payload: &[u8]) -> Option<Self> {
        if payload.len() > ONLINE_BYTES {
            return None;
        }
        let message: Notification<'_> = serde_json::from_slice(payload).ok()?;
        if message.method != METHOD {
            return None;
        }
        let params = message.params.unwrap_or_default();
        let description = params.description.unwrap_or_default();
        Some(Self { instance, description, meta: params.meta })
    }
}

/// In `meta`.
const VERSIONS: &str = "supportedVersions";

const METHOD: &str = "notifications/server/online";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance() -> Instance {
        Instance::new("s1", "demo/calc").unwrap()
    }

    #[test]
    fn what_is_said_is_read_again() {
        let online = Online {
            instance: instance(),
            description: "adds".into(),
            meta: json!({ "rbac": { "roles": [] } }),
        };
        assert_eq!(Online::decode(instance(), &online.encode()), Some(online));
    }

    #[test]
    fn the_revisions_that_it_speaks_are_known_again() {
        let of = |meta| Online { instance: instance(), description: String::new(), meta };
        let spoken = of(json!({ "a": 1 })).speaking(&[ProtocolVersion::V_2026_07_28]);
        let read = Online::decode(instance(), &spoken.encode()).unwrap();
        assert!(read.is_stateless() && read.meta["a"] == 1);
        let before = of(Value::Null).speaking(&[ProtocolVersion::V_2025_11_25]);
        assert!(!before.is_stateless() && before.supported_versions().count() == 1);
        for other in [json!(null), json!([]), json!({ "supportedVersions": "2026-07-28" })] {
            assert!(!of(other).is_stateless());
        }
    }

    #[test]
    fn what_others_leave_out_is_no_fault() {
        for (params, description) in [
            (r#"{"description":"d","meta":{}}"#, "d"),
            ("{}", ""),
            ("null", ""),
            (r#"{"server_name":"other","description":null}"#, ""),
        ] {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/server/online","params":{params}}}"#
            );
            let online = Online::decode(instance(), text.as_bytes()).unwrap();
            assert_eq!((online.instance.name(), &*online.description), ("demo/calc", description));
        }
        let bare = br#"{"method":"notifications/server/online"}"#;
        assert!(Online::decode(instance(), bare).is_some());
    }

    #[test]
    fn anything_else_is_not_online() {
        let long = format!(
            r#"{{"method":"notifications/server/online","params":{{"description":"{}"}}}}"#,
            "x".repeat(ONLINE_BYTES)
        );
        for payload in ["", "{", "[]", "1", r#"{"method":"initialize"}"#, r#"{"method":1}"#, &long]
        {
            assert_eq!(Online::decode(instance(), payload.as_bytes()), None);
        }
    }
}
