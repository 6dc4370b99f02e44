//! A handler of the official SDK for Rust, put on the bus by ours: `cargo run -p agentmq-sdk
//! --example rmcp_server -- URL NAME`. It offers what the servers in Python and TypeScript offer,
//! so that the same checks judge all of them.

#![allow(clippy::print_stdout, reason = "it says when it is there")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_client::Options;
use agentmq_sdk::mcp::{Server, ServerConfig};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    GetPromptRequestParams, GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
    ReadResourceRequestParams, ReadResourceResponse, ServerConfig as Info, SubscriptionFilter,
    ToolListChangedNotification,
};
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::{RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[derive(Clone)]
struct Notes {
    name: String,
    server: Server,
    /// Tools that it has got by `grow`.
    grown: Arc<Mutex<Vec<String>>>,
    /// Clients without a session that listen to changes.
    listeners: Arc<Mutex<Vec<SubscriptionSink>>>,
}

impl Notes {
    /// Tells everybody that there are other tools: those with a session by the bus, others by what
    /// they listen to.
    async fn tell(&self) -> Result<(), ErrorData> {
        let changed = || ToolListChangedNotification::default().into();
        self.server.notify(changed()).await.map_err(internal)?;
        let listeners = lock(&self.listeners).clone();
        for listener in listeners {
            let _ = listener.send(changed()).await;
        }
        Ok(())
    }
}

impl ServerHandler for Notes {
    fn get_info(&self) -> Info {
        let capabilities = json!({
            "tools": { "listChanged": true }, "resources": {}, "prompts": {},
        });
        Info::new(serde_json::from_value(capabilities).unwrap_or_default())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(asked.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        lock(&self.listeners).push(context.sink().clone());
        context.cancelled().await;
        lock(&self.listeners).retain(|known| known.id() != context.sink().id());
        Ok(())
    }

    async fn list_tools(&self, _: Page, _: Context) -> Result<ListToolsResult, ErrorData> {
        let number = json!({ "type": "integer" });
        let text = json!({ "type": "string" });
        let mut tools = vec![
            tool("add", "Add two numbers.", json!({ "a": number, "b": number })),
            tool("fail", "Fail, and say so.", json!({})),
            tool("steps", "Report each step.", json!({ "count": number })),
            tool(
                "wait",
                "Work until it is taken back.",
                json!({ "started": text, "stopped": text }),
            ),
            tool("grow", "Have one tool more.", json!({ "tool": text })),
        ];
        let grown = lock(&self.grown);
        tools.extend(grown.iter().map(|name| tool(name, "Say that it is there.", json!({}))));
        from(json!({ "tools": tools }))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let given = Value::Object(call.arguments.unwrap_or_default());
        let text = |key: &str| given[key].as_str().unwrap_or_default();
        let result = match &*call.name {
            "add" => {
                let (Some(a), Some(b)) = (given["a"].as_i64(), given["b"].as_i64()) else {
                    return Ok(CallToolResponse::Complete(failure("a and b are numbers")));
                };
                let mut result = said(&(a + b).to_string());
                result.structured_content = Some(json!({ "result": a + b }));
                result
            }
            "fail" => failure("the disk is full"),
            "steps" => {
                report(given["count"].as_u64().unwrap_or_default(), &context).await;
                said("done")
            }
            "wait" => {
                write(text("started"))?;
                context.ct.cancelled().await;
                write(text("stopped"))?;
                said("never")
            }
            "grow" => {
                lock(&self.grown).push(text("tool").to_owned());
                self.tell().await?;
                said("grown")
            }
            grown => said(grown),
        };
        Ok(CallToolResponse::Complete(result))
    }

    async fn list_resources(&self, _: Page, _: Context) -> Result<ListResourcesResult, ErrorData> {
        from(json!({ "resources": [{ "uri": "note://first", "name": "first" }] }))
    }

    async fn list_resource_templates(
        &self,
        _: Page,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        from(json!({ "resourceTemplates": [{ "uriTemplate": "note://{title}", "name": "note" }] }))
    }

    async fn read_resource(
        &self,
        asked: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let name = &self.name;
        let text = match asked.uri.strip_prefix("note://") {
            Some("first") => format!("the first note of {name}"),
            Some(title) => format!("the note {title} of {name}"),
            None => return Err(ErrorData::invalid_params("no such note", None)),
        };
        let contents = json!({ "contents": [{ "uri": asked.uri, "text": text }] });
        Ok(ReadResourceResponse::Complete(from(contents)?))
    }

    async fn list_prompts(&self, _: Page, _: Context) -> Result<ListPromptsResult, ErrorData> {
        let who = json!({ "name": "who", "required": true });
        from(json!({ "prompts": [{ "name": "greet", "arguments": [who] }] }))
    }

    async fn get_prompt(
        &self,
        asked: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let given = asked.arguments.unwrap_or_default();
        let who = given.get("who").and_then(Value::as_str).unwrap_or_default();
        let text = format!("Greet {who} from {}.", self.name);
        let message = json!({ "role": "user", "content": { "type": "text", "text": text } });
        Ok(GetPromptResponse::Complete(from(json!({ "messages": [message] }))?))
    }
}

type Page = Option<PaginatedRequestParams>;
type Context = RequestContext<RoleServer>;

fn tool(name: &str, description: &str, properties: Value) -> Value {
    let required: Vec<&String> =
        properties.as_object().into_iter().flat_map(|it| it.keys()).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    json!({ "name": name, "description": description, "inputSchema": schema })
}

async fn report(count: u64, context: &Context) {
    let Some(token) = context.meta.get_progress_token() else { return };
    for step in 1..=count {
        let step = u32::try_from(step).unwrap_or(u32::MAX);
        let progress = ProgressNotificationParam::new(token.clone(), step.into())
            .with_total(count as f64)
            .with_message(format!("step {step}"));
        let _ = context.peer.notify_progress(progress).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn said(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn failure(text: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

fn write(path: &str) -> Result<(), ErrorData> {
    std::fs::write(path, "").map_err(internal)
}

/// A result of MCP from its JSON, as everybody writes it.
fn from<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(name)) = (words.next(), words.next()) else {
        return Err("rmcp_server URL NAME".into());
    };
    let config = ServerConfig { name: name.clone(), ..ServerConfig::default() };
    let (server, acceptor) = Server::connect(Options::new(&url)?, config).await?;
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    let notes =
        Notes { name, server: server.clone(), grown: Arc::default(), listeners: Arc::default() };
    let serving = tokio::spawn(acceptor.run(move |_| notes.clone()));
    server.online().await;
    println!("{}", json!({ "event": "online" }));
    Err(serving.await?.into())
}
