//! Which clients want to know of changes of which resource.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use agentmq_sdk::mcp::Call;
use rmcp::model::{SubscribeRequestParams, UnsubscribeRequestParams};

/// The subscriptions of all clients of somebody who passes them on to servers, which know but one
/// client. Bounded; what is beyond it is refused.
#[derive(Debug, Default)]
pub(crate) struct ResourceSubscriptions {
    clients: HashMap<String, HashSet<Arc<str>>>,
    count: usize,
}

impl ResourceSubscriptions {
    /// Whether there is room for another one.
    pub(crate) fn has_room(&self) -> bool {
        self.count < SUBSCRIPTIONS
    }

    /// Whether anybody wants to know of it.
    pub(crate) fn has(&self, uri: &str) -> bool {
        self.clients.contains_key(uri)
    }

    /// Whether this client wants to know of it.
    pub(crate) fn is_one_of(&self, uri: &str, client: &str) -> bool {
        self.clients.get(uri).is_some_and(|clients| clients.contains(client))
    }

    /// Notes a subscription.
    pub(crate) fn add(&mut self, uri: &str, client: &Arc<str>) {
        let clients = self.clients.entry(uri.to_owned()).or_default();
        self.count += usize::from(clients.insert(client.clone()));
    }

    /// Takes a subscription off; `true` when it was the last one for this resource.
    pub(crate) fn remove(&mut self, uri: &str, client: &str) -> bool {
        let Some(clients) = self.clients.get_mut(uri) else { return false };
        self.count -= usize::from(clients.remove(client));
        let last = clients.is_empty();
        if last {
            self.clients.remove(uri);
        }
        last
    }

    /// The resources that anybody wants to know of.
    pub(crate) fn uris(&self) -> impl Iterator<Item = &String> {
        self.clients.keys()
    }

    /// Takes off all of a client's, and returns the resources that nobody wants to know of now.
    pub(crate) fn remove_client(&mut self, client: &str) -> Vec<String> {
        let its: Vec<String> = self
            .clients
            .iter()
            .filter(|(_, clients)| clients.contains(client))
            .map(|(uri, _)| uri.clone())
            .collect();
        its.into_iter().filter(|uri| self.remove(uri, client)).collect()
    }
}

/// Asks a server to tell of changes of a resource.
#[expect(deprecated, reason = "the newest revision has another way; our sessions have this one")]
pub(crate) fn subscribe(uri: &str) -> Call {
    let params = SubscribeRequestParams::new(uri);
    Call::new(rmcp::model::SubscribeRequest::new(params).into())
}

/// Takes that back.
#[expect(deprecated, reason = "the newest revision has another way; our sessions have this one")]
pub(crate) fn unsubscribe(uri: &str) -> Call {
    let params = UnsubscribeRequestParams::new(uri);
    Call::new(rmcp::model::UnsubscribeRequest::new(params).into())
}

/// Pairs of a client and a resource.
const SUBSCRIPTIONS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_out_is_known() {
        let mut all = ResourceSubscriptions::default();
        let (one, two): (Arc<str>, Arc<str>) = ("c1".into(), "c2".into());
        all.add("a", &one);
        all.add("a", &one);
        all.add("a", &two);
        all.add("b", &two);
        assert!(!all.remove("a", "c1") && all.has("a"));
        assert!(!all.remove("a", "c1") && !all.remove("x", "c1"));
        let mut left = all.remove_client("c2");
        left.sort();
        assert_eq!(left, ["a", "b"]);
        assert!(all.count == 0 && !all.has("a") && all.remove_client("c2").is_empty());
    }
}
