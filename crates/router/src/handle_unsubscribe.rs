//! UNSUBSCRIBE from a client.

use std::borrow::Cow;

use agentmq_codec::{FilterAckKind, ReasonCode, Unsubscribe};
use agentmq_session::Change;
use agentmq_topic::{Subscription, TopicLimits};

use crate::connection::ConnectionId;
use crate::group_mail::is_remote;
use crate::reason_string::FilterAnswers;
use crate::remote_member::SessionName;
use crate::router::Router;

/// Why a filter is not unsubscribed from.
type NotUnsubscribed = (ReasonCode, Cow<'static, str>);

impl Router {
    pub(crate) fn handle_unsubscribe(&mut self, id: ConnectionId, packet: &Unsubscribe<'_>) {
        let mut answers = FilterAnswers::default();
        for filter in packet.filters() {
            let mounted = self.mounted_filter(id, filter);
            match self.unsubscribe(id, mounted.as_deref().unwrap_or(filter)) {
                Ok(()) => answers.push(ReasonCode::Success),
                Err((code, why)) => answers.push_because(code, why),
            }
        }
        let Some(connection) = self.connection_mut(id) else { return };
        let unsuback = answers.to_ack(FilterAckKind::UnsubAck, packet.packet_id, connection);
        self.acknowledge(id, unsuback);
    }

    fn unsubscribe(&mut self, id: ConnectionId, text: &str) -> Result<(), NotUnsubscribed> {
        let limits = self.settings.topic_limits();
        let Some((connection, session)) = self.connected(id) else {
            return Err((ReasonCode::UnspecifiedError, "".into()));
        };
        let index = connection.session;
        if session.find_subscription(text).is_err() {
            return Err(match Subscription::parse(text, &limits) {
                Ok(_) => (ReasonCode::NoSubscriptionExisted, NO_SUBSCRIPTION.into()),
                Err(error) => (ReasonCode::TopicFilterInvalid, error.to_string().into()),
            });
        }
        self.end_subscription(index, text);
        Ok(())
    }

    /// Takes a subscription from a session, if it has it.
    pub(crate) fn end_subscription(&mut self, index: u32, text: &str) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let Ok(at) = session.find_subscription(text) else { return };
        session.subscriptions.remove(at);
        if let Some(member) = &mut session.member {
            member.unsubscribe();
        }
        let (name, key) = (SessionName { index, generation: session.generation }, session.key());
        if key.is_some() {
            self.record(Change::Unsubscribed { session: key, filter: text });
        }
        self.remove_subscription(name, text);
    }

    /// Takes a session's subscription out of the index or out of its group.
    pub(crate) fn remove_subscription(&mut self, session: SessionName, text: &str) {
        let index = session.index;
        // The limits may have been lowered since it was made.
        let limits = TopicLimits::NONE;
        let Ok(subscription) = Subscription::parse(text, &limits) else { return };
        if subscription.share.is_none() {
            if let Some(wanted) = self.subscriptions.remove(subscription.filter, index) {
                self.announce(subscription.filter, wanted);
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
        let Some(left) = self.groups.leave(text, index) else { return false };
        if !is_remote(index) {
            self.subscriptions.count_member(false);
        }
        if let Some(wanted) = self.subscriptions.remove_member(&left) {
            self.announce(&left.filter, wanted);
        }
        true
    }
}

const NO_SUBSCRIPTION: &str =
    "the session has no such subscription: give the filter as in SUBSCRIBE, $share/NAME/ included";
