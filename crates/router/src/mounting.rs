//! Clients of an organisation that is kept apart name topics that are elsewhere in the broker, see
//! [`Principal::mounted`](agentmq_identity::Principal::mounted): here they come in, and go out.

use agentmq_codec::PublishHead;
use agentmq_identity::seen_by_its_own;
use agentmq_topic::{Subscription, TopicLimits};

use crate::connection::{Connection, ConnectionId};
use crate::router::Router;

impl Router {
    /// Where the topic is that a client names; `None`: where it says.
    pub(crate) fn mounted(&self, id: ConnectionId, topic: &str) -> Option<String> {
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        connection.is_apart.then(|| connection.principal.mounted(topic).into_owned())
    }

    /// The same for the filter of a subscription, which may be a shared one.
    pub(crate) fn mounted_filter(&self, id: ConnectionId, text: &str) -> Option<String> {
        // A filter that is beyond the limits may be one from before they were lowered.
        let filter = Subscription::parse(text, &TopicLimits::NONE).map_or(text, |it| it.filter);
        let mounted = self.mounted(id, filter)?;
        let group = text.strip_suffix(filter).unwrap_or_default();
        Some(format!("{group}{mounted}"))
    }
}

impl Connection {
    /// The head of a PUBLISH with the topic as the client calls it.
    pub(crate) fn seen<'h>(&self, head: PublishHead<'h>) -> PublishHead<'h> {
        if self.is_apart {
            PublishHead { topic: seen_by_its_own(head.topic), ..head }
        } else {
            head
        }
    }
}
