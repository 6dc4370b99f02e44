//! What rights come to in a session: which topics its client was allowed to publish to lately, and
//! what it may still have when it comes back, or is served from its queue. Its rights may have
//! become less since it subscribed.

use agentmq_identity::{Action, Principal};
use agentmq_topic::{Subscription, TopicLimits};

use crate::connection::ConnectionId;
use crate::router::Router;

/// Topics that a connection was allowed to publish to: most publish to a few again and again, and
/// looking through the rules costs as much as routing.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    topics: Vec<Box<str>>,
    /// The one that gives way next.
    next: usize,
}

impl Permits {
    pub(crate) fn has(&self, topic: &str) -> bool {
        self.topics.iter().any(|known| **known == *topic)
    }

    pub(crate) fn note(&mut self, topic: &str) {
        if topic.len() > LONGEST {
            return;
        }
        if self.topics.len() < PERMITS {
            return self.topics.push(topic.into());
        }
        self.topics[self.next] = topic.into();
        self.next = (self.next + 1) % PERMITS;
    }
}

impl Router {
    /// From now on a connection, and its session, acts as this one.
    pub(crate) fn acts_as(&mut self, id: ConnectionId, principal: &Principal) {
        if let Some((connection, session)) = self.connected(id) {
            session.principal = principal.clone();
            let index = connection.session;
            self.end_forbidden_subscriptions(index);
        }
        if let Some(connection) = self.connection_mut(id) {
            connection.principal = principal.clone();
            connection.permits = None;
        }
    }

    /// Ends the subscriptions of a session that its principal may not have any more.
    pub(crate) fn end_forbidden_subscriptions(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        if !session.principal.is_restricted() {
            return;
        }
        // The limits may have been lowered since they were made.
        let limits = TopicLimits { max_levels: usize::MAX, max_bytes: usize::MAX };
        let is_forbidden = |text: &str| {
            let inner = Subscription::parse(text, &limits).map_or(text, |it| it.filter);
            !session.principal.authorize(Action::Subscribe, inner).allowed
        };
        let all = session.subscriptions.iter();
        let forbidden: Vec<_> = all.filter(|text| is_forbidden(text)).cloned().collect();
        for text in forbidden {
            self.end_subscription(index, &text);
        }
    }

    /// Whether a message that was kept for a session may still go to it.
    pub(crate) fn may_receive(&self, index: u32, topic: &str) -> bool {
        let session = self.sessions.get(index as usize);
        session.is_none_or(|it| {
            !it.principal.is_restricted() || it.principal.authorize(Action::Receive, topic).allowed
        })
    }
}

/// Topics that are remembered.
const PERMITS: usize = 8;
/// Bytes of a topic that is remembered, at most.
const LONGEST: usize = 256;
