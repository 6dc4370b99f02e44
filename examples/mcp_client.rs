//! A caller of MCP servers on the bus: it looks who is there, and calls a tool of one of them.
//! `cargo run -p agentmq-sdk --example mcp_client -- mqtt://127.0.0.1:1883 greeter greet
//! '{"who":"Ada"}'`

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::mcp::{Bus, BusConfig, Call, call};
use rmcp::ClientHandler;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ProgressNotificationParam, ServerResult,
};

/// What the server may ask of us: nothing.
struct Caller;

impl ClientHandler for Caller {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, server, tool, arguments] = words.as_slice() else {
        return Err("mcp_client URL SERVER TOOL ARGUMENTS".into());
    };
    let bus = Bus::connect(Options::new(url)?, BusConfig::default()).await?;
    bus.discovered(Duration::from_secs(10)).await;
    // Any instance of it, wherever it runs.
    let session = bus.open_any(server, || Caller).await?;
    for tool in session.peer().list_all_tools().await? {
        println!("{server} has {}: {}", tool.name, tool.description.unwrap_or_default());
    }
    let asked = CallToolRequestParams::new(tool.clone());
    let asked = asked.with_arguments(serde_json::from_str(arguments)?);
    let request = Call::new(CallToolRequest::new(asked).into());
    let progress = |report: ProgressNotificationParam| async move {
        println!("{} so far", report.progress);
    };
    let answer = call(session.peer(), request, Some(progress), std::future::pending()).await?;
    if let ServerResult::CallToolResult(result) = answer {
        for text in result.content.iter().filter_map(|block| block.as_text()) {
            println!("{}", text.text);
        }
    }
    bus.close().await;
    Ok(())
}
