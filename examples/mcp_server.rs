//! An MCP server that is on the bus without a program of its own: any handler of `rmcp` can be.
//! `cargo run -p agentmq-sdk --example mcp_server -- mqtt://127.0.0.1:1883`. Hosts see it through
//! `agentmq mcp bridge`.

#![allow(clippy::print_stdout, reason = "an example says what happens")]

use agentmq_client::Options;
use agentmq_sdk::mcp::{Server, ServerConfig};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig as Info, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;

#[derive(Clone)]
struct Greeter;

impl ServerHandler for Greeter {
    fn get_info(&self) -> Info {
        Info::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let properties = json!({ "who": { "type": "string" } });
        let schema = json!({ "type": "object", "properties": properties, "required": ["who"] });
        let schema = schema.as_object().cloned().unwrap_or_default();
        Ok(ListToolsResult::with_all_items(vec![Tool::new("greet", "Greets somebody", schema)]))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let given = call.arguments.unwrap_or_default();
        let who = given.get("who").and_then(|who| who.as_str()).unwrap_or("you");
        let content = vec![ContentBlock::text(format!("Good morning, {who}!"))];
        Ok(CallToolResponse::Complete(CallToolResult::success(content)))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".into());
    let config = ServerConfig { name: "greeter".into(), ..ServerConfig::default() };
    let (server, acceptor) = Server::connect(Options::new(&url)?, config).await?;
    let serving = tokio::spawn(acceptor.run(|_caller| Greeter));
    server.online().await;
    println!("online");
    Err(serving.await?.into())
}
