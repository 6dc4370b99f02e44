//! What a bridge tells its hosts unasked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::ServerNotification;
use rmcp::service::{Peer, SubscriptionSink};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::catalogue::{Catalogue, State};
use crate::endpoint::unread::Unread;

/// Where a host wants to hear of changes: by its session, or by a subscription in the newest
/// revision.
#[derive(Debug)]
pub(crate) enum Listener {
    Session(Peer<RoleServer>),
    /// With the room for what it has not read, where that is bounded.
    Subscription(SubscriptionSink, Option<Unread>),
}

impl Listener {
    async fn hear(&self, notification: ServerNotification) {
        match self {
            Self::Session(peer) => drop(peer.send_notification(notification).await),
            // What it did not ask for it refuses.
            Self::Subscription(sink, unread) => {
                if unread.as_ref().is_none_or(|unread| unread.notification(&notification)) {
                    drop(sink.send(notification).await);
                }
            }
        }
    }
}

/// The state of the lists that a host has. All clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<State>>);

impl Seen {
    /// The host has asked for a list.
    pub(crate) fn note(&self, note: impl FnOnce(&mut State)) {
        note(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a host what changes and what `notices` has, for ever. Many changes close together are one.
/// A host that does not read misses what is too much, and keeps nobody else waiting.
pub(crate) async fn tell(
    host: &str,
    seen: &Seen,
    catalogue: &Catalogue,
    mut notices: broadcast::Receiver<ServerNotification>,
    listener: Listener,
) {
    let mut state = catalogue.watch();
    // Until then questions wait: nobody has a list that could have changed.
    let mut told = catalogue.settled().await;
    loop {
        tokio::select! {
            notice = notices.recv() => match notice {
                Ok(notification) => {
                    if catalogue.concerns(host, &notification) {
                        listener.hear(notification).await;
                    }
                }
                Err(RecvError::Lagged(count)) => {
                    tracing::debug!(count, "notifications dropped: the host does not read");
                }
                Err(RecvError::Closed) => return,
            },
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(TOGETHER).await;
                let now = *state.borrow_and_update();
                let seen = *seen.lock();
                for notification in changes(&told, &seen, &now) {
                    listener.hear(notification).await;
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
