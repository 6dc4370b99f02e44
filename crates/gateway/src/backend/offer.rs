//! A server as one that offers tools to clients of MQTT.Agent.

use std::sync::Arc;

use agentmq_sdk::mcp::Call;
use agentmq_sdk::tools::Context;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ErrorData, ProgressNotificationParam,
    ServerResult, Tool,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent_side::{Offer, Soon};
use crate::backend::Backend;

impl Offer for Backend {
    fn tools(&self) -> Soon<'_, Vec<Tool>> {
        Box::pin(self.tools())
    }

    fn call(
        self: Arc<Self>,
        params: CallToolRequestParams,
        context: Context,
        taken_back: CancellationToken,
    ) -> Soon<'static, CallToolResult> {
        Box::pin(async move {
            let mut call = Call::new(CallToolRequest::new(params).into());
            for (name, value) in context.trace().pairs() {
                call.meta.insert(name.to_owned(), value.into());
            }
            // Its caller has said how long it waits.
            call.timeout = context.deadline().saturating_duration_since(Instant::now());
            let progress = |report: ProgressNotificationParam| {
                let context = context.clone();
                async move {
                    let said = json!({
                        "progress": report.progress,
                        "total": report.total,
                        "message": report.message,
                    });
                    let _ = context.stream(said).await;
                }
            };
            match self.request(call, Some(progress), taken_back.cancelled()).await? {
                ServerResult::CallToolResult(result) => Ok(result),
                _ => Err(ErrorData::internal_error(
                    "the answer to tools/call is of another kind",
                    None,
                )),
            }
        })
    }
}
