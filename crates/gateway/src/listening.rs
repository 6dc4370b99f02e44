//! Hearing of changes from a server of the revision without sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use agentmq_sdk::mcp::REQUEST_TIMEOUT;
use futures_util::FutureExt as _;
use rmcp::RoleClient;
use rmcp::model::{
    ErrorCode, GetExtensions as _, GetMeta as _, NotificationMetaObject, ServerNotification,
    SubscriptionFilter,
};
use rmcp::service::{Peer, ServiceError, Subscription};
use tokio::sync::watch;

use crate::backoff::Backoff;

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
    let mut backoff = Backoff::new(LONGEST_PAUSE);
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
                tokio::time::sleep(backoff.pause()).await;
                continue;
            }
        };
        let is_whole = before.take().is_some_and(|old| drain(old, &mut tell));
        if !is_whole {
            again();
        }
        backoff.succeeded();
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
                    Ok(Some(notification)) => tell(without_subscription(notification)),
                    _ => {
                        tokio::time::sleep(backoff.pause()).await;
                        break;
                    }
                },
            }
        }
    }
}

/// Tells what has come by a subscription that is over for us; whether it was there until now.
fn drain(mut old: Subscription, tell: &mut impl FnMut(ServerNotification)) -> bool {
    loop {
        match old.next().now_or_never() {
            Some(Ok(Some(notification))) => tell(without_subscription(notification)),
            None => return true,
            Some(_) => return false,
        }
    }
}

/// Which subscription of ours it comes by is nobody else's business.
fn without_subscription(mut notification: ServerNotification) -> ServerNotification {
    let meta = notification.get_meta_mut();
    meta.remove(SUBSCRIPTION);
    if meta.is_empty() {
        notification.extensions_mut().remove::<NotificationMetaObject>();
    }
    notification
}

fn everything(resources: &Wanted) -> SubscriptionFilter {
    let all = SubscriptionFilter::builder();
    let mut all = all.tools_list_changed().prompts_list_changed().resources_list_changed().build();
    if !resources.is_empty() {
        all.resource_subscriptions = Some(resources.iter().cloned().collect());
    }
    all
}

/// In `_meta` of a notice.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Before it is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
