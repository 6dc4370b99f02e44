//! Tools of MQTT.Agent, for those who speak MCP: which there are, what they are called, and a call.

mod answer;
mod follow;

use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::mcp::{Fault, fault};
use agentmq_sdk::tools::{Cards, Error, StreamingCall, ToolClient, ToolInfo};
use rmcp::model::{
    CallToolResult, ErrorData, JsonObject, NumberOrString, ProgressNotificationParam,
    ProgressToken, Tool,
};
use serde_json::Value;

use crate::agent_tools::answer::{from_agent, from_agent_error};
use crate::host_name::host_name;

pub(crate) use follow::follow_agents;

/// A tool, as MCP has it.
#[derive(Debug, Clone)]
pub(crate) struct AgentTool {
    /// Whose it is: the MCP server's name, if it is one's that a gateway offers here, too.
    pub(crate) server: String,
    /// What that calls it.
    pub(crate) name: String,
    /// What it is called by on the bus.
    topic_name: String,
    /// Whether MCP's binding has it, too.
    pub(crate) is_served: bool,
    streams: bool,
    /// As a host sees it, with the name for hosts.
    pub(crate) tool: Tool,
    /// Its card.
    pub(crate) card: Value,
}

/// The tools that are online, of servers whose names match. Only those that the card of their
/// server names, too: whoever may write a tool's card could take another server's name otherwise.
pub(crate) fn online(cards: &Cards, filters: &[String]) -> Vec<AgentTool> {
    let all = cards.tools().filter(|info| info.online && info.listed).map(AgentTool::new);
    let matches = |server: &str| filters.iter().any(|it| agentmq_topic::matches(it, server));
    all.filter(|tool| matches(&tool.server)).collect()
}

/// Connects beside the connection with these options, as the same agent if they name one.
pub(crate) async fn connect(options: &Options, namespace: &str) -> Result<ToolClient, Error> {
    let mut options = options.clone();
    let agent = Some(options.client_id.clone()).filter(|id| !id.is_empty());
    if agent.is_some() {
        options.client_id.push_str(":calls");
    }
    let client = ToolClient::connect_for(options, namespace, agent.as_deref()).await?;
    // Whoever may not see what there is has no use for the rest.
    match client.watch().await {
        Ok(_) => Ok(client),
        Err(error) => {
            client.close().await;
            Err(error)
        }
    }
}

impl AgentTool {
    /// A tool of the cards, online or not.
    pub(crate) fn new(info: ToolInfo) -> Self {
        // The right to the name on the bus is the right to this name, and to no other.
        let of_mcp = info.mcp.filter(|it| host_name(&it.server, &it.tool) == info.name);
        let is_of_mcp = of_mcp.is_some();
        let is_served = of_mcp.as_ref().is_some_and(|it| it.served);
        let (server, name) = match of_mcp {
            Some(origin) => (origin.server, origin.tool),
            None => (info.server, info.name.clone()),
        };
        let schema = match info.input_schema {
            Value::Object(schema) => schema,
            _ => JsonObject::from_iter([("type".to_owned(), "object".into())]),
        };
        let mut tool = Tool::new(host_name(&server, &name), info.description, schema);
        tool.output_schema = match info.output_schema {
            // A result of anything else is none for MCP.
            Some(Value::Object(schema)) if is_of_mcp => Some(schema.into()),
            _ => None,
        };
        let (topic_name, streams, card) = (info.name, info.supports_streaming, info.card);
        Self { server, name, topic_name, is_served, streams, tool, card }
    }

    /// Calls it. What it says meanwhile is progress.
    pub(crate) async fn call<P, F>(
        &self,
        client: &ToolClient,
        arguments: JsonObject,
        timeout: Duration,
        progress: Option<P>,
        taken_back: impl Future<Output = ()>,
    ) -> Result<CallToolResult, ErrorData>
    where
        P: FnMut(ProgressNotificationParam) -> F,
        F: Future<Output = ()>,
    {
        let (name, arguments) = (&*self.topic_name, Value::Object(arguments));
        let called = async {
            match progress.filter(|_| self.streams) {
                Some(progress) => {
                    let call = client.call_streaming(name, arguments, timeout).await?;
                    result(call, progress).await
                }
                None => client.call_within(name, arguments, timeout).await,
            }
        };
        tokio::select! {
            called = called => match called {
                Ok(value) => Ok(from_agent(value)),
                Err(error) => from_agent_error(&error),
            },
            // Dropping it tells the server.
            () = taken_back => Err(fault(Fault::Cancelled, "the request was taken back")),
        }
    }
}

async fn result<P, F>(mut call: StreamingCall, mut progress: P) -> Result<Value, Error>
where
    P: FnMut(ProgressNotificationParam) -> F,
    F: Future<Output = ()>,
{
    let mut count = 0.0;
    while let Some(said) = call.next().await {
        count += 1.0;
        progress(as_progress(&said, count)).await;
    }
    call.result().await
}

/// Progress as a gateway has made a stream of it; anything else is the next step. Whoever gets it
/// puts the right token into it.
fn as_progress(said: &Value, count: f64) -> ProgressNotificationParam {
    let token = ProgressToken(NumberOrString::Number(0));
    let Some(done) = said.get("progress").and_then(Value::as_f64) else {
        let text = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
        return ProgressNotificationParam::new(token, count).with_message(text);
    };
    let mut report = ProgressNotificationParam::new(token, done);
    report.total = said.get("total").and_then(Value::as_f64);
    report.message = said.get("message").and_then(Value::as_str).map(str::to_owned);
    report
}
