//! Resources whose changes a host wants to know of.

use std::sync::Arc;

use agentmq_sdk::mcp::{Fault, fault};
use rmcp::RoleServer;
use rmcp::model::ErrorData;
use rmcp::service::RequestContext;

use super::Host;
use crate::catalogue::Catalogue;
use crate::host_uri::server_uri;
use crate::listing::plain_call;
use crate::resource_subscriptions::{subscribe, unsubscribe};

impl Host {
    /// Notes that `who`, one of this host's, wants to know of changes of a resource.
    pub(super) async fn follow(
        &self,
        who: &Arc<str>,
        uri: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (server, own) = server_uri(uri).ok_or_else(|| self.unknown("resource", uri))?;
        if !self.catalogue.follow(who, uri) {
            return Err(fault(Fault::Busy, "too many subscriptions of resources"));
        }
        let asked = async {
            // Who has no sessions is listened to: it is told which resources when they change.
            if !self.session(&server).await?.is_stateless() {
                self.ask(&server, subscribe(&own).request, context).await?;
            }
            Ok(())
        };
        let asked = asked.await;
        if asked.is_err() {
            self.catalogue.unfollow(who, uri);
        }
        asked
    }
}

/// Tells the server of a resource that nobody wants to know of its changes any more. Should
/// somebody have begun to meanwhile, it is told that, too: whichever came first.
pub(super) async fn nobody_follows(catalogue: &Catalogue, uri: &str) {
    let Some((server, own)) = server_uri(uri) else { return };
    for request in [unsubscribe(&own), subscribe(&own)] {
        let Some(Some(session)) = catalogue.session(&server) else { return };
        if session.is_stateless() {
            return; // it is listened to, and hears so what is wanted
        }
        if let Err(error) = plain_call(session.peer(), request).await {
            tracing::debug!(server, error = &*error.message, "resource not let go");
        }
        if !catalogue.is_followed(uri) {
            return;
        }
    }
}
