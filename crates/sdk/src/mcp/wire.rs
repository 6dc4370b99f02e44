//! JSON-RPC in MQTT messages: what is written, and what becomes of what cannot be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_agents::mcp::{CLIENT, CLIENT_ID, COMPONENT_TYPE, SERVER};
use agentmq_client::{Message, PropertiesBuf, Property, Publish, QoS};
use bytes::Bytes;
use rmcp::model::{ErrorCode, ErrorData, JsonRpcMessage, NumberOrString, RequestId};
use rmcp::service::{RxJsonRpcMessage, ServiceRole};
use serde::Deserialize;

use super::{CORRELATION_BYTES, MESSAGE_BYTES};
use crate::TraceContext;

/// What kind of component we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    Server,
    Client,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Server => SERVER,
            Self::Client => CLIENT,
        }
    }

    /// The User Properties of CONNECT.
    pub(crate) fn connect_properties(self) -> PropertiesBuf {
        PropertiesBuf::new().with(Property::Pair(COMPONENT_TYPE, self.name()))
    }
}

/// Who publishes: stands on every message, since servers learn from it who initializes.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) component: Component,
    pub(crate) client_id: Arc<str>,
}

impl Stamp {
    pub(crate) fn publish(&self, topic: &str, payload: impl Into<Bytes>) -> Publish {
        Publish::new(topic, payload)
            .qos(QoS::AtLeastOnce)
            .user_property(COMPONENT_TYPE, self.component.name())
            .user_property(CLIENT_ID, &self.client_id)
    }

    pub(crate) fn properties(&self) -> PropertiesBuf {
        self.component.connect_properties().with(Property::Pair(CLIENT_ID, &self.client_id))
    }
}

/// A message that came, as far as a session needs it.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) trace: TraceContext,
    /// It names its sender.
    pub(crate) is_signed: bool,
    /// It came with QoS 0: to whoever is away it does not come.
    pub(crate) may_be_lost: bool,
    /// What tells it from others, if its sender has it so.
    pub(crate) correlation: Option<Arc<[u8]>>,
}

impl Arrived {
    pub(crate) fn of(message: &Message) -> Self {
        let correlation =
            message.correlation_data().filter(|it| !it.is_empty() && it.len() <= CORRELATION_BYTES);
        Self {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            trace: TraceContext::of_message(message),
            is_signed: sender(message).is_some(),
            may_be_lost: message.qos == QoS::AtMostOnce,
            correlation: correlation.map(Into::into),
        }
    }
}

/// The sender's MQTT client identifier, as it says itself.
pub(crate) fn sender(message: &Message) -> Option<&str> {
    message.user_properties().find(|(name, _)| *name == CLIENT_ID).map(|(_, value)| value)
}

/// What was dropped because nothing could be made of it, or because there was no room.
#[derive(Debug, Clone, Default)]
pub struct Dropped(Arc<AtomicU64>);

impl Dropped {
    /// How many messages.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, topic: &str, why: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(topic, why, "message dropped");
    }
}

/// A JSON-RPC message as it came.
#[derive(Debug)]
pub(crate) enum Received<M> {
    Message(M),
    /// `notifications/disconnected`: the other side has ended the session.
    Disconnected,
    /// A request that cannot be read, and what to answer.
    BadRequest(RequestId, ErrorData),
    /// Nothing can be made of it.
    Garbage(&'static str),
}

/// The little that must be readable for the rest to matter.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    #[serde(default)]
    id: Option<NumberOrString>,
    #[serde(default)]
    pub(crate) method: Option<String>,
}

/// What a request says of itself that needs no session.
#[derive(Debug, Deserialize)]
struct SelfContained {
    #[serde(rename = "params")]
    _params: Params,
}

#[derive(Debug, Deserialize)]
struct Params {
    #[serde(rename = "_meta")]
    _meta: Meta,
}

#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    _revision: serde::de::IgnoredAny,
}

/// Whether a request needs no session: it is of a revision in which each says what it must.
pub(crate) fn is_self_contained(payload: &[u8]) -> bool {
    serde_json::from_slice::<SelfContained>(payload).is_ok()
}

impl Envelope {
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        (payload.len() <= MESSAGE_BYTES).then(|| serde_json::from_slice(payload).ok())?
    }

    /// The identifier, if it is a request.
    pub(crate) fn request_id(&self) -> Option<RequestId> {
        self.id.clone().filter(|_| self.method.is_some())
    }
}

/// Reads a message to a session.
pub(crate) fn read<R: ServiceRole>(payload: &[u8]) -> Received<RxJsonRpcMessage<R>> {
    if payload.len() > MESSAGE_BYTES {
        return Received::Garbage("too large");
    }
    let Some(envelope) = Envelope::read(payload) else {
        return Received::Garbage("not JSON-RPC");
    };
    if envelope.id.is_none() && envelope.method.as_deref() == Some(DISCONNECTED) {
        return Received::Disconnected;
    }
    match serde_json::from_slice(payload) {
        Ok(message) => Received::Message(message),
        Err(error) => match envelope.id {
            Some(id) if envelope.method.is_some() => {
                let what = format!("not a JSON-RPC request: {error}");
                Received::BadRequest(id, ErrorData::new(ErrorCode::INVALID_REQUEST, what, None))
            }
            // Whoever waits for this answer is told, instead of waiting in vain.
            Some(id) => {
                let what = format!("the answer is not JSON-RPC: {error}");
                let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, what, None);
                Received::Message(JsonRpcMessage::error(error, Some(id)))
            }
            None => Received::Garbage("not JSON-RPC"),
        },
    }
}

/// That a server works on a request which any instance might have taken.
pub(crate) fn taken(id: &RequestId) -> Vec<u8> {
    let params = serde_json::json!({ "requestId": id });
    let message = serde_json::json!({ "jsonrpc": "2.0", "method": TAKEN, "params": params });
    message.to_string().into_bytes()
}

/// That nobody waits for a request any more.
pub(crate) fn cancelled(id: &RequestId) -> Vec<u8> {
    let params = serde_json::json!({ "requestId": id });
    let method = "notifications/cancelled";
    let message = serde_json::json!({ "jsonrpc": "2.0", "method": method, "params": params });
    message.to_string().into_bytes()
}

/// The end of a session, or of a client.
pub(crate) fn disconnected() -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","method":"{DISCONNECTED}"}}"#).into_bytes()
}

/// Whether this, on a client's presence topic, says that it is gone. Some send nothing instead.
pub(crate) fn says_disconnected(payload: &[u8]) -> bool {
    payload.is_empty()
        || Envelope::read(payload).is_some_and(|it| it.method.as_deref() == Some(DISCONNECTED))
}

const DISCONNECTED: &str = "notifications/disconnected";

/// A server has taken a request that any instance might have taken, and works on it.
pub(crate) const TAKEN: &str = "notifications/agentmq/taken";

#[cfg(test)]
mod tests {
    use rmcp::{RoleClient, RoleServer};

    use super::*;

    fn to_server(text: &str) -> Received<RxJsonRpcMessage<RoleServer>> {
        read::<RoleServer>(text.as_bytes())
    }

    #[test]
    fn requests_of_any_method_are_read() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"nonsense":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"no/such","params":{"a":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        ] {
            assert!(matches!(to_server(text), Received::Message(_)), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_session_is_known_whatever_its_params() {
        for params in ["", r#","params":null"#, r#","params":{}"#] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"{DISCONNECTED}"{params}}}"#);
            assert!(matches!(to_server(&text), Received::Disconnected), "{text}");
            assert!(says_disconnected(text.as_bytes()));
        }
        assert!(says_disconnected(b"") && !says_disconnected(b"{}") && !says_disconnected(b"x"));
    }

    #[test]
    fn who_asks_badly_is_told_if_it_can_be_known_who() {
        let bad = to_server(r#"{"id":7,"method":"tools/list"}"#);
        assert!(matches!(bad, Received::BadRequest(RequestId::Number(7), _)), "{bad:?}");
        let list = to_server(r#"{"jsonrpc":"2.0","id":7,"method":"no/such","params":[1]}"#);
        assert!(matches!(list, Received::BadRequest(..)), "MCP names its params: {list:?}");
        let both = to_server(r#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#);
        assert!(matches!(both, Received::BadRequest(..)), "{both:?}");
        for text in [
            "",
            "{",
            "[]",
            "[1]",
            "null",
            "7",
            r#"{"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            &"[".repeat(100_000),
        ] {
            let read = to_server(text);
            assert!(!matches!(read, Received::BadRequest(..)), "{text}: {read:?}");
            assert!(!matches!(read, Received::Disconnected), "{text}");
        }
        assert!(matches!(read::<RoleServer>(&[0xFF, 0xFE]), Received::Garbage(_)));
        let huge = vec![b' '; MESSAGE_BYTES + 1];
        assert!(matches!(read::<RoleServer>(&huge), Received::Garbage(_)));
    }

    #[test]
    fn an_unreadable_answer_is_an_error_to_who_asked() {
        let text = br#"{"jsonrpc":"1.0","id":3,"result":{}}"#;
        let Received::Message(JsonRpcMessage::Error(error)) = read::<RoleClient>(text) else {
            panic!("an error");
        };
        assert_eq!(error.id, Some(RequestId::Number(3)));
    }
}
