//! UNSUBSCRIBE from a client.

use agentmq_codec::{Properties, ReasonCode, UnsubAck, Unsubscribe};
use agentmq_session::PendingAck;
use agentmq_topic::{Subscription, TopicLimits};

use crate::connection::ConnectionId;
use crate::group_mail::is_remote;
use crate::remote_member::SessionName;
use crate::router::Router;
use crate::subscriptions::Removed;

impl Router {
    pub(crate) fn handle_unsubscribe(&mut self, id: ConnectionId, packet: &Unsubscribe<'_>) {
        let mut codes = Vec::new();
        for filter in packet.filters() {
            codes.push(self.unsubscribe(id, filter));
        }
        let Some(version) = self.connection_mut(id).map(|it| it.version) else { return };
        let mut unsuback = Vec::new();
        let properties = Properties::EMPTY;
        UnsubAck::encode_parts(packet.packet_id, properties, &codes, version, &mut unsuback);
        self.acknowledge(id, PendingAck::Encoded(unsuback.into_boxed_slice()));
    }

    fn unsubscribe(&mut self, id: ConnectionId, text: &str) -> ReasonCode {
        let limits = self.settings.topic_limits();
        let Some((connection, session)) = self.connected(id) else {
            return ReasonCode::UnspecifiedError;
        };
        let index = connection.session;
        let Ok(at) = session.find_subscription(text) else {
            let is_filter = Subscription::parse(text, &limits).is_ok();
            return if is_filter {
                ReasonCode::NoSubscriptionExisted
            } else {
                ReasonCode::TopicFilterInvalid
            };
        };
        session.subscriptions.remove(at);
        let session = SessionName { index, generation: session.generation };
        self.remove_subscription(session, text);
        ReasonCode::Success
    }

    /// Takes a session's subscription out of the index or out of its group.
    pub(crate) fn remove_subscription(&mut self, session: SessionName, text: &str) {
        let index = session.index;
        // The limits may have been lowered since it was made.
        let limits = TopicLimits { max_levels: usize::MAX, max_bytes: usize::MAX };
        let Ok(subscription) = Subscription::parse(text, &limits) else { return };
        if subscription.share.is_none() {
            if self.subscriptions.remove(subscription.filter, index) == Removed::Last {
                self.announce(subscription.filter, false);
            }
            return;
        }
        if !self.leave_away(text, session) && self.leave_group(text, index) {
            self.leave_home(text);
        }
    }

    /// Takes a session, of this shard or another, out of a group of this shard; false when it was
    /// no member.
    pub(crate) fn leave_group(&mut self, text: &str, index: u32) -> bool {
        let Some((group, gone)) = self.groups.leave(text, index) else { return false };
        if !is_remote(index) {
            self.subscriptions.count_member(false);
        }
        if let Some(filter) = gone
            && self.subscriptions.remove_group(&filter, group)
        {
            self.announce(&filter, false);
        }
        true
    }
}
