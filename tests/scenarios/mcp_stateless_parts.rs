//! A server and a client of the revision without sessions, for the scenarios about it.

use std::path::{Path, PathBuf};

use agentmq_testkit::codec::{
    Connect, Packet, Properties, PropertiesBuf, ProtocolVersion, Publish, QoS, ReasonCode,
    Subscribe, SubscribeFilter, SubscriptionOptions,
};
use agentmq_testkit::{Broker, RawClient, Received};
use serde_json::{Value, json};

use crate::mcp_program::Lines;

/// Puts a server on the bus that knows no sessions.
pub(crate) fn expose_stateless(url: &str, name: &str, trace: &Path) -> Lines {
    let mut exposed = start_stateless(url, name, trace, &[]);
    exposed.wait_for("online", |line| line["event"] == "online");
    exposed
}

pub(crate) fn start_stateless(url: &str, name: &str, trace: &Path, more: &[&str]) -> Lines {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/scenarios/mcp_stateless_server.py");
    let (script, trace) = (script.to_string_lossy(), trace.to_string_lossy());
    let arguments = ["mcp", "expose", "--json", "--url", url, "--name", name];
    let program = ["--", "python3", &*script, "--name", name, "--trace", &*trace];
    Lines::start(&[&arguments[..], more, &program].concat())
}

/// What a client of that revision says of itself with each request.
pub(crate) fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
        "io.modelcontextprotocol/clientInfo": { "name": "a host", "version": "7" },
    })
}

/// A request with that.
pub(crate) fn request(id: i64, method: &str, mut params: Value) -> Value {
    params["_meta"] = meta();
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(crate) fn call(id: i64, tool: &str) -> Value {
    request(id, "tools/call", json!({ "name": tool, "arguments": {} }))
}

/// In place of a server-id, where any instance may take a request.
pub(crate) const ANY: &str = "$any/instance";

/// A client that asks without a handshake, packet by packet.
pub(crate) struct Peer {
    pub(crate) client: RawClient,
    id: &'static str,
    name: &'static str,
    /// Server-ids.
    pub(crate) servers: Vec<String>,
}

impl Peer {
    /// Finds so many servers of one name.
    pub(crate) fn new(broker: &Broker, id: &'static str, name: &'static str, count: usize) -> Self {
        let mut client = broker.dial();
        client.connect_with(Connect { client_id: id, clean_start: true, ..Connect::default() });
        client.subscribe(&format!("$mcp-server/presence/+/{name}"), QoS::AtMostOnce);
        let mut servers = Vec::new();
        while servers.len() < count {
            let online = client.wait_for(|packet| matches!(packet, Packet::Publish(_)));
            let said: Value = serde_json::from_slice(online.publish().payload).unwrap();
            let revisions = said["params"]["meta"]["supportedVersions"].as_array().unwrap();
            assert!(revisions.contains(&json!("2026-07-28")), "{said}");
            servers.push(online.publish().topic.split('/').nth(2).unwrap().to_owned());
        }
        let filter = format!("$mcp-rpc/{id}/+/{name}");
        assert_eq!(subscribe(&mut client, &filter, QoS::AtMostOnce), ReasonCode::Success);
        Self { client, id, name, servers }
    }

    /// Says something to one server, or to [`ANY`].
    pub(crate) fn say(&mut self, server: &str, message: &Value) {
        self.say_with(server, message, &PropertiesBuf::new());
    }

    pub(crate) fn say_with(&mut self, server: &str, message: &Value, properties: &PropertiesBuf) {
        let topic = format!("$mcp-rpc/{}/{server}/{}", self.id, self.name);
        let (payload, properties) = (message.to_string(), properties.view());
        let payload = payload.as_bytes();
        let publish = Publish { topic: &topic, payload, properties, ..Publish::default() };
        self.client.send(&Packet::Publish(publish));
    }

    pub(crate) fn hear_packet(&mut self) -> Received {
        self.client
            .wait_for(|it| matches!(it, Packet::Publish(it) if it.topic.starts_with("$mcp-rpc")))
    }

    /// What comes next, and who says it.
    pub(crate) fn hear(&mut self) -> (String, Value) {
        let heard = self.hear_packet();
        let server = heard.publish().topic.split('/').nth(2).unwrap().to_owned();
        (server, serde_json::from_slice(heard.publish().payload).unwrap())
    }
}

/// Without what the client says itself.
pub(crate) fn subscribe(client: &mut RawClient, filter: &str, qos: QoS) -> ReasonCode {
    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::at(qos) };
    let filters = [SubscribeFilter { filter, options }];
    let mut bytes = Vec::new();
    Subscribe::encode_parts(77, Properties::EMPTY, filters, ProtocolVersion::V5, &mut bytes);
    client.send_bytes(&bytes);
    client.wait_for(|packet| matches!(packet, Packet::SubAck(_))).reason()
}
