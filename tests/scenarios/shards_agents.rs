//! Agents on two shards: a server on one, its callers on both, and nobody can tell.

use agentmq_sdk::tools::{Failure, ToolClient};
use agentmq_testkit::codec::{
    Connect, Packet, Properties, PropertiesBuf, ProtocolVersion, Publish, QoS, ReasonCode,
    Subscribe, SubscribeFilter, SubscriptionOptions, Will,
};
use agentmq_testkit::{Broker, RawClient};
use serde_json::{Value, json};

use crate::mcp_program::url;
use crate::tools_parts::{Link, client, hear_card, options, server, server_with, status, within};

/// Clients go to one shard and the other by turns.
const SHARDS: &str =
    "[threads]\nshards = 2\nplacement = \"spread\"\n[limits]\nflapping_connects = 0\n";
const PRESENCE: &str = "$mcp-server/presence/s1/demo/calc";
const CONTROL: &str = "$mcp-server/s1/demo/calc";
const ONLINE: &str = r#"{"jsonrpc":"2.0","method":"notifications/server/online","params":{"meta":
    {"rbac":{"roles":[{"name":"adder","allowed_methods":["initialize","tools/call"],
    "allowed_tools":["add"],"allowed_resources":"all"}]}}}}"#;

fn rpc(client_id: &str) -> String {
    format!("$mcp-rpc/{client_id}/s1/demo/calc")
}

fn call(tool: &str) -> Vec<u8> {
    let params = json!({ "name": tool, "arguments": {} });
    let call = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    call.to_string().into_bytes()
}

/// A client that reads what `s1` says to it, and whether that is there.
fn caller(broker: &Broker, client_id: &str) -> RawClient {
    let mut client = broker.client(client_id);
    let no_local =
        SubscriptionOptions { no_local: true, ..SubscriptionOptions::at(QoS::AtLeastOnce) };
    let filters = [SubscribeFilter { filter: &rpc(client_id), options: no_local }];
    let mut bytes = Vec::new();
    let (none, version) = (Properties::EMPTY, ProtocolVersion::V5);
    Subscribe::encode_parts(99, none, filters, version, &mut bytes);
    client.send_bytes(&bytes);
    client.wait_for(|packet| matches!(packet, Packet::SubAck(_)));
    assert!(!client.subscribe("$mcp-server/presence/+/#", QoS::AtLeastOnce).is_error());
    client
}

/// The next message: its topic and payload.
fn next(client: &mut RawClient) -> (String, String) {
    let received = client.receive_publish();
    let publish = received.publish();
    (publish.topic.to_owned(), String::from_utf8_lossy(publish.payload).into_owned())
}

fn error(client: &mut RawClient) -> Value {
    let (_, payload) = next(client);
    serde_json::from_str::<Value>(&payload).unwrap()["error"].take()
}

fn mcp_server(broker: &Broker, callers: &[&str]) -> RawClient {
    let none = PropertiesBuf::new();
    let will = Will {
        topic: "$mcp-server/presence/s1/old",
        payload: b"",
        qos: QoS::AtMostOnce,
        retain: false,
        properties: none.view(),
    };
    let mut server = broker.dial();
    let connect =
        Connect { client_id: "s1", clean_start: true, will: Some(will), ..Connect::default() };
    assert_eq!(server.connect_with(connect).reason(), ReasonCode::Success);
    assert!(!server.subscribe(CONTROL, QoS::AtLeastOnce).is_error());
    for client_id in callers {
        assert!(!server.subscribe(&rpc(client_id), QoS::AtLeastOnce).is_error());
    }
    let (payload, retain) = (ONLINE.as_bytes(), true);
    server.send(&Packet::Publish(Publish {
        topic: PRESENCE,
        payload,
        retain,
        ..Publish::default()
    }));
    server.ping();
    server
}

#[test]
fn mcp_presence_answers_and_roles_are_the_same_on_both() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "otherwise = \"allow\"\nmcp_otherwise = \"allow\"\n\
                  [[mcp_clients]]\nclient_ids = [\"role-*\"]\n\
                  rbac = [{ server_name = \"demo/#\", role_name = \"adder\" }]\n";
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let config = format!("{}[access]\npolicy = \"policy.toml\"\n{SHARDS}", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    let ids = ["free-0", "free-1", "role-0", "role-1"];
    let mut callers = ids.map(|client_id| caller(&broker, client_id));
    // The server is on the one shard, then on the other.
    for _ in 0..2 {
        for (client_id, client) in ids.iter().zip(&mut callers).take(2) {
            assert_eq!(client.publish(CONTROL, &call("add"), QoS::AtLeastOnce), NO_READER);
            let error = error(client);
            assert_eq!((&error["code"], &error["data"]), (&json!(-32000), &json!(null)));
            client.publish(&rpc(client_id), &call("add"), QoS::AtMostOnce);
            assert_eq!(self::error(client)["code"], -32000, "{client_id}, QoS 0");
        }
        let mut server = mcp_server(&broker, &ids);
        for (client_id, client) in ids.iter().zip(&mut callers) {
            assert_eq!(next(client), (PRESENCE.into(), ONLINE.into()), "{client_id}");
            let topic = rpc(client_id);
            let reason = client.publish(&topic, &call("add"), QoS::AtLeastOnce);
            assert_eq!(reason, ReasonCode::Success, "{client_id}");
            assert_eq!(next(&mut server).0, topic);
            let reason = client.publish(&topic, &call("sub"), QoS::AtLeastOnce);
            if client_id.starts_with("free") {
                assert_eq!((reason, next(&mut server).0), (ReasonCode::Success, topic));
            } else {
                assert_eq!(reason, ReasonCode::NotAuthorized);
                assert_eq!(error(client)["data"]["reason"], "not_allowed");
            }
        }
        server.ping();
        drop(server);
        for (client_id, client) in ids.iter().zip(&mut callers) {
            loop {
                let (topic, payload) = next(client);
                if topic == PRESENCE {
                    assert_eq!(payload, "", "{client_id}");
                    break; // the will on another topic may come before
                }
            }
        }
    }
}

/// Nobody has subscribed there.
const NO_READER: ReasonCode = ReasonCode::NoMatchingSubscribers;

#[tokio::test]
async fn tools_cards_and_replicas_are_the_same_on_both() {
    let broker = crate::broker(SHARDS);
    let url = url(&broker);
    let link = Link::to(&url).await;
    let mut brief = options(&link.url, "replica-1");
    brief.session_expiry = 1;
    let mut one = server_with(brief, "one", |config| config).await;
    let two = server(&url, "two").await;
    let clients = [client(&url, "agent-a").await, client(&url, "agent-b").await];
    for client in &clients {
        ask_until(client, "one").await;
        ask_until(client, "two").await;
    }
    two.server.stop().await;
    let (_raw, mut card) = hear_card(&url).await;
    assert_eq!(status(&mut card).await, "online", "the other replica is there");
    for client in &clients {
        for _ in 0..3 {
            assert_eq!(client.call("who", json!({})).await.unwrap(), json!("one"));
        }
    }
    // It dies with a call of each, one of which comes from the other shard.
    let waiting = clients
        .clone()
        .map(|client| tokio::spawn(async move { client.call("wait", json!({})).await }));
    for _ in &waiting {
        assert_eq!(one.told().await, "called");
    }
    link.close();
    for call in waiting {
        let lost = within("answer in its place", call).await.unwrap().unwrap_err();
        assert_eq!(lost.failure(), Some(&Failure::Unavailable), "{lost}");
    }
    assert_eq!(status(&mut card).await, "offline");
    for client in &clients {
        let gone = client.call("who", json!({})).await.unwrap_err();
        assert_eq!(gone.failure(), Some(&Failure::Unavailable));
        assert!(!client.card("who").await.unwrap().unwrap().online);
    }
}

async fn ask_until(client: &ToolClient, replica: &str) {
    let known = async { while client.call("who", json!({})).await.unwrap() != json!(replica) {} };
    within("answer of a replica", known).await;
}
