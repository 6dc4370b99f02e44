//! SUBSCRIBE from a client.

use std::borrow::Cow;

use agentmq_agents::mcp;
use agentmq_codec::{
    DecodeError, FilterAckKind, PropertyId, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscribeFilter,
};
use agentmq_identity::{own_client_id, seen_by_its_own};
use agentmq_session::{Change, Condition, RetainedCursor, Session, Ticket, Time};
use agentmq_topic::{ReplyTopic, Subscription, TopicLimits};

use crate::audit::CANNOT_AUDIT;
use crate::connection::ConnectionId;
use crate::group_mail::is_remote;
use crate::mcp_rights::{IS_WORD, NO_COMPONENT};
use crate::reason_string::FilterAnswers;
use crate::recording::CANNOT_KEEP;
use crate::router::Router;
use crate::subscribers::Subscriber;

/// Why a filter is not subscribed to.
enum NotSubscribed {
    /// The SUBACK says so.
    Refused(ReasonCode, Cow<'static, str>),
    /// It ends the connection.
    Broken(DecodeError),
}

fn refused(reason: ReasonCode, why: impl Into<Cow<'static, str>>) -> NotSubscribed {
    NotSubscribed::Refused(reason, why.into())
}

impl Router {
    pub(crate) fn handle_subscribe(&mut self, id: ConnectionId, packet: &Subscribe<'_>, now: Time) {
        let identifier = packet.properties.integer(PropertyId::SubscriptionIdentifier);
        if identifier.is_some() && !self.settings.subscription_identifiers {
            let reason = ReasonCode::SubscriptionIdentifiersNotSupported;
            return self.refuse(id, reason, "Subscription Identifiers are off", now);
        }
        let (mut answers, mut cursors) = (FilterAnswers::default(), Vec::new());
        let mut shares = false;
        for request in packet.filters() {
            shares |= request.filter.starts_with("$share/");
            match self.subscribe(id, request, identifier.unwrap_or(0), cursors.len()) {
                Ok((qos, cursor)) => {
                    self.audit_subscribed(id, request.filter, qos);
                    answers.push(ReasonCode::granted(qos));
                    cursors.extend(cursor);
                }
                Err(NotSubscribed::Refused(code, why)) => {
                    self.audit_refused_subscribe(id, request.filter, code, &why);
                    answers.push_because(code, why);
                }
                Err(NotSubscribed::Broken(error)) => {
                    return self.refuse(id, error.reason, error.what, now);
                }
            }
        }
        let Some(connection) = self.connection_mut(id) else { return };
        let index = connection.session;
        let suback = answers.to_ack(FilterAckKind::SubAck, packet.packet_id, connection);
        let interest = self.await_interest(id);
        let ticket = self.acknowledge_at(id, interest, suback);
        let audited = self.audited;
        if let Some(connection) = self.connection_mut(id) {
            (connection.suback, connection.suback_audited) = (ticket, audited);
        }
        for mut cursor in cursors {
            cursor.interest = interest;
            self.queue_retained(index, cursor, now);
        }
        if shares {
            self.rebalance(index, now);
        }
        self.show_subscribed(id, packet, now);
    }

    /// One filter: the QoS granted, and the retained messages that it asks for; `waiting` other
    /// filters of the packet ask for theirs.
    fn subscribe(
        &mut self,
        id: ConnectionId,
        request: SubscribeFilter<'_>,
        identifier: u32,
        waiting: usize,
    ) -> Result<(QoS, Option<RetainedCursor>), NotSubscribed> {
        use ReasonCode as R;
        let SubscribeFilter { filter: text, options } = request;
        let settings = std::sync::Arc::clone(&self.settings);
        let subscription = Subscription::parse(text, &settings.topic_limits())
            .map_err(|error| refused(R::TopicFilterInvalid, error.to_string()))?;
        if subscription.share.is_some() {
            if options.no_local {
                // [MQTT-3.8.3-4]
                let what = "No Local on a shared subscription";
                return Err(NotSubscribed::Broken(DecodeError::protocol(what)));
            }
            if !settings.shared_subscriptions {
                return Err(refused(R::SharedSubscriptionsNotSupported, SHARED_ARE_OFF));
            }
        }
        if !settings.wildcard_subscriptions && subscription.filter.contains(['+', '#']) {
            return Err(refused(R::WildcardSubscriptionsNotSupported, WILDCARDS_ARE_OFF));
        }
        let asks_component = settings.agents.mcp_component_type;
        if asks_component && mcp::is_meant(subscription.filter) && !self.is_mcp_component(id) {
            return Err(refused(R::NotAuthorized, NO_COMPONENT));
        }
        let cannot_audit = settings.audits_filter(subscription.filter) && self.cannot_audit();
        let mounted = self.mounted_filter(id, text);
        let (text, subscription) = match &mounted {
            None => (text, subscription),
            // What the client wrote is within the limits.
            Some(text) => Subscription::parse(text, &TopicLimits::NONE)
                .map(|subscription| (text.as_str(), subscription))
                .map_err(|error| refused(R::TopicFilterInvalid, error.to_string()))?,
        };
        let is_refusing = self.commit.condition() != Condition::Good;
        let limit = settings.limits.subscriptions_per_session as usize;
        let Some((connection, session)) = self.connected(id) else {
            return Err(refused(R::UnspecifiedError, ""));
        };
        if subscription.share.is_some()
            && ReplyTopic::is_meant(seen_by_its_own(subscription.filter))
        {
            return Err(refused(R::NotAuthorized, REPLIES_ARE_FOR_ONE));
        }
        let (principal, filter) = (&connection.principal, subscription.filter);
        let client_id = own_client_id(&session.client_id);
        if settings.agents.mcp && mcp::is_meant(seen_by_its_own(filter)) && mcp::is_word(client_id)
        {
            return Err(refused(R::NotAuthorized, IS_WORD));
        }
        let asked = options.qos.min(settings.maximum_qos);
        let (decision, qos) = principal.grant_as(client_id, filter, asked);
        if !decision.allowed {
            return Err(refused(decision.code, decision.reason.to_owned()));
        }
        if is_refusing && session.key().is_some() {
            return Err(refused(R::QuotaExceeded, CANNOT_KEEP));
        }
        if cannot_audit {
            return Err(refused(R::QuotaExceeded, CANNOT_AUDIT));
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
            return Err(refused(R::QuotaExceeded, CURSORS_WAIT));
        }
        if let Err(at) = place {
            if session.subscriptions.len() >= limit {
                return Err(refused(R::QuotaExceeded, TOO_MANY_SUBSCRIPTIONS));
            }
            if let Some(member) = &mut session.member {
                let added = member.subscribe();
                added.map_err(|exceeded| refused(R::QuotaExceeded, exceeded.to_string()))?;
            }
            session.subscriptions.insert(at, text.into());
        }
        let index = connection.session;
        let mut options = options;
        options.qos = qos;
        let is_kept = session.key().is_some();
        let subscriber = Subscriber { session: index, options, id: identifier, is_kept };
        self.enter(text, subscription, subscriber);
        let cursor = wanted.then(|| RetainedCursor {
            filter: subscription.filter.into(),
            after: None,
            up_to: 0,
            due: Time::ZERO,
            interest: Ticket::default(),
            qos,
            ids: (identifier != 0).then(|| [identifier].into()),
        });
        Ok((qos, cursor))
    }

    /// Makes a subscription what a session has by this text, in place of what it was.
    fn enter(&mut self, text: &str, parsed: Subscription<'_>, subscriber: Subscriber) {
        let Subscriber { session, options, id, is_kept } = subscriber;
        let session = self.sessions.get(session as usize).filter(|_| is_kept).map(Session::key);
        if let Some(session) = session {
            self.record(Change::Subscribed { session, filter: text, options, id });
        }
        if parsed.share.is_some() {
            self.join(text, subscriber);
        } else if let Some(wanted) = self.subscriptions.insert(parsed.filter, subscriber) {
            self.announce(parsed.filter, wanted);
        }
    }

    /// From now on a session's subscription has this QoS at most; its client is not told. What
    /// waits already keeps its own.
    pub(crate) fn lower_subscription(&mut self, index: u32, text: &str, highest: QoS) {
        // The limits may have been lowered since it was made.
        let Ok(parsed) = Subscription::parse(text, &TopicLimits::NONE) else { return };
        let known = match parsed.share {
            None => self.subscriptions.of(parsed.filter, index),
            Some(_) => {
                let away = || self.away_groups.membership(text, index).map(|(_, member)| member);
                self.groups.member(text, index).or_else(away)
            }
        };
        if let Some(mut subscriber) = known.filter(|it| it.options.qos > highest) {
            subscriber.options.qos = highest;
            self.enter(text, parsed, subscriber);
        }
    }

    pub(crate) fn join(&mut self, text: &str, member: Subscriber) {
        if let Some(home) = self.join_home(text, member.session) {
            self.join_away(text, home, member);
        } else {
            self.join_group(text, member);
        }
    }

    /// Makes a session, of this shard or another, a member of a group of this shard; true when it
    /// was none.
    pub(crate) fn join_group(&mut self, text: &str, member: Subscriber) -> bool {
        let parsed = Subscription::parse(text, &TopicLimits::NONE);
        let Ok(Subscription { share: Some(share), filter }) = parsed else {
            return false;
        };
        let strategies = &self.settings.share_strategies;
        let strategy = strategies.get(share).copied().unwrap_or(self.settings.share_strategy);
        let (group, is_new_group, is_new) = self.groups.join(text, filter, strategy, member);
        if is_new {
            let is_kept = member.is_kept;
            let news = self.subscriptions.insert_member(filter, group, is_new_group, is_kept);
            news.into_iter().for_each(|wanted| self.announce(filter, wanted));
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
}

const SHARED_ARE_OFF: &str =
    "shared subscriptions are off on this broker: subscribe without $share/NAME/";
const REPLIES_ARE_FOR_ONE: &str =
    "answers below $reply/ are for one client: subscribe without $share/NAME/";
const WILDCARDS_ARE_OFF: &str =
    "filters with + or # are off on this broker: subscribe to whole topic names";
const TOO_MANY_SUBSCRIPTIONS: &str = "the session has as many subscriptions as \
    subscriptions_per_session allows: unsubscribe from some, or use a wildcard";
const CURSORS_WAIT: &str = "retained messages of as many filters as subscriptions_per_session \
    allows wait already: take them first, or ask for none with Retain Handling 2";
