//! One call, from its arguments to its answer.

use std::sync::Arc;

use agentmq_agents::{ArgumentSchema, CallErrorKind, CallRequest, Outcome, stream_topic};
use agentmq_client::Client;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::answering::{Reply, failed};
use super::limits::STARTED_AFTER;
use super::{Context, Tool, ToolError};

/// A tool, ready to be called.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tool: Tool,
    pub(crate) schema: ArgumentSchema,
}

/// Work that ends when nobody waits for it.
struct Working(JoinHandle<Result<Value, ToolError>>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Does what a call asks for and answers it.
pub(crate) async fn execute(
    prepared: Arc<Prepared>,
    (client, namespace): (Client, Arc<str>),
    request: CallRequest,
    reply: Reply,
    deadline: Instant,
    place: OwnedSemaphorePermit,
) {
    let CallRequest { call_id, arguments, client: caller, cancellable, .. } = request;
    let Prepared { tool, schema } = &*prepared;
    if let Err(why) = schema.check(&arguments) {
        return reply.give(failed(CallErrorKind::InvalidArguments, why), place).await;
    }
    // Whoever chose a call_id that is no level of a topic has no stream.
    let streams = tool.supports_streaming && agentmq_agents::is_level(&call_id);
    let stream = streams.then(|| (client, stream_topic(&namespace, &tool.name, &call_id)));
    let context = Context::new(caller, call_id, deadline, reply.trace.clone(), stream);
    let (handler, given) = (tool.handler.clone(), context.clone());
    // A task of its own: where it panics, only it ends.
    let mut working = Working(tokio::spawn(async move { handler(arguments, given).await }));
    let cancelled = async {
        if !cancellable {
            return std::future::pending().await;
        }
        tokio::time::sleep(STARTED_AFTER).await;
        reply.cancelled(deadline.saturating_duration_since(Instant::now())).await;
    };
    let outcome = tokio::select! {
        biased;
        done = &mut working.0 => outcome(&tool.name, done),
        () = cancelled => Outcome::Error {
            kind: CANCELLED.into(),
            message: "its caller has given it up".into(),
            code: None,
        },
        () = tokio::time::sleep_until(deadline) => {
            failed(CallErrorKind::Timeout, "the tool did not finish before the call's deadline")
        }
    };
    drop(working);
    context.cancelled().cancel();
    if let Err(error) = context.end_stream().await {
        tracing::debug!(%error, "a stream is not closed");
    }
    reply.give(outcome, place).await;
}

fn outcome(tool: &str, done: Result<Result<Value, ToolError>, JoinError>) -> Outcome {
    match done {
        Ok(Ok(result)) => Outcome::Ok(result),
        Ok(Err(ToolError { message, code })) => {
            Outcome::Error { kind: CallErrorKind::ToolError.name().into(), message, code }
        }
        // What it says may not be for callers: it goes to standard error, by the panic hook.
        Err(error) => {
            tracing::error!(tool, %error, "a tool panicked");
            failed(CallErrorKind::ToolError, "the tool panicked: see the server's log")
        }
    }
}

/// No word of the protocol's: nobody waits for it but the broker, for which the call is over then.
const CANCELLED: &str = "cancelled";
