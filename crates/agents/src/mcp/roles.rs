//! Roles that servers define, and what a client says that they are asked about.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// What a client asks of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    method: String,
    /// The tool that is called, or the resource that is read or followed.
    subject: Option<String>,
    /// The resources that are listened to.
    followed: Vec<String>,
}

/// A message of which it cannot be said what a server would read in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// A message as JSON-RPC has it. Members that stand twice, or that it does not know, are errors:
/// servers would take the one or the other, or read `Method` as `method`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(rename = "jsonrpc")]
    _jsonrpc: Option<IgnoredAny>,
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    method: Option<String>,
    params: Option<Params>,
    #[serde(rename = "result")]
    _result: Option<IgnoredAny>,
    #[serde(rename = "error")]
    _error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<Value>,
    uri: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// What stands in `subscriptions/listen`.
#[derive(Deserialize)]
struct Listening {
    params: Option<ListenParams>,
}

#[derive(Deserialize)]
struct ListenParams {
    notifications: Option<Notifications>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
struct Notifications {
    #[serde(rename = "resourceSubscriptions")]
    resources: Option<Vec<String>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Call {
    /// Reads a payload; `None` where a role need not be asked: it is an answer or a notification.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, Unreadable> {
        // An array would be read as one, too, by the places of its items.
        if payload.trim_ascii_start().first() != Some(&b'{') {
            return Err(Unreadable);
        }
        let said: Said = serde_json::from_slice(payload).map_err(|_| Unreadable)?;
        let Some(method) = said.method else { return Ok(None) };
        if method.starts_with("notifications/") {
            return Ok(None);
        }
        let subject = match (said.params, method.as_str()) {
            (Some(params), "tools/call") => params.subject("name", params.name.as_ref())?,
            (Some(params), it) if is_about_resource(it) => {
                params.subject("uri", params.uri.as_ref())?
            }
            _ => None,
        };
        let followed = match &*method {
            LISTEN => followed(payload)?,
            _ => Vec::new(),
        };
        Ok(Some(Self { method, subject, followed }))
    }

    /// Whether one of these roles allows it, as a server's online message defines them. One that is
    /// longer than [`ONLINE_BYTES`] defines none: it is read for each call.
    #[must_use]
    pub fn is_allowed(&self, online: &[u8], roles: &[&str]) -> bool {
        if online.len() > ONLINE_BYTES {
            return false;
        }
        let online: Value = serde_json::from_slice(online).unwrap_or_default();
        let defined = online.pointer("/params/meta/rbac/roles").and_then(Value::as_array);
        let mut defined = defined.map(Vec::as_slice).unwrap_or_default().iter();
        defined.any(|role| {
            let name = role.get("name").and_then(Value::as_str);
            name.is_some_and(|name| roles.contains(&name)) && self.is_allowed_by(role)
        })
    }

    fn is_allowed_by(&self, role: &Value) -> bool {
        let allows = |list: &str, what: Option<&str>| match role.get(list) {
            Some(Value::String(all)) => all == "all",
            Some(Value::Array(items)) => {
                what.is_some_and(|what| items.iter().any(|it| it.as_str() == Some(what)))
            }
            _ => false,
        };
        let subject = self.subject.as_deref();
        let mut followed = self.followed.iter();
        allows("allowed_methods", Some(&self.method))
            && (self.method != "tools/call" || allows("allowed_tools", subject))
            && (!is_about_resource(&self.method) || allows("allowed_resources", subject))
            && followed.all(|uri| allows("allowed_resources", Some(uri)))
    }
}

impl Params {
    /// What stands under a name, and under no other that a program could take for it.
    fn subject(&self, name: &str, value: Option<&Value>) -> Result<Option<String>, Unreadable> {
        only(name, &self.others)?;
        match value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Unreadable),
        }
    }
}

/// The resources in a request to listen. Unlike [`Params`] it refuses members that stand twice in
/// the one that has them.
fn followed(payload: &[u8]) -> Result<Vec<String>, Unreadable> {
    let listening: Listening = serde_json::from_slice(payload).map_err(|_| Unreadable)?;
    let Some(params) = listening.params else { return Ok(Vec::new()) };
    only("notifications", &params.others)?;
    let Some(notifications) = params.notifications else { return Ok(Vec::new()) };
    only("resourceSubscriptions", &notifications.others)?;
    Ok(notifications.resources.unwrap_or_default())
}

/// Whether no other member could be taken for the one of this name; some programs read
/// `two_words` where `twoWords` is meant.
fn only(name: &str, others: &Map<String, Value>) -> Result<(), Unreadable> {
    let is_like = |other: &String| other.replace('_', "").eq_ignore_ascii_case(name);
    if others.keys().any(is_like) { Err(Unreadable) } else { Ok(()) }
}

const LISTEN: &str = "subscriptions/listen";

/// Bytes of an online message that may define roles.
pub const ONLINE_BYTES: usize = 16 * 1024;

fn is_about_resource(method: &str) -> bool {
    matches!(method, "resources/read" | "resources/subscribe" | "resources/unsubscribe")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn call(text: &str) -> Call {
        Call::parse(text.as_bytes()).expect("can be read").expect("is a call")
    }

    #[test]
    fn a_role_allows_methods_tools_and_resources() {
        let role = |name: &str, methods: Value, tools: Value, resources: Value| {
            json!({
                "name": name, "description": "", "allowed_methods": methods,
                "allowed_tools": tools, "allowed_resources": resources,
            })
        };
        let roles = [
            role(
                "reader",
                json!(["tools/list", "resources/read"]),
                json!([]),
                json!(["file:///a"]),
            ),
            role("listener", json!(["subscriptions/listen"]), json!([]), json!(["file:///a"])),
            role("adder", json!(["tools/call"]), json!(["add"]), json!([])),
            role("admin", json!("all"), json!("all"), json!("all")),
            json!({ "name": "poor", "allowed_methods": "all" }),
            json!({ "name": "odd", "allowed_methods": "tools/list", "allowed_tools": 7 }),
        ];
        let online = json!({ "params": { "meta": { "rbac": { "roles": roles } } } }).to_string();
        let add = r#"{"id":1,"method":"tools/call","params":{"name":"add","arguments":{}}}"#;
        let sub = r#"{"id":1,"method":"tools/call","params":{"name":"sub"}}"#;
        let nameless = r#"{"id":1,"method":"tools/call"}"#;
        let list = r#"{"id":1,"method":"tools/list","params":null}"#;
        let read = r#"{"id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#;
        let listen = |what: &str| {
            format!(
                r#"{{"id":1,"method":"subscriptions/listen","params":{{"notifications":{what}}}}}"#
            )
        };
        let (listen, listen_to_a, listen_to_both) = (
            &*listen(r#"{"toolsListChanged":true}"#),
            &*listen(r#"{"resourceSubscriptions":["file:///a"]}"#),
            &*listen(r#"{"resourceSubscriptions":["file:///a","file:///b"]}"#),
        );
        let follow = r#"{"id":1,"method":"resources/subscribe","params":{"uri":"file:///a"}}"#;
        let all = [add, sub, nameless, list, read, follow, listen, listen_to_a, listen_to_both];
        for (roles, allowed) in [
            (&["reader"][..], &[list, read][..]),
            (&["listener"], &[listen, listen_to_a]),
            (&["adder"], &[add]),
            (&["reader", "adder"], &[list, read, add]),
            (&["admin"], &all),
            (&["poor"], &[list, listen]),
            (&["odd"], &[]),
            (&["unknown"], &[]),
            (&[], &[]),
        ] {
            for it in all {
                let is_allowed = call(it).is_allowed(online.as_bytes(), roles);
                assert_eq!(is_allowed, allowed.contains(&it), "{roles:?} {it}");
            }
        }
        assert!(!call(list).is_allowed(b"", &["admin"]), "no server is there");
        assert!(!call(list).is_allowed(b"[]", &["admin"]));
        let long = format!("{online}{}", " ".repeat(ONLINE_BYTES));
        assert!(!call(list).is_allowed(long.as_bytes(), &["admin"]));
    }

    #[test]
    fn answers_and_notifications_are_nobody_s_role() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
        ] {
            assert_eq!(Call::parse(text.as_bytes()), Ok(None), "{text}");
        }
        assert!(
            Call::parse(br#"{"method":"tools/call"}"#).unwrap().is_some(),
            "without an id, too"
        );
    }

    #[test]
    fn what_two_programs_could_read_otherwise_is_not_read() {
        for text in [
            "",
            "no JSON",
            "[]",
            r#"[{"id":1,"method":"tools/list"}]"#,
            r#" ["2.0",1,"notifications/x",null,{"method":"tools/call"},null]"#,
            r#"{"id":1,"method":"ping","method":"tools/call"}"#,
            r#"{"id":1,"method":"ping","Method":"tools/call"}"#,
            r#"{"id":1,"METHOD":"tools/call"}"#,
            r#"{"id":1,"method":7}"#,
            r#"{"id":1,"method":"tools/call","params":["add"]}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":"add","name":"sub"}}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":"add","Name":"sub"}}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":["add"]}}"#,
            r#"{"id":1,"method":"resources/read","params":{"uri":"a","URI":"b"}}"#,
            "{\"id\":1,\"method\":\"ping\"}{",
            r#"{"method":"subscriptions/listen","params":{"notifications":[null,["a"]]}}"#,
            r#"{"method":"subscriptions/listen","params":{"notifications":{},"notifications":{}}}"#,
            r#"{"method":"subscriptions/listen","params":{"Notifications":{}}}"#,
            r#"{"method":"subscriptions/listen","params":{"notifications":
                {"resourceSubscriptions":["a"],"resourceSubscriptions":[]}}}"#,
            r#"{"method":"subscriptions/listen","params":{"notifications":
                {"resource_subscriptions":["a"]}}}"#,
            r#"{"method":"subscriptions/listen","params":{"notifications":
                {"resourceSubscriptions":"a"}}}"#,
        ] {
            assert_eq!(Call::parse(text.as_bytes()), Err(Unreadable), "{text}");
        }
        let other = r#"{"id":1,"method":"prompts/get","params":{"name":"a","Name":"b"}}"#;
        assert!(call(other).subject.is_none(), "no role asks for it");
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_others_read(text in said()) {
            let Ok(Some(call)) = Call::parse(text.as_bytes()) else { return Ok(()) };
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value["method"].as_str(), Some(call.method.as_str()));
            if call.method == "tools/call" {
                prop_assert_eq!(value["params"]["name"].as_str(), call.subject.as_deref());
            }
        }
    }

    /// Objects, or almost, of members that stand in any order and any number.
    fn said() -> impl Strategy<Value = String> {
        let member = prop_oneof![
            Just(r#""id":1"#),
            Just(r#""method":"tools/call""#),
            Just(r#""method":"ping""#),
            Just(r#""Method":"ping""#),
            Just(r#""params":{"name":"a"}"#),
            Just(r#""params":{"name":"a","name":"b"}"#),
            Just(r#""params":null"#),
            Just(r#""result":{}"#),
            Just(r#""m\u0065thod":"tools/list""#),
        ];
        let members = proptest::collection::vec(member, 0..5);
        (members, "[{\\[ ]?", "[}\\] ]?")
            .prop_map(|(members, open, close)| format!("{open}{}{close}", members.join(",")))
    }
}
