//! A caller of tools: an address, who calls, a tool, and what it is given. Without a tool it lists
//! those that there are. Each line that it prints is JSON.
//! `cargo run -p agentmq-sdk --example tool_client -- mqtt://127.0.0.1:1883 me add '{"a":2,"b":40}'`

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::tools::{Error, ToolClient};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut options =
        Options::new(&words.next().unwrap_or_else(|| "mqtt://127.0.0.1:1883".into()))?;
    options.client_id = words.next().unwrap_or_else(|| "agent-a".into());
    let client = ToolClient::connect(options).await?;
    let (Some(tool), arguments) = (words.next(), words.next()) else {
        for tool in client.tools().await? {
            println!("{}", json!({ "tool": tool.name, "online": tool.online }));
        }
        client.close().await;
        return Ok(());
    };
    let arguments = serde_json::from_str(arguments.as_deref().unwrap_or("{}"))?;
    let mut call = client.call_streaming(&tool, arguments, Duration::from_secs(30)).await?;
    while let Some(value) = call.next().await {
        println!("{}", json!({ "says": value }));
    }
    match call.result().await {
        Ok(result) => println!("{}", json!({ "result": result })),
        Err(Error::Failed { failure, message, code, .. }) => {
            let failure = failure.to_string();
            println!("{}", json!({ "failed": failure, "message": message, "code": code }));
        }
        Err(error) => return Err(error.into()),
    }
    client.close().await;
    Ok(())
}
