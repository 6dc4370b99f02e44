//! A server of two tools, for `tool_client`. Start it twice, and both share the calls. It stops,
//! and says so on its cards, when its input ends.
//! `cargo run -p agentmq-sdk --example tool_server -- mqtt://127.0.0.1:1883`

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use agentmq_client::Options;
use agentmq_sdk::tools::{Context, Tool, ToolError, ToolServer, ToolServerConfig};
use serde_json::{Value, json};

async fn add(arguments: Value, _: Context) -> Result<Value, ToolError> {
    // The schema says that both are there.
    let number = |key: &str| arguments[key].as_i64().unwrap_or_default();
    let sum = number("a").checked_add(number("b"));
    sum.map(Value::from).ok_or_else(|| ToolError::new("the sum is too large"))
}

async fn count_down(arguments: Value, call: Context) -> Result<Value, ToolError> {
    for number in (1..=arguments["from"].as_i64().unwrap_or_default()).rev() {
        call.stream(number).await.map_err(|error| ToolError::new(error.to_string()))?;
    }
    Ok(json!(format!("done, {}", call.caller())))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".into());
    let numbers = json!({
        "type": "object",
        "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } },
        "required": ["a", "b"],
    });
    let from = json!({
        "type": "object",
        "properties": { "from": { "type": "integer", "maximum": 10 } },
        "required": ["from"],
    });
    let config = ToolServerConfig::new("calculator")
        .tool(Tool::new("add", "Adds two numbers", numbers, add))
        .tool(Tool::new("count_down", "Says each number", from, count_down).streaming());
    let server = ToolServer::connect(Options::new(&url)?, config).await?;
    println!("online");
    let input =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    tokio::select! {
        _ = input => server.stop().await,
        error = server.ended() => return Err(error.into()),
    }
    println!("offline");
    Ok(())
}
