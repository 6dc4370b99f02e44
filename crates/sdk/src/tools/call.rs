//! Calls of a client that are under way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentmq_agents::{CallAnswer, CallRequest, Outcome, Partial, call_topic};
use agentmq_client::{Ack, Client, Error as MqttError, Message, Publish, QoS, ReasonCode};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::client::{Shared, lock};
use super::limits::GIVEN_UP;
use super::server::now_ms;
use super::{Error, Failure};
use crate::TraceContext;

/// Calls by their `call_id`.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    under_way: HashMap<String, UnderWay>,
    /// Given up, oldest first; their servers have not said yet how to cancel them.
    given_up: VecDeque<String>,
    ended: bool,
}

#[derive(Debug)]
struct UnderWay {
    answer: oneshot::Sender<CallAnswer>,
    stream: Option<Stream>,
    cancel: Option<Cancel>,
}

#[derive(Debug)]
struct Stream {
    partials: mpsc::Sender<Value>,
    last: Option<Partial>,
}

/// Where a call is cancelled.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    topic: String,
    correlation: Vec<u8>,
}

impl Calls {
    /// The connection is over: nobody is answered any more.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.under_way.clear();
    }

    /// `None` when nobody waits for it.
    pub(crate) fn answered(&mut self, answer: CallAnswer) -> Option<()> {
        let call = self.under_way.remove(&answer.call_id)?;
        call.answer.send(answer).ok()
    }

    /// Notes how a call is cancelled; gives that back if it is to be done at once.
    pub(crate) fn started(&mut self, call_id: &str, cancel: Cancel) -> Option<Cancel> {
        if let Some(call) = self.under_way.get_mut(call_id) {
            call.cancel = Some(cancel);
            return None;
        }
        let place = self.given_up.iter().position(|id| id == call_id)?;
        self.given_up.remove(place);
        Some(cancel)
    }

    /// Passes on what a tool says. What comes twice, or late, is left out.
    pub(crate) fn streamed(&mut self, partial: Partial) -> Result<(), &'static str> {
        let call = self.under_way.get_mut(&partial.call_id).ok_or("is of no call under way")?;
        let stream = call.stream.as_mut().ok_or("is of a stream that has ended")?;
        // Servers that write the time may say two things in one millisecond.
        if let Some(last) = &stream.last
            && (partial.seq < last.seq || partial == *last)
        {
            return Err("has come before");
        }
        let Some(value) = partial.value.clone() else {
            call.stream = None;
            return Ok(());
        };
        stream.last = Some(partial);
        stream.partials.try_send(value).map_err(|_| "has no room")
    }

    fn give_up(&mut self, call_id: &str) -> Option<Cancel> {
        if let Some(cancel) = self.under_way.remove(call_id).and_then(|call| call.cancel) {
            return Some(cancel);
        }
        if self.given_up.len() >= GIVEN_UP {
            self.given_up.pop_front();
        }
        self.given_up.push_back(call_id.to_owned());
        None
    }
}

impl Cancel {
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let topic = message.response_topic()?.to_owned();
        Some(Self { topic, correlation: message.correlation_data()?.to_vec() })
    }

    /// Cancels. The place of the call is taken until that is done.
    pub(crate) fn send(self, client: &Client, place: Option<OwnedSemaphorePermit>) {
        let publish = Publish::new(self.topic, "{}").qos(QoS::AtLeastOnce);
        let publish = publish.correlation_data(&self.correlation);
        let client = client.clone();
        later(async move {
            let _ = client.publish(publish).await.map(drop);
            drop(place);
        });
    }
}

/// A call that is waited for. Dropping it gives the call up.
#[derive(Debug)]
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    tool: String,
    call_id: String,
    deadline: Instant,
    answer: oneshot::Receiver<CallAnswer>,
    ack: Option<Ack>,
    /// Nobody works on it: it was not sent, or is over.
    idle: bool,
    place: Option<OwnedSemaphorePermit>,
}

impl Waiting {
    /// Finds a place for a call, and waits for one.
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        tool: &str,
        call_id: String,
        timeout: Duration,
        partials: Option<mpsc::Sender<Value>>,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + timeout.min(LONGEST);
        let place = tokio::time::timeout_at(deadline, shared.places.clone().acquire_owned()).await;
        let Ok(place) = place else { return Err(late(tool)) };
        let (sender, answer) = oneshot::channel();
        let stream = partials.map(|partials| Stream { partials, last: None });
        let call = UnderWay { answer: sender, stream, cancel: None };
        let mut calls = lock(&shared.calls);
        if calls.ended {
            return Err(shared.client.ending().into());
        }
        calls.under_way.insert(call_id.clone(), call);
        drop(calls);
        let (shared, tool) = (shared.clone(), tool.to_owned());
        let place = place.ok();
        Ok(Self { shared, tool, call_id, deadline, answer, ack: None, idle: true, place })
    }

    /// Sends it.
    pub(crate) async fn publish(
        &mut self,
        arguments: Value,
        trace: &TraceContext,
    ) -> Result<(), Error> {
        let Shared { client, namespace, caller, responses, .. } = &*self.shared;
        let call = CallRequest {
            call_id: self.call_id.clone(),
            arguments,
            client: caller.clone(),
            response_topic: Some(responses.clone()),
            cancellable: true,
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let publish = Publish::new(call_topic(namespace, &self.tool), call.payload(now_ms()))
            .qos(QoS::AtLeastOnce)
            .expiry(u32::try_from(seconds).unwrap_or(u32::MAX).max(1))
            .content_type("application/json")
            .response_topic(responses)
            .correlation_data(self.call_id.as_bytes());
        let publish = trace.on(publish);
        self.idle = false;
        let queued = tokio::time::timeout_at(self.deadline, client.publish(publish)).await;
        self.ack = Some(queued.map_err(|_| late(&self.tool))??);
        Ok(())
    }

    /// The result. Cancel safe; after it has come there is none.
    pub(crate) async fn outcome(&mut self) -> Result<Value, Error> {
        let Self { shared, tool, answer, ack, .. } = self;
        let refused = async {
            loop {
                let Some(pending) = ack else {
                    std::future::pending::<()>().await;
                    continue;
                };
                let acknowledged = pending.await;
                *ack = None;
                if let Some(error) = refusal(tool, acknowledged) {
                    return error;
                }
            }
        };
        let outcome = tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(answer) => result(tool, answer.outcome),
                Err(_) => Err(shared.client.ending().into()),
            },
            error = refused => Err(error),
            () = tokio::time::sleep_until(self.deadline) => {
                // Whoever has it need not go on.
                self.give_up();
                Err(late(&self.tool))
            }
        };
        self.idle = true;
        // Refused or late: with it ends its stream.
        lock(&self.shared.calls).under_way.remove(&self.call_id);
        outcome
    }

    fn give_up(&mut self) {
        let cancel = lock(&self.shared.calls).give_up(&self.call_id);
        if let Some(cancel) = cancel {
            cancel.send(&self.shared.client, self.place.take());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.idle {
            lock(&self.shared.calls).under_way.remove(&self.call_id);
        } else {
            self.give_up();
        }
    }
}

fn result(tool: &str, outcome: Outcome) -> Result<Value, Error> {
    match outcome {
        Outcome::Ok(result) => Ok(result),
        Outcome::Error { kind, message, code } => {
            let (tool, failure) = (tool.to_owned(), Failure::named(&kind));
            Err(Error::Failed { tool, failure, message, code })
        }
        Outcome::Started => Err(Error::failed(tool, Failure::Other(String::new()), "no answer")),
    }
}

/// What the broker's acknowledgement of a call says against it.
fn refusal(tool: &str, acknowledged: Result<ReasonCode, MqttError>) -> Option<Error> {
    let failed = |failure, message: String| Some(Error::failed(tool, failure, message));
    match acknowledged {
        Ok(ReasonCode::NoMatchingSubscribers) => {
            failed(Failure::Unavailable, "no server has subscribed to its calls".into())
        }
        Ok(_) => None,
        Err(error @ MqttError::Rejected { reason: ReasonCode::NotAuthorized, .. }) => {
            failed(Failure::Unauthorized, error.to_string())
        }
        Err(error) => Some(error.into()),
    }
}

fn late(tool: &str) -> Error {
    Error::failed(tool, Failure::Timeout, "no answer in time")
}

/// Runs something that nobody waits for; without a runtime the connection is over, too.
pub(crate) fn later(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(work);
    }
}

/// A day: clocks can count so far, and nobody waits so long.
const LONGEST: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn under_way(calls: &mut Calls, id: &str) -> mpsc::Receiver<Value> {
        let (partials, stream) = mpsc::channel(2);
        let stream_of = Some(Stream { partials, last: None });
        let call = UnderWay { answer: oneshot::channel().0, stream: stream_of, cancel: None };
        calls.under_way.insert(id.to_owned(), call);
        stream
    }

    fn cancel() -> Cancel {
        Cancel { topic: "t".into(), correlation: vec![1] }
    }

    #[test]
    fn a_call_is_cancelled_whichever_comes_first() {
        let mut calls = Calls::default();
        let _stream = under_way(&mut calls, "a");
        assert!(calls.started("a", cancel()).is_none());
        assert!(calls.give_up("a").is_some());
        let _stream = under_way(&mut calls, "b");
        assert!(calls.give_up("b").is_none());
        assert!(calls.started("b", cancel()).is_some());
        assert!(calls.started("b", cancel()).is_none() && calls.given_up.is_empty());
        for number in 0..GIVEN_UP + 5 {
            calls.give_up(&number.to_string());
        }
        assert_eq!(calls.given_up.len(), GIVEN_UP);
    }

    #[test]
    fn a_stream_has_an_order_a_bound_and_an_end() {
        let mut calls = Calls::default();
        let mut stream = under_way(&mut calls, "c");
        let say = |calls: &mut Calls, seq, value| {
            calls.streamed(Partial { call_id: "c".into(), seq, value }).is_ok()
        };
        assert!(say(&mut calls, 5, Some(json!("a"))));
        assert!(!say(&mut calls, 5, Some(json!("a"))), "twice");
        assert!(!say(&mut calls, 4, Some(json!("late"))));
        assert!(say(&mut calls, 5, Some(json!("b"))), "in the same millisecond");
        assert!(!say(&mut calls, 6, Some(json!("no room"))));
        assert!(say(&mut calls, 7, None));
        assert!(!say(&mut calls, 8, Some(json!("after the end"))));
        assert_eq!(stream.try_recv().ok(), Some(json!("a")));
        assert_eq!(stream.try_recv().ok(), Some(json!("b")));
        assert_eq!(stream.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }
}
