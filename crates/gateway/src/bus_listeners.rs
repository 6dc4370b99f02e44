//! Clients on the bus that listen to a program's changes in the revision without sessions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_sdk::mcp::{Caller, Fault, fault};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{ErrorData, InitializeResult, ServerNotification, SubscriptionFilter};
use rmcp::service::{SubscriptionContext, SubscriptionSink};

use crate::backend::Backend;
use crate::forward::Shared;
use crate::resource_subscriptions::subscribe;

/// All of them, by who they are. Bounded.
#[derive(Debug, Default)]
pub(crate) struct BusListeners(Mutex<Vec<(Arc<str>, SubscriptionSink)>>);

impl BusListeners {
    /// Tells those who listen; each hears what it has asked for.
    pub(crate) async fn tell(&self, notification: &ServerNotification) {
        let sinks = self.lock().clone();
        for (_, sink) in sinks {
            let _ = sink.send(notification.clone()).await;
        }
    }

    fn add(&self, who: &Arc<str>, sink: &SubscriptionSink) -> bool {
        let mut all = self.lock();
        let has_room = all.len() < LISTENERS;
        if has_room {
            all.push((who.clone(), sink.clone()));
        }
        has_room
    }

    fn remove(&self, who: &str) {
        self.lock().retain(|(known, _)| **known != *who);
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<str>, SubscriptionSink)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `rmcp` is to do with one that begins to listen.
pub(crate) struct Listener {
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) caller: Caller,
}

impl ServerHandler for Listener {
    fn get_info(&self) -> InitializeResult {
        self.backend.info().clone()
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(asked.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        // A client may listen more than once.
        let who: Arc<str> = format!("{} {}", self.caller.client(), context.sink().id()).into();
        let listened = self.stay(&who, &context).await;
        self.shared.listeners.remove(&who);
        self.shared.forget(&who).await;
        listened
    }
}

impl Listener {
    async fn stay(&self, who: &Arc<str>, context: &SubscriptionContext) -> Result<(), ErrorData> {
        // Before it is asked for: nothing is missed between.
        if !self.shared.listeners.add(who, context.sink()) {
            return Err(fault(Fault::Busy, "too many clients listen"));
        }
        for uri in context.accepted().resource_subscriptions.iter().flatten() {
            let subscribed = self.shared.subscribe(&self.backend, who, uri, subscribe(uri)).await;
            if let Err(error) = subscribed {
                tracing::debug!(uri, error = &*error.message, "not subscribed");
            }
        }
        tokio::select! {
            () = context.cancelled() => {}
            () = self.caller.gone().cancelled() => {}
            () = self.backend.gone.cancelled() => {}
        }
        Ok(())
    }
}

/// Who may listen at once.
const LISTENERS: usize = 1000;
