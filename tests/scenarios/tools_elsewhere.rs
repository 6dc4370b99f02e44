//! MQTT.Agent's tools over somebody else's broker: nothing of it needs ours.

use std::time::Duration;

use agentmq_sdk::tools::Failure;
use serde_json::json;

use crate::mcp_elsewhere::Mosquitto;
use crate::tools_parts::{Link, client, hear_card, options, server, server_with, status, within};

#[tokio::test]
async fn mosquitto_carries_tools_unchanged() {
    let broker = Mosquitto::start();
    let url = &broker.url;
    let mut one = server(url, "one").await;
    let client = client(url, "agent-a").await;
    assert!(client.card("add").await.unwrap().unwrap().online);
    assert_eq!(client.tools().await.unwrap().len(), 8);
    assert_eq!(client.call("add", json!({ "a": 2, "b": 40 })).await.unwrap(), json!(42));
    let wrong = client.call("add", json!({ "a": 2 })).await.unwrap_err();
    assert_eq!(wrong.failure(), Some(&Failure::InvalidArguments));
    let nobody = client.call("nobody", json!({})).await.unwrap_err();
    assert_eq!(nobody.failure(), Some(&Failure::Unavailable));
    let patience = Duration::from_secs(20);
    let mut nobody = client.call_streaming("nobody", json!({}), patience).await.unwrap();
    assert_eq!(within("end of a stream that has not begun", nobody.next()).await, None);
    assert_eq!(nobody.result().await.unwrap_err().failure(), Some(&Failure::Unavailable));
    let mut call = client.call_streaming("say", json!({}), patience).await.unwrap();
    let mut said = Vec::new();
    while let Some(value) = call.next().await {
        said.push(value);
    }
    assert_eq!(said, [json!("one"), json!({ "n": 2 }), json!("three")]);
    assert_eq!(call.result().await.unwrap(), json!("said"));
    let given_up = client.call_streaming("wait", json!({}), patience).await;
    assert_eq!(one.told().await, "called");
    drop(given_up);
    assert_eq!(one.told().await, "dropped");

    let two = server(url, "two").await;
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(client.call("who", json!({})).await.unwrap());
    }
    for replica in ["one", "two"] {
        assert_eq!(answers.iter().filter(|answer| *answer == replica).count(), 3, "{answers:?}");
    }
    // One that stops says that all are offline; the other one knows better.
    let (_raw, mut card) = hear_card(url).await;
    assert_eq!(status(&mut card).await, "online");
    one.server.stop().await;
    assert_eq!(status(&mut card).await, "offline");
    assert_eq!(status(&mut card).await, "online");
    assert_eq!(client.call("who", json!({})).await.unwrap(), json!("two"));
    two.server.stop().await;
}

#[tokio::test]
async fn a_server_that_mosquitto_has_given_up_says_that_it_is_back() {
    let broker = Mosquitto::start();
    let link = Link::to(&broker.url).await;
    let mut brief = options(&link.url, "srv-1");
    brief.session_expiry = 1;
    let part = server_with(brief, "one", |config| config).await;
    let (_raw, mut card) = hear_card(&broker.url).await;
    assert_eq!(status(&mut card).await, "online");
    link.close();
    assert_eq!(status(&mut card).await, "offline");
    link.mend();
    assert_eq!(status(&mut card).await, "online");
    let client = client(&broker.url, "agent-a").await;
    assert_eq!(client.call("who", json!({})).await.unwrap(), json!("one"));
    drop(part);
}
