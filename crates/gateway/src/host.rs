//! What a bridge answers a host.

mod asking;
mod following;
mod notices;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_sdk::TraceContext;
use agentmq_sdk::mcp::{Fault, WORK_TIMEOUT, fault};
use agentmq_sdk::tools::ToolClient;
use rmcp::RoleServer;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, CompleteRequest,
    CompleteRequestParams, CompleteResult, ErrorCode, ErrorData, GetPromptRequest,
    GetPromptRequestParams, GetPromptResponse, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequest, ReadResourceRequestParams, ReadResourceResponse, Reference, ResultType,
    ServerCapabilities, ServerConfig, ServerResult, SubscribeRequestParams, SubscriptionFilter,
    UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::asking::{progress_to, take_room};
use self::following::nobody_follows;
use self::notices::{Listener, Seen, tell};
use crate::agent_tools::AgentTool;
use crate::catalogue::Catalogue;
use crate::endpoint::unread::Unread;
use crate::host_uri::{rename, rename_contents, server_uri};

/// The server that a host sees: one for each session, and for each request without one.
#[derive(Debug)]
pub(crate) struct Host {
    /// Tells it from other hosts of the same catalogue.
    id: Arc<str>,
    catalogue: Arc<Catalogue>,
    seen: Seen,
    /// Places for subscriptions in the newest revision.
    listening: Semaphore,
    gone: CancellationToken,
    _end: DropGuard,
}

impl Host {
    pub(crate) fn new(catalogue: Arc<Catalogue>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let id = COUNT.fetch_add(1, Ordering::Relaxed).to_string().into();
        let gone = CancellationToken::new();
        Self {
            id,
            catalogue,
            seen: Seen::default(),
            listening: Semaphore::new(SUBSCRIPTIONS),
            gone: gone.clone(),
            _end: gone.drop_guard(),
        }
    }

    /// Calls a tool of MQTT.Agent.
    async fn call_agent(
        &self,
        tool: &AgentTool,
        client: &ToolClient,
        params: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = params.arguments.unwrap_or_default();
        let texts = context.meta.iter().filter_map(|(key, value)| Some((&**key, value.as_str()?)));
        let client = &client.traced(TraceContext::of(texts));
        let (progress, taken_back) = (progress_to(context), context.ct.cancelled());
        let called = tool.call(client, arguments, WORK_TIMEOUT, progress, taken_back).await;
        let mut result = called?;
        take_room(context, &result)?;
        for block in &mut result.content {
            rename(&tool.server, block);
        }
        complete(&mut result.result_type);
        Ok(CallToolResponse::Complete(result))
    }

    /// Why a name or URI means nothing now.
    fn unknown(&self, what: &str, name: &str) -> ErrorData {
        if self.catalogue.is_connected() {
            ErrorData::invalid_params(format!("unknown {what}: {name}"), None)
        } else {
            unreachable()
        }
    }
}

impl ServerHandler for Host {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_completions()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("agentmq", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let (id, seen, gone) = (self.id.clone(), self.seen.clone(), self.gone.clone());
        let (catalogue, notices) = (self.catalogue.clone(), self.catalogue.notices());
        tokio::spawn(async move {
            tokio::select! {
                () = tell(&id, &seen, &catalogue, notices, Listener::Session(context.peer)) => {}
                () = gone.cancelled() => {}
            }
            for uri in catalogue.forget(&id) {
                Box::pin(nobody_follows(&catalogue, &uri)).await;
            }
        });
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(asked.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let Ok(_place) = self.listening.try_acquire() else {
            return Err(fault(Fault::Busy, "too many subscriptions"));
        };
        let uris = context.accepted().resource_subscriptions.clone().unwrap_or_default();
        // A host may listen more than once.
        let who: Arc<str> = format!("{} {}", self.id, context.sink().id()).into();
        // From before it is asked for: nothing is missed between.
        let notices = self.catalogue.notices();
        self.catalogue.settled().await;
        for uri in &uris {
            if let Err(error) = self.follow(&who, uri, context.request_context()).await {
                tracing::debug!(uri, error = &*error.message, "not subscribed");
            }
        }
        let unread = Unread::of(&context.request_context().extensions);
        let listener = Listener::Subscription(context.sink().clone(), unread);
        tokio::select! {
            () = tell(&who, &self.seen, &self.catalogue, notices, listener) => {}
            () = context.cancelled() => {}
        }
        for uri in &uris {
            if self.catalogue.unfollow(&who, uri) {
                Box::pin(nobody_follows(&self.catalogue, uri)).await;
            }
        }
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let now = self.catalogue.settled().await;
        self.seen.note(|seen| seen.tools = now.tools);
        let result = ListToolsResult { tools: self.catalogue.tools(), ..Default::default() };
        take_room(&context, &result)?;
        Ok(result)
    }

    async fn call_tool(
        &self,
        mut params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.catalogue.settled().await;
        if let Some((tool, client)) = self.catalogue.find_agent_tool(&params.name) {
            let client = client.ok_or_else(unreachable)?;
            return self.call_agent(&tool, &client, params, &context).await;
        }
        let found = self.catalogue.find_tool(&params.name);
        let (server, own) = found.ok_or_else(|| self.unknown("tool", &params.name))?;
        let repeatable = self.catalogue.is_repeatable(&server, &params.name);
        params.name = own.into();
        params.meta = None;
        let request = CallToolRequest::new(params).into();
        let answer = if repeatable {
            self.ask_again(&server, request, &context).await
        } else {
            self.ask(&server, request, &context).await
        };
        match answer? {
            ServerResult::CallToolResult(mut result) => {
                for block in &mut result.content {
                    rename(&server, block);
                }
                complete(&mut result.result_type);
                Ok(CallToolResponse::Complete(result))
            }
            // The host has what is asked for, and asks again with it.
            ServerResult::InputRequiredResult(result) => {
                Ok(CallToolResponse::InputRequired(result))
            }
            _ => Err(no_such_answer("tools/call")),
        }
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let now = self.catalogue.settled().await;
        self.seen.note(|seen| seen.prompts = now.prompts);
        let result = ListPromptsResult { prompts: self.catalogue.prompts(), ..Default::default() };
        take_room(&context, &result)?;
        Ok(result)
    }

    async fn get_prompt(
        &self,
        mut params: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.catalogue.settled().await;
        let found = self.catalogue.find_prompt(&params.name);
        let (server, own) = found.ok_or_else(|| self.unknown("prompt", &params.name))?;
        params.name = own;
        params.meta = None;
        match self.ask(&server, GetPromptRequest::new(params).into(), &context).await? {
            ServerResult::GetPromptResult(mut result) => {
                for message in &mut result.messages {
                    rename(&server, &mut message.content);
                }
                complete(&mut result.result_type);
                Ok(GetPromptResponse::Complete(result))
            }
            ServerResult::InputRequiredResult(result) => {
                Ok(GetPromptResponse::InputRequired(result))
            }
            _ => Err(no_such_answer("prompts/get")),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let now = self.catalogue.settled().await;
        self.seen.note(|seen| seen.resources = now.resources);
        let result =
            ListResourcesResult { resources: self.catalogue.resources(), ..Default::default() };
        take_room(&context, &result)?;
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.catalogue.settled().await;
        let resource_templates = self.catalogue.templates();
        let result = ListResourceTemplatesResult { resource_templates, ..Default::default() };
        take_room(&context, &result)?;
        Ok(result)
    }

    async fn read_resource(
        &self,
        mut params: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.catalogue.settled().await;
        let found = server_uri(&params.uri);
        let (server, own) = found.ok_or_else(|| self.unknown("resource", &params.uri))?;
        params.uri = own;
        params.meta = None;
        match self.ask(&server, ReadResourceRequest::new(params).into(), &context).await? {
            ServerResult::ReadResourceResult(mut result) => {
                for contents in &mut result.contents {
                    rename_contents(&server, contents);
                }
                complete(&mut result.result_type);
                Ok(ReadResourceResponse::Complete(result))
            }
            ServerResult::InputRequiredResult(result) => {
                Ok(ReadResourceResponse::InputRequired(result))
            }
            _ => Err(no_such_answer("resources/read")),
        }
    }

    async fn complete(
        &self,
        mut params: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        self.catalogue.settled().await;
        let server = match &mut params.r#ref {
            Reference::Prompt(prompt) => {
                let found = self.catalogue.find_prompt(&prompt.name);
                let (server, own) = found.ok_or_else(|| self.unknown("prompt", &prompt.name))?;
                prompt.name = own;
                server.to_string()
            }
            Reference::Resource(resource) => {
                let found = server_uri(&resource.uri);
                let (server, own) = found.ok_or_else(|| self.unknown("resource", &resource.uri))?;
                resource.uri = own;
                server
            }
            _ => return Err(ErrorData::invalid_params("unknown kind of reference", None)),
        };
        params.meta = None;
        match self.ask(&server, CompleteRequest::new(params).into(), &context).await? {
            ServerResult::CompleteResult(mut result) => {
                complete(&mut result.result_type);
                Ok(result)
            }
            _ => Err(no_such_answer("completion/complete")),
        }
    }

    async fn subscribe(
        &self,
        params: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.catalogue.settled().await;
        self.follow(&self.id, &params.uri, &context).await
    }

    async fn unsubscribe(
        &self,
        params: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let _ = server_uri(&params.uri).ok_or_else(|| self.unknown("resource", &params.uri))?;
        if self.catalogue.unfollow(&self.id, &params.uri) {
            Box::pin(nobody_follows(&self.catalogue, &params.uri)).await;
        }
        Ok(())
    }
}

/// Servers on the bus may speak a revision in which an answer is complete without saying so, and
/// hosts one in which it must say so. `rmcp` takes the word off again for the others.
fn complete(result_type: &mut Option<ResultType>) {
    result_type.get_or_insert(ResultType::COMPLETE);
}

fn unreachable() -> ErrorData {
    fault(Fault::Unreachable, "the MQTT broker cannot be reached now; it is tried again")
}

fn no_such_answer(method: &str) -> ErrorData {
    let what = format!("the server's answer to {method} is of another kind");
    ErrorData::new(ErrorCode::INTERNAL_ERROR, what, None)
}

const INSTRUCTIONS: &str = "\
Tools, prompts and resources of all servers on an MQTT bus. Names are SERVER__NAME. Servers \
come and go; the lists change with them.";

/// Subscriptions that a host may have at once in one session.
const SUBSCRIPTIONS: usize = 16;
