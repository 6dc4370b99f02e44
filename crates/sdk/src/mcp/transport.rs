//! One session over the shared connection, as `rmcp` wants it.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{CancelledNotification, ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, ServiceRole, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio_util::sync::CancellationToken;

use super::fault::{Fault, fault};
use super::inbox::{Incoming, Outlet};
use super::link::Link;
use super::outbox::Until;
use super::wire::{Received, disconnected, read};
use super::{Error, OPEN_REQUESTS};

/// One session. Many share a connection: what is for this one comes by a queue, what it says
/// leaves by the connection's outbox.
#[derive(Debug)]
pub struct MqttTransport<R> {
    link: Link,
    inbox: Outlet,
    rpc: Arc<str>,
    /// Where a client's first message goes: `initialize`.
    control: Option<String>,
    /// Requests of the other side that have no answer yet.
    open: Arc<Mutex<HashSet<RequestId>>>,
    /// The other side has ended the session, or is gone.
    peer_gone: bool,
    /// Cancelled with that, since `rmcp` would let handlers work on for a while.
    gone: CancellationToken,
    role: PhantomData<fn() -> R>,
}

impl<R: ServiceRole> MqttTransport<R> {
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
            peer_gone: false,
            gone,
            role: PhantomData,
        }
    }

    /// Notes a request of the other side; `false` when there are too many.
    fn admit(&self, message: &RxJsonRpcMessage<R>) -> bool {
        match message {
            JsonRpcMessage::Request(request) => {
                let mut open = lock(&self.open);
                if open.len() >= OPEN_REQUESTS {
                    return false;
                }
                open.insert(request.id.clone());
            }
            JsonRpcMessage::Notification(it) => {
                // What is taken back gets no answer.
                let cancelled: Result<CancelledNotification, _> =
                    it.notification.clone().try_into();
                if let Ok(cancelled) = cancelled
                    && let Some(id) = &cancelled.params.request_id
                {
                    lock(&self.open).remove(id);
                }
            }
            _ => {}
        }
        true
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
        item: TxJsonRpcMessage<R>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        // A client that begins anew counts its requests anew: an answer to one of the session that
        // is over would be taken for another's.
        let unheard = self.peer_gone || self.inbox.is_gone();
        let control = self.control.take();
        let topic = control.as_deref().unwrap_or(&self.rpc);
        let (answers, until) = match &item {
            JsonRpcMessage::Request(_) => (None, Until::Taken),
            JsonRpcMessage::Response(it) => (Some(it.id.clone()), Until::Queued),
            JsonRpcMessage::Error(it) => (it.id.clone(), Until::Queued),
            JsonRpcMessage::Notification(_) => (None, Until::Queued),
        };
        if let Some(id) = &answers {
            lock(&self.open).remove(id);
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
            None => Ok(Some(self.link.outbox.send(topic, payload, until))),
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
            let Incoming::Payload(payload) = self.inbox.take().await? else {
                self.leave();
                return None;
            };
            match read::<R>(&payload) {
                Received::Message(message) if self.admit(&message) => return Some(message),
                Received::Message(message) => {
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
        if !peer_gone && self.control.is_none() {
            // Nobody waits for it: without a connection it would be long in coming.
            drop(self.link.outbox.send(&self.rpc, disconnected(), Until::Queued));
        }
        Ok(())
    }
}

/// No code that holds this lock can panic halfway through a change.
fn lock(mutex: &Mutex<HashSet<RequestId>>) -> std::sync::MutexGuard<'_, HashSet<RequestId>> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
