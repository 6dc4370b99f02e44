//! The online message: what a server says of itself while it is there.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Instance, ONLINE_BYTES};

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
