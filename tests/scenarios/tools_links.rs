//! MQTT.Agent's tools by our SDK: replicas, links that break, and servers that die.

use std::sync::atomic::Ordering;

use agentmq_client::Event;
use agentmq_sdk::tools::{Failure, ToolClient, ToolServerConfig};
use serde_json::json;

use crate::mcp_program::url;
use crate::tools_parts::{Link, client, hear_card, options, server, server_with, status, within};

/// Who answers so many calls side by side, sorted.
async fn answers(client: &ToolClient, number: usize) -> Vec<String> {
    let calls: Vec<_> = (0..number)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call("who", json!({})).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap().as_str().unwrap().to_owned());
    }
    answers.sort();
    answers
}

#[tokio::test]
async fn replicas_share_the_calls_and_one_may_stop() {
    let broker = crate::broker("");
    let one = server(&url(&broker), "one").await;
    let two = server(&url(&broker), "two").await;
    let client = client(&url(&broker), "agent-a").await;
    // The second one waits for the card that it follows; until it has that, the other is asked.
    let known = async { while client.call("who", json!({})).await.unwrap() != json!("two") {} };
    within("answer of the second one", known).await;
    assert_eq!(answers(&client, 6).await, ["one", "one", "one", "two", "two", "two"]);
    one.server.stop().await;
    assert_eq!(answers(&client, 3).await, ["two", "two", "two"]);
    assert!(client.card("who").await.unwrap().unwrap().online);
    two.server.stop().await;
}

#[tokio::test]
async fn a_replica_that_dies_leaves_nobody_waiting() {
    let broker = crate::broker("");
    let link = Link::to(&url(&broker)).await;
    let mut dying = options(&link.url, "dying");
    dying.session_expiry = 1;
    let mut one = server_with(dying, "one", |config| config).await;
    let client = client(&url(&broker), "agent-a").await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call("wait", json!({})).await }
    });
    assert_eq!(one.told().await, "called");
    let two = server(&url(&broker), "two").await;
    link.close();
    let lost = within("answer in its place", waiting).await.unwrap().unwrap_err();
    assert_eq!(lost.failure(), Some(&Failure::Unavailable), "{lost}");
    assert_eq!(answers(&client, 3).await, ["two", "two", "two"]);
    assert!(client.card("who").await.unwrap().unwrap().online);
    drop((one, two));
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_is_not_missed() {
    let broker = crate::broker("");
    let link = Link::to(&url(&broker)).await;
    let mut part = server_with(options(&link.url, "srv-1"), "one", |config| config).await;
    let (_raw, mut card) = hear_card(&url(&broker)).await;
    assert_eq!(status(&mut card).await, "online");
    let client = client(&url(&broker), "agent-a").await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call("wait", json!({})).await }
    });
    assert_eq!(part.told().await, "called");
    let mut events = part.server.client().events();
    link.close();
    let gone = within("end of the link", events.next()).await.unwrap();
    assert!(matches!(gone, Event::Disconnected { .. }), "{gone:?}");
    // Answered, and called, while the server is away.
    part.go.send_replace(true);
    let called = tokio::spawn({
        let client = client.clone();
        async move { client.call("who", json!({})).await }
    });
    link.mend();
    assert_eq!(within("answer", waiting).await.unwrap().unwrap(), json!("one"));
    assert_eq!(within("answer", called).await.unwrap().unwrap(), json!("one"));
    part.server.stop().await;
    // Nothing was said in between.
    assert_eq!(status(&mut card).await, "offline");
}

#[tokio::test]
async fn a_server_that_was_away_for_long_says_that_it_is_back() {
    let broker = crate::broker("");
    let link = Link::to(&url(&broker)).await;
    let mut brief = options(&link.url, "srv-1");
    brief.session_expiry = 1;
    let part = server_with(brief, "one", |config| config).await;
    let (_raw, mut card) = hear_card(&url(&broker)).await;
    assert_eq!(status(&mut card).await, "online");
    link.close();
    assert_eq!(status(&mut card).await, "offline");
    let client = ToolClient::connect(options(&url(&broker), "agent-a")).await.unwrap();
    let gone = client.call("who", json!({})).await.unwrap_err();
    assert_eq!(gone.failure(), Some(&Failure::Unavailable));
    link.mend();
    assert_eq!(status(&mut card).await, "online");
    let again = async {
        loop {
            // Its card may come before its subscriptions.
            match client.call("who", json!({})).await {
                Ok(answer) => break answer,
                Err(error) => assert_eq!(error.failure(), Some(&Failure::Unavailable)),
            }
        }
    };
    assert_eq!(within("answer", again).await, json!("one"));
    drop(part);
}

#[tokio::test]
async fn replicas_that_do_not_share_all_get_the_call() {
    let broker = crate::broker("");
    let alone = |config: ToolServerConfig| ToolServerConfig {
        shared: false,
        namespace: "/lab/".into(),
        ..config
    };
    let one = server_with(options(&url(&broker), ""), "one", alone).await;
    let two = server_with(options(&url(&broker), ""), "two", alone).await;
    let client = ToolClient::connect_in(options(&url(&broker), "agent-a"), "lab").await.unwrap();
    let mut calls = 0;
    let both = async {
        while one.counted.load(Ordering::SeqCst) == 0 || two.counted.load(Ordering::SeqCst) == 0 {
            // Whichever answers first.
            client.call("count", json!({})).await.unwrap();
            calls += 1;
        }
    };
    within("call that both have got", both).await;
    one.server.stop().await;
    two.server.stop().await;
    for replica in [one, two] {
        assert!((1..=calls).contains(&replica.counted.load(Ordering::SeqCst)), "{calls}");
    }
}

#[tokio::test]
async fn an_answer_waits_for_a_caller_that_is_away() {
    let broker = crate::broker("");
    let link = Link::to(&url(&broker)).await;
    let mut part = server(&url(&broker), "one").await;
    let client = client(&link.url, "agent-a").await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call("wait", json!({})).await }
    });
    assert_eq!(part.told().await, "called");
    let mut events = client.client().events();
    link.close();
    let gone = within("end of the link", events.next()).await.unwrap();
    assert!(matches!(gone, Event::Disconnected { .. }), "{gone:?}");
    part.go.send_replace(true);
    link.mend();
    assert_eq!(within("answer", waiting).await.unwrap().unwrap(), json!("one"));
}
