//! A call whose tool says something while it works.

use std::sync::Arc;
use std::time::Duration;

use agentmq_client::{Client, Error as MqttError, ReasonCode};
use serde_json::Value;
use tokio::sync::mpsc;

use super::call::{Waiting, later};
use super::client::{Shared, at_least_once};
use super::{Error, Failure, WAITING_PARTIALS};
use crate::TraceContext;

/// A call that is under way. Dropping it cancels the call.
#[derive(Debug)]
pub struct StreamingCall {
    waiting: Waiting,
    partials: mpsc::Receiver<Value>,
    outcome: Option<Result<Value, Error>>,
    _subscribed: Subscribed,
}

/// Takes the subscription away at the end.
#[derive(Debug)]
struct Subscribed {
    client: Client,
    topic: String,
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        let (client, topic) = (self.client.clone(), std::mem::take(&mut self.topic));
        later(async move {
            let _ = client.unsubscribe(topic).await;
        });
    }
}

impl StreamingCall {
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        tool: &str,
        (call_id, topic): (String, String),
        (arguments, trace): (Value, &TraceContext),
        timeout: Duration,
    ) -> Result<Self, Error> {
        let (sender, partials) = mpsc::channel(WAITING_PARTIALS);
        let mut waiting = Waiting::begin(shared, tool, call_id, timeout, Some(sender)).await?;
        // Before the call: what the tool says at once must be ours by then.
        let subscribed = Subscribed { client: shared.client.clone(), topic: topic.clone() };
        match shared.client.subscribe(topic, at_least_once()).await {
            Ok(_) => {}
            Err(error @ MqttError::Rejected { reason: ReasonCode::NotAuthorized, .. }) => {
                return Err(Error::failed(tool, Failure::Unauthorized, error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
        waiting.publish(arguments, trace).await?;
        Ok(Self { waiting, partials, outcome: None, _subscribed: subscribed })
    }

    /// What the tool says next, in its order; `None` when it has no more to say. Cancel safe. Of
    /// what is not taken [`WAITING_PARTIALS`] wait, and the rest is dropped.
    pub async fn next(&mut self) -> Option<Value> {
        while self.outcome.is_none() {
            tokio::select! {
                biased;
                partial = self.partials.recv() => return partial,
                outcome = self.waiting.outcome() => self.outcome = Some(outcome),
            }
        }
        // What came before the answer.
        self.partials.recv().await
    }

    /// The result. What the tool still says before it is left out.
    pub async fn result(mut self) -> Result<Value, Error> {
        match self.outcome.take() {
            Some(outcome) => outcome,
            None => self.waiting.outcome().await,
        }
    }
}
