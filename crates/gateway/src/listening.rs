//! Hearing of changes from a server of the revision without sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use agentmq_sdk::mcp::REQUEST_TIMEOUT;
use rmcp::RoleClient;
use rmcp::model::{ErrorCode, GetMeta as _, ServerNotification, SubscriptionFilter};
use rmcp::service::{Peer, ServiceError, Subscription};
use tokio::sync::watch;

/// The resources of which somebody wants to know changes.
pub(crate) type Wanted = BTreeSet<String>;

/// Listens to changes of lists and of the resources that are wanted, which may be others any time.
/// `tell` gets what the server says; `again` is called when something may have been missed. Ends
/// when nobody wants anything any more, or the server has no changes to tell.
pub(crate) async fn listen(
    peer: &Peer<RoleClient>,
    mut wanted: watch::Receiver<Wanted>,
    mut tell: impl FnMut(ServerNotification),
    mut again: impl FnMut(),
) {
    // The one before ends when its successor has begun: nothing is missed between them.
    let mut before: Option<Subscription> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let filter = everything(&wanted.borrow_and_update());
        let begun = tokio::time::timeout(REQUEST_TIMEOUT, peer.listen(filter)).await;
        let mut subscription = match begun {
            Ok(Ok(subscription)) => subscription,
            Ok(Err(ServiceError::McpError(error))) if error.code == ErrorCode::METHOD_NOT_FOUND => {
                return;
            }
            failed => {
                if peer.is_transport_closed() {
                    return;
                }
                tracing::debug!(?failed, "changes are not told; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        if before.take().is_none() {
            again();
        }
        pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    before = Some(subscription);
                    break;
                }
                next = subscription.next() => match next {
                    Ok(Some(mut notification)) => {
                        notification.get_meta_mut().remove(SUBSCRIPTION);
                        tell(notification);
                    }
                    _ => {
                        tokio::time::sleep(FIRST_PAUSE).await;
                        break;
                    }
                },
            }
        }
    }
}

fn everything(resources: &Wanted) -> SubscriptionFilter {
    let all = SubscriptionFilter::builder();
    let mut all = all.tools_list_changed().prompts_list_changed().resources_list_changed().build();
    if !resources.is_empty() {
        all.resource_subscriptions = Some(resources.iter().cloned().collect());
    }
    all
}

/// What stands in `_meta` of a notice is about our subscription, and nobody else's.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Before it is tried again; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
