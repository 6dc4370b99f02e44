//! What waits to be published, in order.

use agentmq_client::{Ack, Client, Event, Publish, ReasonCode, SessionNumber};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::call::Limit;
use super::identifier::dice;
use super::wire::Stamp;
use super::{Error, OUTBOX};
use crate::TraceContext;

/// The one way out of a connection. Messages leave in the order in which [`Outbox::send`] was
/// called, however the futures that it returns are polled: sessions send from many tasks, and a
/// progress notification must not come behind the answer that it belongs to. Without a connection
/// they wait here.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    client: Client,
    jobs: mpsc::Sender<Job>,
    pub(crate) stamp: Stamp,
}

#[derive(Debug)]
struct Job {
    publish: Publish,
    of_use: OfUse,
    /// The one in which it was made.
    session: SessionNumber,
    limit: Option<Limit>,
    made_at: Instant,
    accepted: oneshot::Sender<Result<Ack, Error>>,
}

/// Until when a message is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfUse {
    Always,
    /// While the broker has our session. With that those of MCP have ended.
    InSession,
    /// The same, and while somebody waits for what comes of it.
    WhileAwaited,
}

/// What a sender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// It is in the client's queue.
    Queued,
    /// The broker has it, and somebody to give it to.
    Taken,
}

/// What a message says beside who sends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Properties<'a> {
    /// When it is of no use any more: the broker keeps it no longer.
    pub(crate) limit: Option<&'a Limit>,
    /// Which trace it belongs to.
    pub(crate) trace: &'a TraceContext,
}

impl Outbox {
    /// Starts the task that publishes. It ends when all outboxes are gone, or the client is.
    pub(crate) fn start(client: Client, stamp: Stamp) -> Self {
        let (jobs, queue) = mpsc::channel(OUTBOX);
        tokio::spawn(empty(client.clone(), queue));
        Self { client, jobs, stamp }
    }

    /// Publishes a word about a session, with QoS 1 and our stamp.
    pub(crate) fn send(
        &self,
        topic: &str,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let publish = self.stamp.publish(topic, payload);
        self.publish(publish, topic.to_owned(), OfUse::Always, None)
    }

    /// Publishes a message of a session.
    pub(crate) fn send_as(
        &self,
        topic: &str,
        payload: Bytes,
        until: Until,
        properties: &Properties<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let mut publish = properties.trace.on(self.stamp.publish(topic, payload));
        let mut of_use = OfUse::InSession;
        if until == Until::Taken {
            publish = publish.correlation_data(&dice().to_be_bytes());
            of_use = OfUse::WhileAwaited;
        }
        self.publish(publish, topic.to_owned(), of_use, properties.limit)
    }

    /// Says that a server is there, or with nothing that it is not.
    pub(crate) fn presence(
        &self,
        topic: &str,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let publish = self.stamp.publish(topic, payload).retain(true);
        self.publish(publish, topic.to_owned(), OfUse::Always, None)
    }

    fn publish(
        &self,
        publish: Publish,
        topic: String,
        of_use: OfUse,
        limit: Option<&Limit>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (accepted, answer) = oneshot::channel();
        let (session, limit) = (self.client.session(), limit.cloned());
        let job = Job { publish, of_use, session, limit, made_at: Instant::now(), accepted };
        // Now, not when the future is polled: that keeps the order.
        let overflow = match self.jobs.try_send(job) {
            Err(mpsc::error::TrySendError::Full(job)) => Some(job),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
        };
        let jobs = self.jobs.clone();
        async move {
            if let Some(job) = overflow {
                jobs.send(job).await.map_err(|_| Error::Closed)?;
            }
            let ack = answer.await.map_err(|_| Error::Closed)??;
            if of_use == OfUse::WhileAwaited && ack.await? == ReasonCode::NoMatchingSubscribers {
                return Err(Error::NobodyReads { topic });
            }
            Ok(())
        }
    }
}

impl Job {
    /// Whether it is a request for whose answer nobody waits.
    fn is_given_up(&self) -> bool {
        let is_given_up = self.limit.as_ref().is_some_and(Limit::is_given_up);
        self.of_use == OfUse::WhileAwaited && (is_given_up || self.accepted.is_closed())
    }

    /// What is to be published: the broker keeps it for what is left of its time.
    fn publish(self) -> (Publish, oneshot::Sender<Result<Ack, Error>>) {
        let Some(limit) = self.limit else { return (self.publish, self.accepted) };
        let left = limit.time.saturating_sub(self.made_at.elapsed());
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
        (self.publish.expiry(seconds), self.accepted)
    }
}

/// Publishes what comes, while there is a connection. A request that has failed meanwhile is not
/// made when there is one again, nor is anything sent of a session that the broker has lost.
async fn empty(client: Client, mut queue: mpsc::Receiver<Job>) {
    let mut events = client.events();
    let (mut is_connected, mut has_ended) = (true, false);
    loop {
        tokio::select! {
            biased;
            event = events.next(), if !has_ended => match event {
                Some(Event::Disconnected { .. }) => is_connected = false,
                Some(Event::Resumed | Event::Connected) => is_connected = true,
                Some(_) => {}
                // What waits is told so.
                None => (is_connected, has_ended) = (true, true),
            },
            job = queue.recv(), if is_connected => {
                let Some(job) = job else { break };
                if job.is_given_up() {
                    continue;
                }
                let (of_use, session) = (job.of_use, job.session);
                let (publish, accepted) = job.publish();
                let taken = match of_use {
                    OfUse::Always => client.publish(publish).await,
                    OfUse::InSession | OfUse::WhileAwaited => {
                        client.publish_in(session, publish).await
                    }
                };
                let _ = accepted.send(taken.map_err(Error::from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_waited_here_waits_no_longer_than_the_rest_of_its_time() {
        for (waited, left) in [(0, 60), (50, 10), (90, 1)] {
            let job = Job {
                publish: Publish::new("t", "x"),
                of_use: OfUse::WhileAwaited,
                session: SessionNumber::default(),
                limit: Some(Limit::new(Duration::from_secs(60))),
                made_at: Instant::now().checked_sub(Duration::from_secs(waited)).unwrap(),
                accepted: oneshot::channel().0,
            };
            let publish = format!("{:?}", job.publish().0);
            let expected = format!("expiry: Some({left})");
            assert!(publish.contains(&expected), "{expected}: {publish}");
        }
    }
}
