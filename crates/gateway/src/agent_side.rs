//! Tools that we have, in MQTT.Agent's binding: a server of it that stands for whoever has them.

mod result;

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::tools::{
    self, ArgumentSchema, Context, McpOrigin, Tool, ToolServer, ToolServerConfig, WrongSchema,
};
use rmcp::model::{CallToolRequestParams, CallToolResult, ErrorData, Tool as McpTool};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::agent_side::result::{to_agent, to_tool_error};
use crate::backoff::Backoff;
use crate::binding::{Binding, is_refusal};
use crate::happening::Happening;
use crate::host_name::{host_name, level_name};

/// Who has tools to offer.
pub(crate) trait Offer: fmt::Debug + Send + Sync + 'static {
    /// Its tools now.
    fn tools(&self) -> Soon<'_, Vec<McpTool>>;

    /// Calls one until `taken_back`. Progress goes to the context's stream.
    fn call(
        self: Arc<Self>,
        params: CallToolRequestParams,
        context: Context,
        taken_back: CancellationToken,
    ) -> Soon<'static, CallToolResult>;
}

pub(crate) type Soon<'a, T> = Pin<Box<dyn Future<Output = Result<T, ErrorData>> + Send + 'a>>;

/// Who offers at the moment, if anybody. Its list of tools has changed when this says so again.
pub(crate) type Offering = watch::Receiver<Option<Arc<dyn Offer>>>;

/// Where and as whom to offer.
#[derive(Debug)]
pub(crate) struct AgentSide {
    /// The broker. The client id is the one for this binding.
    pub(crate) options: Options,
    pub(crate) namespace: String,
    /// The server-name.
    pub(crate) server: String,
    /// Whether MCP's binding has it, too.
    pub(crate) served: bool,
}

/// Keeps the tools offered until `stop`, if that is wanted. Where the broker does not allow it the
/// other binding goes on without this one; where there is no other one, for the reason in
/// `instead_of` or because nobody wants it, that is an error, and so is a first connection that
/// fails.
pub(crate) async fn offer_to_agents(
    binding: Binding,
    side: AgentSide,
    offering: Offering,
    instead_of: Option<Error>,
    stop: CancellationToken,
    report: impl Fn(Happening),
) -> Result<(), Error> {
    let must = instead_of.is_some() || !binding.has_mcp();
    if binding.has_agent() {
        match keep_offered(side, offering, must, &stop, &report).await {
            Ok(()) => {}
            Err(error) if must => return Err(instead_of.unwrap_or_else(|| error.into())),
            Err(error) => {
                report(Happening::Refused { binding: Binding::Agent, why: error.to_string() });
            }
        }
    }
    stop.cancelled().await;
    Ok(())
}

/// Returns an error where it is no use to go on.
async fn keep_offered(
    side: AgentSide,
    mut offering: Offering,
    mut must: bool,
    stop: &CancellationToken,
    report: impl Fn(Happening),
) -> Result<(), tools::Error> {
    let mut backoff = Backoff::new(LONGEST_PAUSE);
    while !stop.is_cancelled() {
        let offer = offering.borrow_and_update().clone();
        let tools = match &offer {
            Some(offer) => match offer.tools().await {
                Ok(tools) => tools,
                Err(error) => {
                    let error = &*error.message;
                    tracing::warn!(error, "the server's tools are not known; asking again");
                    tokio::select! {
                        () = tokio::time::sleep(backoff.pause()) => {}
                        () = changed(&mut offering, stop) => {}
                    }
                    continue;
                }
            },
            None => Vec::new(),
        };
        let ended = match offer.filter(|_| !tools.is_empty()) {
            None => {
                changed(&mut offering, stop).await;
                continue;
            }
            Some(offer) => {
                let (config, names) = side.config(&offer, &tools);
                match Box::pin(ToolServer::connect(side.options.clone(), config)).await {
                    Ok(server) => {
                        backoff.succeeded();
                        must = false;
                        report(side.offered(&server, names));
                        side.stay(server, (&offer, &tools), &mut offering, stop).await
                    }
                    Err(error) => Some(error),
                }
            }
        };
        if let Some(error) = ended {
            if must || matches!(&error, tools::Error::Mqtt(cause) if is_refusal(cause)) {
                return Err(error);
            }
            tracing::warn!(%error, fix = error.fix(), "not offered to clients of MQTT.Agent now");
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

/// Waits for a change of what is offered, or the end.
async fn changed(offering: &mut Offering, stop: &CancellationToken) {
    tokio::select! {
        changed = offering.changed() => if changed.is_err() {
            stop.cancelled().await;
        },
        () = stop.cancelled() => {}
    }
}

impl AgentSide {
    /// Serves until something else is to be offered. Returns why the connection has ended, if it
    /// has.
    async fn stay(
        &self,
        server: ToolServer,
        (offer, tools): (&Arc<dyn Offer>, &[McpTool]),
        offering: &mut Offering,
        stop: &CancellationToken,
    ) -> Option<tools::Error> {
        loop {
            tokio::select! {
                error = server.ended() => return Some(error),
                () = changed(offering, stop) => {}
            }
            let now = offering.borrow_and_update().clone();
            let is_same =
                |it: &Arc<dyn Offer>| std::ptr::addr_eq(&raw const **it, &raw const **offer);
            let same = match now.filter(|it| is_same(it) && !stop.is_cancelled()) {
                Some(offer) => offer.tools().await.is_ok_and(|now| now == tools),
                None => false,
            };
            if !same {
                offering.mark_changed();
                server.stop().await;
                return None;
            }
        }
    }

    /// What is offered, and the names of the tools.
    fn config(
        &self,
        offer: &Arc<dyn Offer>,
        tools: &[McpTool],
    ) -> (ToolServerConfig, BTreeSet<String>) {
        let mut config = ToolServerConfig::new(level_name(&self.server));
        config.namespace.clone_from(&self.namespace);
        let mut names = BTreeSet::new();
        for tool in tools {
            let name = host_name(&self.server, &tool.name);
            if names.contains(&name) {
                tracing::warn!(name, "left out of MQTT.Agent's binding: the name is taken");
            } else if let Some(offered) = self.tool(offer, tool, &name) {
                config.tools.push(offered);
                names.insert(name);
            }
        }
        (config, names)
    }

    fn offered(&self, server: &ToolServer, tools: BTreeSet<String>) -> Happening {
        Happening::Offered {
            server: level_name(&self.server),
            namespace: self.namespace.clone(),
            id: server.client().server().client_id.clone(),
            tools: tools.into_iter().collect(),
        }
    }

    /// A tool as a handler; `None` where its schema cannot be checked, which is logged.
    fn tool(&self, offer: &Arc<dyn Offer>, tool: &McpTool, name: &str) -> Option<Tool> {
        let schema = Value::Object(tool.input_schema.as_ref().clone());
        if let Err(WrongSchema(why)) = ArgumentSchema::read(&schema) {
            tracing::warn!(tool = name, why, "left out of MQTT.Agent's binding");
            return None;
        }
        let about = tool.description.as_deref().unwrap_or_default().to_owned();
        let (offer, own) = (offer.clone(), tool.name.to_string());
        let handler = move |arguments: Value, context: Context| {
            let (offer, own) = (offer.clone(), own.clone());
            async move {
                let mut params = CallToolRequestParams::new(own);
                params.arguments = arguments.as_object().cloned();
                let taken_back = CancellationToken::new();
                // Whoever has the tool is told when nobody waits any longer: this is dropped then.
                let _given_up = taken_back.clone().drop_guard();
                let called = tokio::spawn(offer.call(params, context, taken_back));
                match called.await? {
                    Ok(result) => to_agent(result),
                    Err(error) => Err(to_tool_error(&error)),
                }
            }
        };
        let mut offered = Tool::new(name, about, schema, handler).streaming();
        if let Some(schema) = &tool.output_schema {
            offered = offered.output_schema(Value::Object(schema.as_ref().clone()));
        }
        Some(offered.of_mcp(McpOrigin {
            server: self.server.clone(),
            tool: tool.name.to_string(),
            served: self.served,
        }))
    }
}

/// Before the broker is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl Offer for Nobody {
        fn tools(&self) -> Soon<'_, Vec<McpTool>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn call(
            self: Arc<Self>,
            _: CallToolRequestParams,
            _: Context,
            _: CancellationToken,
        ) -> Soon<'static, CallToolResult> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn tools_are_offered_once_and_with_schemas_that_can_be_checked() {
        let side = AgentSide {
            options: Options::new("mqtt://127.0.0.1").unwrap(),
            namespace: "a2a/v1".into(),
            server: "calc".into(),
            served: true,
        };
        let tool = |name: &'static str, schema: Value| {
            McpTool::new(name, "", schema.as_object().cloned().unwrap())
        };
        let tools = [
            tool("sub", json!({ "type": "object" })),
            tool("add", json!({ "type": "object" })),
            tool("add", json!({ "type": "object" })),
            tool("odd", json!({ "type": 7 })),
        ];
        let offer: Arc<dyn Offer> = Arc::new(Nobody);
        let (config, names) = side.config(&offer, &tools);
        assert_eq!(config.tools.len(), 2);
        assert!(names.iter().eq(["calc__add", "calc__sub"]), "{names:?}");
    }
}
