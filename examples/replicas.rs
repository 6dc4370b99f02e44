//! Three replicas of one tool server, which share its calls. One of them stops, and no call is
//! lost. `cargo run -p agentmq-sdk --example replicas -- mqtt://127.0.0.1:1883`

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use std::collections::BTreeSet;

use agentmq_client::Options;
use agentmq_sdk::tools::{Error, Tool, ToolClient, ToolServer, ToolServerConfig};
use serde_json::json;

/// A replica, wherever it runs: the name of the server is what makes it one of them.
async fn replica(url: &str, name: &'static str) -> Result<ToolServer, Box<dyn std::error::Error>> {
    let nothing = json!({ "type": "object" });
    let tool = Tool::new("which_color", "Says who answers", nothing, move |_, _| async move {
        Ok(json!(name))
    });
    let config = ToolServerConfig::new("colors").tool(tool);
    Ok(ToolServer::connect(Options::new(url)?, config).await?)
}

/// Who answers a call.
async fn ask(client: &ToolClient) -> Result<String, Error> {
    let answer = client.call("which_color", json!({})).await?;
    Ok(answer.as_str().unwrap_or_default().to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".into());
    let (red, green) = (replica(&url, "red").await?, replica(&url, "green").await?);
    let blue = replica(&url, "blue").await?;
    let mut options = Options::new(&url)?;
    options.client_id = "color-caller".into();
    let client = ToolClient::connect(options).await?;
    let mut answered = BTreeSet::new();
    while answered.len() < 3 {
        answered.insert(ask(&client).await?);
    }
    println!("all of them have answered: {answered:?}");
    green.stop().await;
    for number in 1..=6 {
        println!("call {number} without green: {}", ask(&client).await?);
    }
    client.close().await;
    red.stop().await;
    blue.stop().await;
    Ok(())
}
