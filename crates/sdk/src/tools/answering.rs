//! Where the answer to a call goes, and how it gets there.

use std::time::Duration;

use agentmq_agents::{
    CallAnswer, CallErrorKind, CallRequest, Outcome, StartedCall, is_level, responses_topic,
};
use agentmq_client::{Client, Error as MqttError, Message, Publish, QoS};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::limits::CALL_ID_BYTES;
use crate::TraceContext;

/// Whom a call is answered to.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    client: Client,
    pub(crate) topic: String,
    correlation: Option<Vec<u8>>,
    call_id: String,
    pub(crate) trace: TraceContext,
    begun: Instant,
}

impl Reply {
    /// The Response Topic says where, else the payload, else it is the caller's own topic. `None`
    /// where nobody could be answered.
    pub(crate) fn to(
        client: &Client,
        namespace: &str,
        message: &Message,
        request: &CallRequest,
    ) -> Option<Self> {
        let told = message.response_topic().or(request.response_topic.as_deref());
        let topic = match told {
            Some(topic) => topic.to_owned(),
            None if is_level(&request.client) => responses_topic(namespace, &request.client),
            None => return None,
        };
        if request.call_id.len() > CALL_ID_BYTES {
            return None;
        }
        Some(Self {
            client: client.clone(),
            topic,
            correlation: message.correlation_data().map(<[u8]>::to_vec),
            call_id: request.call_id.clone(),
            trace: TraceContext::of_message(message),
            begun: Instant::now(),
        })
    }

    /// Answers, and waits until the broker has the answer. The call's place is free before anybody
    /// can know the answer: whoever calls one after the other always finds it so. An answer that is
    /// too large for the broker becomes an error.
    pub(crate) async fn give(&self, outcome: Outcome, place: OwnedSemaphorePermit) {
        let (mut outcome, mut place) = (outcome, Some(place));
        for _ in 0..2 {
            let queued = self.client.publish(self.message(outcome)).await;
            drop(place.take());
            let given = match queued {
                Ok(ack) => ack.await.map(drop),
                Err(error) => Err(error),
            };
            match given {
                Ok(()) => return,
                Err(error @ MqttError::TooLarge { .. }) => {
                    outcome = failed(CallErrorKind::ToolError, format!("the result: {error}"));
                }
                Err(error) => {
                    return tracing::warn!(topic = self.topic, %error, "a call is not answered");
                }
            }
        }
    }

    /// Answers, and does not wait for more than room in the connection's queue.
    pub(crate) async fn refuse(&self, outcome: Outcome) {
        if let Err(error) = self.client.publish(self.message(outcome)).await.map(drop) {
            tracing::warn!(topic = self.topic, %error, "a call is not answered");
        }
    }

    fn message(&self, outcome: Outcome) -> Publish {
        let elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let answer = CallAnswer { call_id: self.call_id.clone(), outcome, elapsed_ms };
        let publish = Publish::new(self.topic.clone(), answer.payload()).qos(QoS::AtLeastOnce);
        let mut publish = self.trace.on(publish);
        if let Some(correlation) = &self.correlation {
            publish = publish.correlation_data(correlation);
        }
        publish
    }

    /// Tells the caller that its call has started, and waits until it cancels it, if ever. The word
    /// has Correlation Data of its own: with the call's, a broker would take it for the answer.
    pub(crate) async fn cancelled(&self, patience: Duration) {
        let word = StartedCall { call_id: &self.call_id }.payload();
        let expiry = u32::try_from(patience.as_secs()).unwrap_or(u32::MAX).max(1);
        let publish = Publish::new(self.topic.clone(), word).qos(QoS::AtLeastOnce).expiry(expiry);
        if let Err(error) = self.client.request_with(publish, patience).await {
            tracing::debug!(topic = self.topic, %error, "a call cannot be cancelled");
            std::future::pending().await
        }
    }
}

/// That a call has failed.
pub(crate) fn failed(kind: CallErrorKind, message: impl Into<String>) -> Outcome {
    Outcome::Error { kind: kind.name().to_owned(), message: message.into(), code: None }
}
