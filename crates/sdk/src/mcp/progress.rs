//! Progress notifications in their place: before the answer that they belong to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::RoleClient;
use rmcp::model::{
    GetExtensions as _, GetMeta as _, JsonRpcMessage, ProgressNotificationParam, ProgressToken,
    RequestId, ServerNotification,
};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;

/// Where the progress of a request goes, or that nobody wants to know. It travels in the request's
/// extensions; a request without one leaves its progress to the handler, as `rmcp` has it.
#[derive(Debug, Clone)]
pub(crate) struct ProgressSink(pub(crate) Option<mpsc::Sender<ProgressNotificationParam>>);

/// A client's transport that hands progress to whoever made the call, in the order in which it
/// came. `rmcp` gives every notification to a task of its own, so that the answer may overtake it;
/// the last progress of a call would then be lost with most clients.
#[derive(Debug)]
pub struct InOrder<T> {
    inner: T,
    /// Bounded by the requests that are open.
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    sinks: HashMap<ProgressToken, mpsc::Sender<ProgressNotificationParam>>,
    tokens: HashMap<RequestId, ProgressToken>,
}

impl<T> InOrder<T> {
    /// Wraps a transport.
    pub fn new(inner: T) -> Self {
        Self { inner, waiting: Arc::default() }
    }

    /// Remembers who wants to know of a request's progress; takes the token off where nobody does.
    fn sending(&self, item: &mut TxJsonRpcMessage<RoleClient>) {
        match item {
            JsonRpcMessage::Request(it) => {
                let sink = it.request.extensions().get::<ProgressSink>().cloned();
                let meta = it.request.get_meta_mut();
                match (sink, meta.get_progress_token()) {
                    (Some(ProgressSink(Some(sink))), Some(token)) => {
                        let mut waiting = lock(&self.waiting);
                        waiting.tokens.insert(it.id.clone(), token.clone());
                        waiting.sinks.insert(token, sink);
                    }
                    (Some(ProgressSink(None)), _) => drop(meta.remove("progressToken")),
                    _ => {}
                }
            }
            JsonRpcMessage::Notification(it) => {
                if let rmcp::model::ClientNotification::CancelledNotification(cancelled) =
                    &it.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    lock(&self.waiting).forget(id);
                }
            }
            _ => {}
        }
    }
}

impl Waiting {
    fn forget(&mut self, id: &RequestId) {
        if let Some(token) = self.tokens.remove(id) {
            self.sinks.remove(&token);
        }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for InOrder<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        mut item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.sending(&mut item);
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let item = self.inner.receive().await?;
            match &item {
                JsonRpcMessage::Notification(it) => {
                    if let ServerNotification::ProgressNotification(progress) = &it.notification {
                        let token = &progress.params.progress_token;
                        if let Some(sink) = lock(&self.waiting).sinks.get(token) {
                            // A full one drops it: the next one says more.
                            let _ = sink.try_send(progress.params.clone());
                            continue;
                        }
                    }
                }
                JsonRpcMessage::Response(it) => lock(&self.waiting).forget(&it.id),
                JsonRpcMessage::Error(it) => {
                    if let Some(id) = &it.id {
                        lock(&self.waiting).forget(id);
                    }
                }
                JsonRpcMessage::Request(_) => {}
            }
            return Some(item);
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}

/// No code that holds this lock can panic halfway through a change.
fn lock(mutex: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
