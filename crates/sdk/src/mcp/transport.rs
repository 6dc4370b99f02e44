//! One session over the shared connection, as `rmcp` wants it.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use agentmq_agents::mcp::Topic;
use rmcp::model::{
    CancelledNotification, ErrorData, GetExtensions as _, GetMeta as _, JsonRpcMessage, RequestId,
};
use rmcp::service::{RxJsonRpcMessage, ServiceRole, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio_util::sync::CancellationToken;

use super::call::Limit;
use super::fault::{Fault, fault};
use super::inbox::{Incoming, Outlet};
use super::link::Link;
use super::outbox::{Properties, Until};
use super::wire::{Arrived, Received, disconnected, read, taken};
use super::{CORRELATION_BYTES, Error, IDLE, OPEN_REQUESTS, RECENT_REQUESTS, TAKEN_AFTER, traced};
use crate::TraceContext;
use crate::recent::Recent;

/// One session. Many share a connection: what is for this one comes by a queue, what it says
/// leaves by the connection's outbox.
#[derive(Debug)]
pub struct MqttTransport<R> {
    link: Link,
    inbox: Outlet,
    rpc: Arc<str>,
    /// Where a client's first message goes: `initialize`.
    control: Option<String>,
    /// Requests of the other side that have no answer yet, and the traces they belong to.
    open: Open,
    /// Those of late, by their Correlation Data and identifiers: not everybody has another one of
    /// either for each request.
    recent: Recent<(Arc<[u8]>, RequestId)>,
    /// It has no beginning: the end is when nothing was asked for a while, and nobody is told.
    is_stateless: bool,
    /// The other side has ended the session, or is gone.
    peer_gone: bool,
    /// Cancelled with that, since `rmcp` would let handlers work on for a while.
    gone: CancellationToken,
    role: PhantomData<fn() -> R>,
}

type Open = Arc<Mutex<HashMap<RequestId, TraceContext>>>;

impl<R: ServiceRole> MqttTransport<R> {
    /// Of a client whose requests need no session.
    pub(crate) fn stateless(link: Link, inbox: Outlet, rpc: &str, gone: CancellationToken) -> Self {
        Self { is_stateless: true, ..Self::new(link, inbox, rpc, None, gone) }
    }

    pub(crate) fn new(
        link: Link,
        inbox: Outlet,
        rpc: &str,
        control: Option<String>,
        gone: CancellationToken,
    ) -> Self {
        Self {
            link,
            inbox,
            rpc: rpc.into(),
            control,
            open: Arc::default(),
            recent: Recent::new(RECENT_REQUESTS),
            is_stateless: false,
            peer_gone: false,
            gone,
            role: PhantomData,
        }
    }

    /// Whether a request has come before: its sender's acknowledgement was lost with a connection.
    fn is_repeated(&mut self, message: &RxJsonRpcMessage<R>, arrived: &Arrived) -> bool {
        let JsonRpcMessage::Request(request) = message else { return false };
        let Some(correlation) = &arrived.correlation else { return false };
        // What is remembered has a bound.
        let is_short = match &request.id {
            RequestId::Number(_) => true,
            RequestId::String(id) => id.len() <= CORRELATION_BYTES,
        };
        is_short && !self.recent.is_new((correlation.clone(), request.id.clone()))
    }

    /// Notes a request of the other side; `false` when there are too many, or it takes back one
    /// that is not there.
    fn admit(&self, message: &mut RxJsonRpcMessage<R>, arrived: &Arrived) -> bool {
        match message {
            JsonRpcMessage::Request(it) => {
                let trace = traced::incoming(it.request.get_meta_mut(), &arrived.trace);
                let mut open = lock(&self.open);
                if open.len() >= OPEN_REQUESTS {
                    return false;
                }
                open.insert(it.id.clone(), trace);
                drop(open);
                if let Some(Topic::Service { .. }) = Topic::parse(&arrived.topic) {
                    self.tell_taken(it.id.clone());
                }
            }
            JsonRpcMessage::Notification(it) => {
                // What is taken back gets no answer.
                let cancelled: Result<CancelledNotification, _> =
                    it.notification.clone().try_into();
                if let Ok(cancelled) = cancelled
                    && let Some(id) = &cancelled.params.request_id
                {
                    // Where there is no session it may come first of all, of a request that was
                    // never sent, and `rmcp` does not begin with it.
                    return lock(&self.open).remove(id).is_some() || !self.is_stateless;
                }
            }
            _ => {}
        }
        true
    }

    /// Whoever has asked any instance wants to know who has it, unless the answer says it first.
    fn tell_taken(&self, id: RequestId) {
        let (link, rpc, open) = (self.link.clone(), self.rpc.clone(), self.open.clone());
        tokio::spawn(async move {
            tokio::time::sleep(TAKEN_AFTER).await;
            if lock(&open).contains_key(&id) {
                drop(link.outbox.send(&rpc, taken(&id)));
            }
        });
    }

    /// What comes next; `None` at the end, by our wish or because nothing was asked for a while.
    async fn next(&mut self) -> Option<Incoming> {
        if self.is_stateless && lock(&self.open).is_empty() {
            match tokio::time::timeout(IDLE, self.inbox.take()).await {
                Ok(next) => return next,
                // What has come meanwhile is still taken; what comes later begins anew.
                Err(_) => self.inbox.close(),
            }
        }
        self.inbox.take().await
    }

    fn leave(&mut self) {
        self.peer_gone = true;
        self.gone.cancel();
    }

    fn refuse(&self, id: RequestId, error: ErrorData) {
        self.link.answer_error(&self.rpc, id, error);
    }
}

impl<R: ServiceRole> Transport<R> for MqttTransport<R> {
    type Error = Error;

    fn send(
        &mut self,
        mut item: TxJsonRpcMessage<R>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        // A client that begins anew counts its requests anew: an answer to one of the session that
        // is over would be taken for another's.
        let unheard = self.peer_gone || self.inbox.is_gone();
        let control = self.control.take();
        let topic = control.as_deref().unwrap_or(&self.rpc);
        let (mut limit, mut trace) = (None, TraceContext::default());
        let (answers, until) = match &mut item {
            JsonRpcMessage::Request(it) => {
                limit = it.request.extensions().get::<Limit>().cloned();
                if !it.request.get_meta().is_empty() {
                    trace = traced::outgoing(it.request.get_meta_mut());
                }
                (None, Until::Taken)
            }
            JsonRpcMessage::Response(it) => (Some(it.id.clone()), Until::Queued),
            JsonRpcMessage::Error(it) => (it.id.clone(), Until::Queued),
            JsonRpcMessage::Notification(_) => (None, Until::Queued),
        };
        if let Some(id) = &answers {
            trace = lock(&self.open).remove(id).unwrap_or_default();
        }
        let mut payload = serde_json::to_vec(&item).unwrap_or_default();
        let max = self.link.max_payload(topic);
        let mut too_large = None;
        if payload.is_empty() || payload.len() > max {
            let what = format!("{} bytes are more than the {max} that may be sent", payload.len());
            let error = fault(Fault::TooLarge, what.clone());
            match answers {
                // Whoever waits for the answer must not wait in vain.
                Some(id) => {
                    let instead = TxJsonRpcMessage::<R>::error(error, Some(id));
                    payload = serde_json::to_vec(&instead).unwrap_or_default();
                }
                None => too_large = Some(Error::from(agentmq_client::Error::Invalid(what))),
            }
        }
        let sending = match too_large {
            None if unheard => Ok(None),
            None => {
                let properties = Properties { limit: limit.as_ref(), trace: &trace };
                Ok(Some(self.link.outbox.send_as(topic, payload.into(), until, &properties)))
            }
            Some(error) => Err(error),
        };
        async move {
            match sending? {
                Some(sending) => sending.await,
                None => Ok(()),
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<R>> {
        loop {
            let arrived = match self.next().await? {
                Incoming::Message(arrived) => arrived,
                Incoming::Failed(id, error) => return Some(JsonRpcMessage::error(error, Some(id))),
                Incoming::Gone => {
                    self.leave();
                    return None;
                }
            };
            match read::<R>(&arrived.payload) {
                Received::Message(message) if self.is_repeated(&message, &arrived) => {
                    self.link.dropped.add(&self.rpc, "has come before");
                }
                Received::Message(mut message) => {
                    if self.admit(&mut message, &arrived) {
                        return Some(message);
                    }
                    if let JsonRpcMessage::Request(request) = message {
                        let what = format!("more than {OPEN_REQUESTS} requests at once");
                        self.refuse(request.id, fault(Fault::Busy, what));
                    }
                }
                Received::Disconnected => {
                    self.leave();
                    return None;
                }
                Received::BadRequest(id, error) => self.refuse(id, error),
                Received::Garbage(why) => self.link.dropped.add(&self.rpc, why),
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inbox.close();
        let peer_gone = std::mem::replace(&mut self.peer_gone, true) || self.inbox.is_gone();
        if !peer_gone && self.control.is_none() && !self.is_stateless {
            // Nobody waits for it: without a connection it would be long in coming.
            drop(self.link.outbox.send(&self.rpc, disconnected()));
        }
        Ok(())
    }
}

/// No code that holds this lock can panic halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
