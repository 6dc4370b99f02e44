//! What a session may still have when its client comes back, or is served from its queue: its
//! rights may have become less since it subscribed.

use agentmq_identity::Action;
use agentmq_topic::{Subscription, TopicLimits};

use crate::router::Router;

impl Router {
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
