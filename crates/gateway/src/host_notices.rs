//! What a bridge tells its host unasked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::ServerNotification;
use rmcp::service::{Peer, SubscriptionSink};
use tokio::sync::mpsc;

use crate::catalogue::{Catalogue, State};

/// Where the host wants to hear of changes: by its session, or by subscriptions in the newest
/// revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listeners(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    session: Option<Peer<RoleServer>>,
    sinks: Vec<SubscriptionSink>,
    /// The state of the lists that the host has.
    seen: State,
}

impl Listeners {
    /// The host has a session.
    pub(crate) fn hear(&self, session: Peer<RoleServer>) {
        self.lock().session = Some(session);
    }

    /// The host has asked for a list.
    pub(crate) fn saw(&self, note: impl FnOnce(&mut State)) {
        note(&mut self.lock().seen);
    }

    /// The host has subscribed; `false` when it has too often.
    pub(crate) fn add(&self, sink: &SubscriptionSink) -> bool {
        let mut inner = self.lock();
        let room = inner.sinks.len() < SUBSCRIPTIONS;
        if room {
            inner.sinks.push(sink.clone());
        }
        room
    }

    pub(crate) fn remove(&self, sink: &SubscriptionSink) {
        self.lock().sinks.retain(|known| known.id() != sink.id());
    }

    async fn tell(&self, notification: ServerNotification) {
        let (session, sinks) = {
            let inner = self.lock();
            (inner.session.clone(), inner.sinks.clone())
        };
        if let Some(session) = session {
            let _ = session.send_notification(notification.clone()).await;
        }
        for sink in sinks {
            // One that did not ask for it refuses it.
            let _ = sink.send(notification.clone()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the host what changes. Many changes close together are one.
pub(crate) async fn tell_host(
    listeners: Listeners,
    catalogue: Arc<Catalogue>,
    mut notices: mpsc::Receiver<ServerNotification>,
) {
    let mut state = catalogue.watch();
    let mut told = *state.borrow();
    loop {
        tokio::select! {
            Some(notification) = notices.recv() => listeners.tell(notification).await,
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(TOGETHER).await;
                let now = *state.borrow_and_update();
                let seen = listeners.lock().seen;
                for notification in changes(&told, &seen, &now) {
                    listeners.tell(notification).await;
                }
                told = now;
            }
        }
    }
}

/// What the host neither knows nor has been told.
fn changes(told: &State, seen: &State, now: &State) -> Vec<ServerNotification> {
    let mut changes = Vec::new();
    if told.tools.max(seen.tools) < now.tools {
        changes.push(ServerNotification::ToolListChangedNotification(Default::default()));
    }
    if told.prompts.max(seen.prompts) < now.prompts {
        changes.push(ServerNotification::PromptListChangedNotification(Default::default()));
    }
    if told.resources.max(seen.resources) < now.resources {
        changes.push(ServerNotification::ResourceListChangedNotification(Default::default()));
    }
    changes
}

/// Changes within this time are told together.
const TOGETHER: Duration = Duration::from_millis(50);

/// Subscriptions that a host may have at once.
const SUBSCRIPTIONS: usize = 16;
