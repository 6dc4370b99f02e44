//! MQTT.Agent's tools by our SDK: what becomes of calls, between processes that are all well.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agentmq_client::{Client, Publish, QoS, SubscriptionOptions};
use agentmq_sdk::TraceContext;
use agentmq_sdk::tools::{Context, Error, Failure, Tool, ToolClient, ToolServer, ToolServerConfig};
use agentmq_testkit::Broker;
use serde_json::{Value, json};

use crate::mcp_program::url;
use crate::program::printed_with_input;
use crate::tools_parts::{client, options, server, server_with, within};

/// Whoever publishes finds what has been subscribed to before.
const ONE_SHARD: &str = "[threads]\nshards = 1\n";

fn failure(outcome: Result<Value, Error>) -> (Failure, String) {
    match outcome {
        Err(Error::Failed { failure, message, .. }) => (failure, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn tools_are_found_and_called() {
    let broker = crate::broker("");
    let part = server(&url(&broker), "one").await;
    let client = client(&url(&broker), "agent-a").await;
    let card = client.card("add").await.unwrap().unwrap();
    assert_eq!((&*card.server, card.online), ("srv", true));
    let tools = client.tools().await.unwrap();
    assert_eq!((tools.len(), tools.iter().all(|tool| tool.online)), (8, true));
    assert!(client.card("nothing").await.unwrap().is_none());
    assert_eq!(client.call("add", json!({ "a": 2, "b": 40 })).await.unwrap(), json!(42));
    assert_eq!(client.call("caller", json!({})).await.unwrap(), json!("agent-a"));
    let mut changes = client.watch().await.unwrap();
    part.server.stop().await;
    assert!(matches!(part.server.ended().await, Error::Closed));
    while client.cards().tools().any(|tool| tool.card["status"] == "online") {
        within("offline cards", changes.next()).await;
    }
    let late = client.call("add", json!({ "a": 1, "b": 2 })).await;
    assert_eq!(failure(late).0, Failure::Unavailable);
}

/// From the caller to the handler, and on the way of the call and of its answer.
#[tokio::test]
async fn a_trace_is_carried() {
    let broker = crate::broker("");
    let mut config = ToolServerConfig::new("traced");
    config = config.tool(Tool::new("trace", "", json!({}), async |_, context: Context| {
        Ok(context.trace().pairs().collect())
    }));
    let server = ToolServer::connect(options(&url(&broker), ""), config).await.unwrap();
    let (watcher, mut seen) = Client::connect(options(&url(&broker), "watcher")).await.unwrap();
    let all = SubscriptionOptions::at(QoS::AtLeastOnce);
    watcher.subscribe("a2a/v1/mcp/tools/trace/call", all).await.unwrap();
    watcher.subscribe("a2a/v1/mcp/clients/agent-a/responses", all).await.unwrap();
    let client = ToolClient::connect(options(&url(&broker), "agent-a")).await.unwrap();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let given = [("traceparent", parent), ("tracestate", "a=b"), ("baggage", "broken")];
    let traced = client.traced(TraceContext::of(given));
    let told = traced.call("trace", json!({})).await.unwrap();
    assert_eq!(told, json!({ "traceparent": parent, "tracestate": "a=b" }));
    for _ in 0..2 {
        let message = within("call and answer", seen.next()).await.unwrap();
        let properties: Vec<_> = message.user_properties().collect();
        assert_eq!(properties, given[..2], "{}", message.topic);
    }
    assert_eq!(client.call("trace", json!({})).await.unwrap(), json!({}), "only where it is said");
    server.stop().await;
}

#[tokio::test]
async fn what_goes_wrong_in_a_tool_is_told() {
    let broker = crate::broker("");
    let _part = server(&url(&broker), "one").await;
    let client = client(&url(&broker), "agent-a").await;
    let (kind, message) = failure(client.call("add", json!({ "a": 1, "b": "x" })).await);
    assert_eq!(kind, Failure::InvalidArguments);
    assert!(message.starts_with("/b: "), "{message}");
    match client.call("fail", json!({})).await {
        Err(Error::Failed { failure: Failure::ToolError, message, code, .. }) => {
            assert_eq!((&*message, code), ("on purpose", Some(json!(7))));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(failure(client.call("panic", json!({})).await).0, Failure::ToolError);
    assert_eq!(client.call("add", json!({ "a": 1, "b": 2 })).await.unwrap(), json!(3));
    assert_eq!(failure(client.call("nobody", json!({})).await).0, Failure::Unavailable);
}

#[tokio::test]
async fn what_a_tool_says_comes_in_its_order() {
    let broker = crate::broker("");
    let _part = server(&url(&broker), "one").await;
    let client = client(&url(&broker), "agent-a").await;
    let patience = Duration::from_secs(20);
    let mut call = client.call_streaming("say", json!({}), patience).await.unwrap();
    let mut said = Vec::new();
    while let Some(value) = call.next().await {
        said.push(value);
    }
    assert_eq!(said, [json!("one"), json!({ "n": 2 }), json!("three")]);
    assert_eq!(call.result().await.unwrap(), json!("said"));
    let mut call = client.call_streaming("fail", json!({}), patience).await.unwrap();
    assert_eq!(call.next().await, None);
    assert_eq!(failure(call.result().await).0, Failure::ToolError);
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled() {
    let broker = crate::broker("");
    let mut part = server(&url(&broker), "one").await;
    let client = client(&url(&broker), "agent-a").await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("wait", json!({})).await }
    });
    assert_eq!(part.told().await, "called");
    call.abort();
    assert_eq!(part.told().await, "dropped");
    // Before the server has said that it has started.
    let call = client.call_streaming("wait", json!({}), Duration::from_secs(20)).await.unwrap();
    drop(call);
    assert_eq!(part.told().await, "called");
    assert_eq!(part.told().await, "dropped");
}

/// The profile of MQTT.Agent allows all of it: no topic is needed that it does not name.
#[tokio::test]
async fn the_access_profile_allows_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), "profiles = [\"mqtt-agent\"]\n").unwrap();
    let tools = ["add", "fail", "panic", "who", "caller", "say", "count", "wait"];
    let of_tools: Vec<_> = tools.iter().flat_map(|tool| ["--tool", tool]).collect();
    let of_server = [&["srv", "--server", "srv"], &of_tools[..]].concat();
    for claims in [&of_server[..], &["a", "--agent", "agent-a"]] {
        let arguments = [&["user", "add", "--users", "users.toml"], claims].concat();
        printed_with_input(folder.path(), &arguments, "secret");
    }
    let settings = "[access]\nusers = \"users.toml\"\npolicy = \"policy.toml\"\n";
    let broker = Broker::start_in(crate::BINARY, &format!("{}{settings}", crate::TCP), folder);
    let url = |name: &str| format!("mqtt://{name}:secret@127.0.0.1:{}", broker.port("mqtt"));
    let mut part = server(&url("srv"), "one").await;
    let client = client(&url("a"), "agent-a").await;
    assert!(client.card("add").await.unwrap().unwrap().online);
    assert_eq!(client.call("add", json!({ "a": 2, "b": 40 })).await.unwrap(), json!(42));
    let patience = Duration::from_secs(20);
    let mut call = client.call_streaming("say", json!({}), patience).await.unwrap();
    assert_eq!(call.next().await, Some(json!("one")));
    assert_eq!(call.result().await.unwrap(), json!("said"));
    drop(client.call_streaming("wait", json!({}), patience).await.unwrap());
    assert_eq!(part.told().await, "called");
    assert_eq!(part.told().await, "dropped");
    assert_eq!(part.server.dropped().count() + client.dropped().count(), 0);
}

#[tokio::test]
async fn a_deadline_ends_a_call_on_both_sides() {
    let broker = crate::broker(ONE_SHARD);
    let mut part = server(&url(&broker), "one").await;
    let client = client(&url(&broker), "agent-a").await;
    let call = client.call_within("wait", json!({}), Duration::from_secs(1)).await;
    assert_eq!(failure(call).0, Failure::Timeout);
    assert_eq!(part.told().await, "called");
    assert_eq!(part.told().await, "dropped");
    // Of a caller that is silent, the message's expiry is all that a server knows.
    let (raw, mut messages) = Client::connect(options(&url(&broker), "raw")).await.unwrap();
    let inbox = "a2a/v1/mcp/clients/raw/responses";
    raw.subscribe(inbox, SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
    let call = Publish::new("a2a/v1/mcp/tools/wait/call", r#"{"call_id":"c","client":"raw"}"#);
    raw.publish(call.qos(QoS::AtLeastOnce).expiry(1)).await.unwrap().await.unwrap();
    let answer = within("answer", messages.next()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["error"]["type"], "timeout", "{answer}");
}

#[tokio::test]
async fn a_server_that_is_full_says_so() {
    let broker = crate::broker("");
    let one = |config: ToolServerConfig| ToolServerConfig { concurrency: 1, ..config };
    let mut part = server_with(options(&url(&broker), ""), "one", one).await;
    let client = client(&url(&broker), "agent-a").await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call("wait", json!({})).await }
    });
    assert_eq!(part.told().await, "called");
    let (kind, message) = failure(client.call("who", json!({})).await);
    assert_eq!(kind, Failure::Unavailable, "{message}");
    part.go.send_replace(true);
    assert_eq!(waiting.await.unwrap().unwrap(), json!("one"));
    assert_eq!(client.call("who", json!({})).await.unwrap(), json!("one"));
}

#[tokio::test]
async fn what_comes_twice_is_done_once() {
    let broker = crate::broker(ONE_SHARD);
    let part = server(&url(&broker), "one").await;
    let (raw, mut messages) = Client::connect(options(&url(&broker), "raw")).await.unwrap();
    let inbox = "a2a/v1/mcp/clients/raw/responses";
    raw.subscribe(inbox, SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
    for id in ["a", "a", "b", "a"] {
        let payload = json!({ "call_id": id, "client": "raw", "arguments": {} }).to_string();
        let call = Publish::new("a2a/v1/mcp/tools/count/call", payload).qos(QoS::AtLeastOnce);
        let call = call.response_topic(inbox).correlation_data(id.as_bytes());
        raw.publish(call).await.unwrap().await.unwrap();
    }
    for payload in ["", "{}", "[1]", "\"x\"", r#"{"call_id":7}"#] {
        let call = Publish::new("a2a/v1/mcp/tools/count/call", payload).qos(QoS::AtLeastOnce);
        let _ = raw.publish(call).await.unwrap().await;
    }
    let mut ids = Vec::new();
    for _ in 0..2 {
        let message = within("answer", messages.next()).await.unwrap();
        let answer: Value = serde_json::from_slice(&message.payload).unwrap();
        let id = answer["call_id"].as_str().unwrap().to_owned();
        assert_eq!(message.correlation_data(), Some(id.as_bytes()));
        ids.push(id);
    }
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
    part.server.stop().await;
    assert_eq!(part.counted.load(Ordering::SeqCst), 2);
}
