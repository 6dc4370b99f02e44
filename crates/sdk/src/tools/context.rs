//! What a handler knows of its call, beside the arguments.

use std::sync::Arc;

use agentmq_agents::Partial;
use agentmq_client::{Client, Publish, QoS};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::TraceContext;

/// A call that is being worked on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context(Arc<Call>);

#[derive(Debug)]
struct Call {
    caller: String,
    call_id: String,
    deadline: Instant,
    cancelled: CancellationToken,
    trace: TraceContext,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    client: Client,
    topic: String,
    /// The last place given; held while a message is queued, so that they leave in its order.
    seq: Mutex<u64>,
}

impl Context {
    /// `stream` is where a tool that streams says something.
    pub(crate) fn new(
        caller: String,
        call_id: String,
        deadline: Instant,
        trace: TraceContext,
        stream: Option<(Client, String)>,
    ) -> Self {
        let stream = stream.map(|(client, topic)| Stream { client, topic, seq: Mutex::new(0) });
        Self(Arc::new(Call {
            caller,
            call_id,
            deadline,
            cancelled: CancellationToken::new(),
            trace,
            stream,
        }))
    }

    /// Who calls. It says so itself: true where the broker checks it, as AgentMQ does.
    #[must_use]
    pub fn caller(&self) -> &str {
        &self.0.caller
    }

    /// What the caller knows the call by.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.0.call_id
    }

    /// When nobody waits any longer.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.0.deadline
    }

    /// Which trace the call belongs to: for the calls that the handler makes itself
    /// ([`super::ToolClient::traced`]).
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.0.trace
    }

    /// Cancelled when nobody waits any longer: for work that goes on elsewhere, since the handler
    /// itself is dropped then.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.0.cancelled
    }

    /// Tells the caller something before the result. Waits while the connection has no room. Of a
    /// tool that does not stream ([`super::Tool::streaming`]) nobody hears it.
    pub async fn stream(&self, value: impl Into<Value>) -> Result<(), Error> {
        self.say(Some(value.into())).await
    }

    /// Says that nothing more comes.
    pub(crate) async fn end_stream(&self) -> Result<(), Error> {
        self.say(None).await
    }

    async fn say(&self, value: Option<Value>) -> Result<(), Error> {
        let Some(stream) = &self.0.stream else { return Ok(()) };
        let mut seq = stream.seq.lock().await;
        *seq += 1;
        let partial = Partial { call_id: self.0.call_id.clone(), seq: *seq, value };
        let left = self.0.deadline.saturating_duration_since(Instant::now());
        let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1);
        // The QoS of the answer, so that it does not overtake.
        let publish = Publish::new(stream.topic.clone(), partial.payload()).qos(QoS::AtLeastOnce);
        drop(stream.client.publish(publish.expiry(seconds)).await?);
        Ok(())
    }
}
