//! SUBSCRIBE from a client.

use agentmq_codec::{
    DecodeError, Properties, PropertyId, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscribeFilter,
};
use agentmq_identity::Action;
use agentmq_session::{PendingAck, RetainedCursor, Ticket, Time};
use agentmq_topic::Subscription;

use crate::connection::ConnectionId;
use crate::group_mail::is_remote;
use crate::router::Router;
use crate::subscribers::Subscriber;

impl Router {
    pub(crate) fn handle_subscribe(&mut self, id: ConnectionId, packet: &Subscribe<'_>, now: Time) {
        let identifier = packet.properties.integer(PropertyId::SubscriptionIdentifier);
        if identifier.is_some() && !self.settings.subscription_identifiers {
            let reason = ReasonCode::SubscriptionIdentifiersNotSupported;
            return self.refuse(id, reason, "Subscription Identifiers are off", now);
        }
        let (mut codes, mut cursors, mut shares) = (Vec::new(), Vec::new(), false);
        for request in packet.filters() {
            shares |= request.filter.starts_with("$share/");
            match self.subscribe(id, request, identifier.unwrap_or(0), cursors.len()) {
                Ok((code, cursor)) => {
                    codes.push(code);
                    cursors.extend(cursor);
                }
                Err(error) => return self.refuse(id, error.reason, error.what, now),
            }
        }
        let Some(connection) = self.connection_mut(id) else { return };
        let (version, index) = (connection.version, connection.session);
        let mut suback = Vec::new();
        let properties = Properties::EMPTY;
        SubAck::encode_parts(packet.packet_id, properties, &codes, version, &mut suback);
        let interest = self.await_interest(id);
        self.acknowledge_at(id, interest, PendingAck::Encoded(suback.into_boxed_slice()));
        for mut cursor in cursors {
            cursor.interest = interest;
            self.queue_retained(index, cursor, now);
        }
        if shares {
            self.rebalance(index, now);
        }
    }

    /// One filter: its SUBACK code, and the retained messages that it asks for; `waiting` other
    /// filters of the packet ask for theirs. An error ends the connection.
    fn subscribe(
        &mut self,
        id: ConnectionId,
        request: SubscribeFilter<'_>,
        identifier: u32,
        waiting: usize,
    ) -> Result<(ReasonCode, Option<RetainedCursor>), DecodeError> {
        let refused = |reason| Ok((reason, None));
        let SubscribeFilter { filter: text, options } = request;
        let settings = std::sync::Arc::clone(&self.settings);
        let Ok(subscription) = Subscription::parse(text, &settings.topic_limits()) else {
            return refused(ReasonCode::TopicFilterInvalid);
        };
        if subscription.share.is_some() {
            if options.no_local {
                // [MQTT-3.8.3-4]
                return Err(DecodeError::protocol("No Local on a shared subscription"));
            }
            if !settings.shared_subscriptions {
                return refused(ReasonCode::SharedSubscriptionsNotSupported);
            }
        }
        if !settings.wildcard_subscriptions && subscription.filter.contains(['+', '#']) {
            return refused(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        let limit = settings.limits.subscriptions_per_session as usize;
        let Some((connection, session)) = self.connected(id) else {
            return refused(ReasonCode::UnspecifiedError);
        };
        if !connection.principal.authorize(Action::Subscribe, subscription.filter).allowed {
            return refused(ReasonCode::NotAuthorized);
        }
        let place = session.find_subscription(text);
        let wanted = match options.retain_handling {
            _ if subscription.share.is_some() => false,
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => place.is_err(), // [MQTT-3.3.1-10]
            RetainHandling::DoNotSend => false,
        };
        // A client may ask for retained messages again and again without taking any.
        if wanted && session.queue.cursors() + waiting >= limit {
            return refused(ReasonCode::QuotaExceeded);
        }
        if let Err(at) = place {
            if session.subscriptions.len() >= limit {
                return refused(ReasonCode::QuotaExceeded);
            }
            session.subscriptions.insert(at, text.into());
        }
        let index = connection.session;
        let mut options = options;
        options.qos = options.qos.min(settings.maximum_qos);
        let subscriber = Subscriber { session: index, options, id: identifier };
        if subscription.share.is_some() {
            self.join(text, subscriber);
            return Ok((ReasonCode::granted(options.qos), None));
        }
        let added = self.subscriptions.insert(subscription.filter, subscriber);
        if added.is_first {
            self.announce(subscription.filter, true);
        }
        let cursor = wanted.then(|| RetainedCursor {
            filter: subscription.filter.into(),
            after: None,
            up_to: 0,
            due: Time::ZERO,
            interest: Ticket::default(),
            qos: options.qos,
            ids: (identifier != 0).then(|| [identifier].into()),
        });
        Ok((ReasonCode::granted(options.qos), cursor))
    }

    fn join(&mut self, text: &str, member: Subscriber) {
        if let Some(home) = self.join_home(text, member.session) {
            self.join_away(text, home, member);
        } else {
            self.join_group(text, member);
        }
    }

    /// Makes a session, of this shard or another, a member of a group of this shard; true when it
    /// was none.
    pub(crate) fn join_group(&mut self, text: &str, member: Subscriber) -> bool {
        let limits = self.settings.topic_limits();
        let Ok(Subscription { share: Some(share), filter }) = Subscription::parse(text, &limits)
        else {
            return false;
        };
        let strategies = &self.settings.share_strategies;
        let strategy = strategies.get(share).copied().unwrap_or(self.settings.share_strategy);
        let (group, is_new_group, is_new) = self.groups.join(text, filter, strategy, member);
        if is_new_group && self.subscriptions.insert_group(filter, group) {
            self.announce(filter, true);
        }
        if is_new && !is_remote(member.session) {
            self.subscriptions.count_member(true);
        }
        is_new
    }

    /// A member has come: what absent members of its groups hold is for those who are here.
    pub(crate) fn rebalance(&mut self, index: u32, now: Time) {
        if self.groups.is_empty() {
            return;
        }
        let Some(session) = self.sessions.get(index as usize) else { return };
        let groups: Vec<u32> =
            session.subscriptions.iter().filter_map(|text| self.groups.find(text)).collect();
        for group in groups {
            self.gather(Some(group), now);
        }
    }

    /// Takes what absent members of a group hold for those who are here.
    pub(crate) fn gather(&mut self, group: Option<u32>, now: Time) {
        let Some(group) = group else { return };
        let Some(members) = self.groups.get(group).map(|it| it.members.clone()) else { return };
        let mut moved = Vec::new();
        for member in members {
            if is_remote(member.session) {
                let remote = self.remote_members.get(member.session);
                if remote.is_some_and(|it| it.present.is_none()) {
                    self.reclaim(group, member.session, false);
                }
            } else if let Some(other) = self.sessions.get_mut(member.session as usize)
                && other.connection.is_none()
            {
                moved.extend(other.queue.take_shared(|it| it == group));
            }
        }
        self.reroute(moved, now);
    }
}
