//! Clients of an organisation that is kept apart name topics that are elsewhere in the broker, see
//! [`Principal::mounted`](agentmq_identity::Principal::mounted): here they come in, and go out.

use agentmq_identity::seen_by_its_own;
use agentmq_topic::{Subscription, TopicLimits};

use crate::connection::{Connection, ConnectionId};
use crate::router::Router;

impl Router {
    /// Where a filter is that a client names, of a subscription that may be a shared one; `None`:
    /// where it says.
    pub(crate) fn mounted_filter(&self, id: ConnectionId, text: &str) -> Option<String> {
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        if !connection.is_apart {
            return None;
        }
        // A filter that is beyond the limits may be one from before they were lowered.
        let filter = Subscription::parse(text, &TopicLimits::NONE).map_or(text, |it| it.filter);
        let group = text.strip_suffix(filter).unwrap_or_default();
        Some(format!("{group}{}", connection.principal.mounted(filter)))
    }

    /// Where a topic is that a client names; `None`: where it says.
    pub(crate) fn mounted(&self, id: ConnectionId, topic: &str) -> Option<String> {
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        connection.is_apart.then(|| connection.principal.mounted(topic).into_owned())
    }
}

impl Connection {
    /// The topic of a message as the client calls it.
    pub(crate) fn seen<'t>(&self, topic: &'t str) -> &'t str {
        if self.is_apart { seen_by_its_own(topic) } else { topic }
    }
}
