//! Which consumer a message goes to, and which subscriptions to repeat.

use std::sync::Arc;

use agentmq_codec::SubscriptionOptions;

use crate::inbox::Inbox;

/// The subscriptions that the server granted, and their consumers. Bounded by the application:
/// one entry per filter that it subscribed to.
#[derive(Debug)]
pub(crate) struct Routes {
    entries: Vec<Route>,
    common: Arc<Inbox>,
    with_stream: usize,
}

/// One granted subscription.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) filter: String,
    pub(crate) options: SubscriptionOptions,
    /// Subscription Identifier; 0 for none.
    pub(crate) identifier: u32,
    /// A consumer of its own; else the common one.
    pub(crate) inbox: Option<Arc<Inbox>>,
}

impl Routes {
    pub(crate) fn new(common: Arc<Inbox>) -> Self {
        Self { entries: Vec::new(), common, with_stream: 0 }
    }

    /// Adds a subscription, or replaces the one with the same filter [MQTT-3.8.4-3].
    pub(crate) fn add(&mut self, route: Route) {
        match self.entries.iter_mut().find(|entry| entry.filter == route.filter) {
            Some(entry) => *entry = route,
            None => self.entries.push(route),
        }
        self.count();
    }

    pub(crate) fn remove(&mut self, filter: &str) {
        self.entries.retain(|entry| entry.filter != filter);
        self.count();
    }

    fn count(&mut self) {
        self.with_stream = self.entries.iter().filter(|entry| entry.inbox.is_some()).count();
    }

    pub(crate) fn entries(&self) -> &[Route] {
        &self.entries
    }

    /// The consumers of a message, without repetition. With Subscription Identifiers the server
    /// says which subscriptions a message is for; without them every filter that matches counts.
    /// What is for no stream goes to the common one.
    pub(crate) fn find(&self, topic: &str, identifiers: &[u32], into: &mut Vec<Arc<Inbox>>) {
        into.clear();
        if self.with_stream == 0 {
            into.push(self.common.clone());
            return;
        }
        let mut add = |inbox: &Arc<Inbox>| {
            if !into.iter().any(|known| Arc::ptr_eq(known, inbox)) {
                into.push(inbox.clone());
            }
        };
        for entry in &self.entries {
            let hit = if identifiers.is_empty() {
                entry.identifier == 0 && matches(&entry.filter, topic)
            } else {
                identifiers.contains(&entry.identifier)
            };
            if hit {
                add(entry.inbox.as_ref().unwrap_or(&self.common));
            }
        }
        if into.is_empty() {
            into.push(self.common.clone());
        }
    }

    /// Tells every consumer that nothing more comes.
    pub(crate) fn close(&self) {
        self.common.close();
        for inbox in self.entries.iter().filter_map(|entry| entry.inbox.as_ref()) {
            inbox.close();
        }
    }
}

/// Whether a filter, `$share` included, matches a topic.
fn matches(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    };
    agentmq_topic::matches(filter, topic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::ConnectionSignal;

    #[test]
    fn shared_filters_match_by_their_filter() {
        for (filter, topic, expected) in [
            ("a/+", "a/b", true),
            ("#", "$SYS/x", false),
            ("$share/g/a/+", "a/b", true),
            ("$share/g", "a", false),
            ("a", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn messages_go_to_their_stream_or_to_the_common_one() {
        let signal = Arc::new(ConnectionSignal::default());
        let inbox = || Inbox::new(1, true, signal.clone());
        let (common, own) = (inbox(), inbox());
        let mut routes = Routes::new(common.clone());
        let route = |filter: &str, identifier, inbox| Route {
            filter: filter.into(),
            options: SubscriptionOptions::default(),
            identifier,
            inbox,
        };
        let mut found = Vec::new();
        routes.add(route("a/#", 0, Some(own.clone())));
        routes.find("a/b", &[], &mut found);
        assert!(found.len() == 1 && Arc::ptr_eq(&found[0], &own));
        routes.find("b", &[], &mut found);
        assert!(found.len() == 1 && Arc::ptr_eq(&found[0], &common));
        routes.add(route("a/#", 7, Some(own.clone())));
        routes.find("a/b", &[7], &mut found);
        assert!(found.len() == 1 && Arc::ptr_eq(&found[0], &own));
        // A copy for another subscription does not count for the stream.
        routes.find("a/b", &[], &mut found);
        assert!(found.len() == 1 && Arc::ptr_eq(&found[0], &common));
        routes.remove("a/#");
        routes.find("a/b", &[7], &mut found);
        assert!(found.len() == 1 && Arc::ptr_eq(&found[0], &common));
    }
}
