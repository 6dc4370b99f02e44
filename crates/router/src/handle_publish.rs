//! PUBLISH from a client.

use std::rc::Rc;

use agentmq_agents::{AgentTopic, mcp};
use agentmq_codec::{
    AckKind, DecodeError, Properties, PropertiesBuf, PropertyId, Publish, QoS, ReasonCode,
};
use agentmq_identity::{own_client_id, seen_by_its_own};
use agentmq_session::{Condition, Message, PendingAck, Time};
use agentmq_topic::{ReplyTopic, check_name};

use crate::audit::CANNOT_AUDIT;
use crate::connection::{Connection, ConnectionId};
use crate::fan_out::Source;
use crate::handle_connect::Refused;
use crate::mail::{Mail, Stamp};
use crate::mcp_over_mqtt::with_sender;
use crate::places::Place;
use crate::recording::CANNOT_KEEP;
use crate::retained::RetainedBound;
use crate::route::{Route, Traits};
use crate::router::{Router, second_of};
use crate::topic_prefix::{self, NoRoute};

impl Router {
    pub(crate) fn handle_publish(&mut self, id: ConnectionId, publish: &Publish<'_>, now: Time) {
        self.counters.publish_received += 1;
        self.counters.publish_bytes_received += publish.payload.len() as u64;
        self.count_publish(id, now);
        if let Err(error) = self.check_publish(id, publish) {
            return self.refuse(id, error.reason, error.what, now);
        }
        let mut alias_topic = std::mem::take(&mut self.alias_topic);
        let routed = match self.resolve_topic(id, publish, &mut alias_topic) {
            Ok(topic) => self.publish_from(id, publish, topic, now),
            Err(error) => Err(error),
        };
        self.alias_topic = alias_topic;
        match routed {
            Ok(Some(reason)) => self.acknowledge_publish(id, publish, reason),
            Ok(None) => {}
            Err(error) => self.refuse(id, error.reason, error.what, now),
        }
    }

    fn count_publish(&mut self, id: ConnectionId, now: Time) {
        if self.settings.limits.publishes_per_second == 0 {
            return;
        }
        if let Some(connection) = self.connection_mut(id) {
            let second = second_of(now);
            if connection.second != second {
                (connection.second, connection.publishes) = (second, 0);
            }
            connection.publishes += 1;
        }
    }

    /// What a PUBLISH may not do, whatever its topic.
    fn check_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
    ) -> Result<(), DecodeError> {
        use ReasonCode as R;
        if publish.properties.has(PropertyId::SubscriptionIdentifier) {
            // [MQTT-3.3.4-6]
            return Err(DecodeError::protocol("Subscription Identifier in a client's PUBLISH"));
        }
        if publish.qos > self.settings.maximum_qos {
            return Err(DecodeError::with(R::QoSNotSupported, "QoS above Maximum QoS"));
        }
        if publish.retain && !self.settings.retain_available {
            return Err(DecodeError::with(R::RetainNotSupported, "retained messages are off"));
        }
        if publish.qos == QoS::AtMostOnce {
            return Ok(());
        }
        let Some((connection, session)) = self.connected(id) else { return Ok(()) };
        let maximum = usize::from(connection.receive_maximum);
        let open = connection.acks.ending() + session.unreleased.len();
        let begins = || !session.unreleased.contains(publish.packet_id);
        if connection.version.is_v5() && open >= maximum && begins() {
            // [MQTT-3.3.4-7]
            return Err(DecodeError::with(
                R::ReceiveMaximumExceeded,
                "more unacknowledged publications than Receive Maximum",
            ));
        }
        Ok(())
    }

    /// The topic that a PUBLISH means: its own, or the one that its alias stands for.
    fn resolve_topic<'a>(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'a>,
        text: &'a mut String,
    ) -> Result<&'a str, DecodeError> {
        let Some(alias) = publish.properties.u16(PropertyId::TopicAlias) else {
            return Ok(publish.topic);
        };
        let topic_limits = self.settings.topic_limits();
        let Some(connection) = self.connection_mut(id) else { return Ok(publish.topic) };
        if !publish.topic.is_empty() && check_name(publish.topic, &topic_limits).is_err() {
            // With any QoS: the alias would go on to stand for the topic before.
            return Err(BEYOND_LIMIT);
        }
        let maximum = connection.topic_alias_maximum;
        let topic =
            connection.aliases_in.get_or_insert_default().resolve(alias, publish.topic, maximum)?;
        if !publish.topic.is_empty() {
            return Ok(publish.topic);
        }
        text.clear();
        text.push_str(topic);
        Ok(text)
    }

    /// Routes a client's publication. Returns the reason for its acknowledgement, `None` when it
    /// needs none any more.
    fn publish_from(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        now: Time,
    ) -> Result<Option<ReasonCode>, DecodeError> {
        let Some((connection, session)) = self.connected(id) else { return Ok(None) };
        let mounted;
        let topic = if connection.is_moved {
            mounted = connection.principal.published(topic);
            &*mounted
        } else {
            topic
        };
        if publish.qos == QoS::ExactlyOnce && session.unreleased.contains(publish.packet_id) {
            // [MQTT-4.3.3-10]: received, not again delivered. That it was may not be in the audit
            // log, if the broker has ended in between.
            let is_audited = self.route(topic).is_ok_and(|route| route.traits.is_audited);
            if is_audited && self.cannot_audit() {
                return Ok(None); // it comes again
            } else if is_audited {
                self.audit_publish(id, publish, topic);
            }
            return Ok(Some(ReasonCode::Success));
        }
        let client_id = own_client_id(&session.client_id);
        if let Err(refused) = connection.permits(publish, topic, client_id) {
            self.audit_refused_publish(id, topic, refused.0, &refused.1);
            return Ok(self.refuse_call(id, publish, topic, &refused, now));
        }
        let has_plan = session.member.is_some();
        let (publisher, is_v5) = (connection.session(), connection.version.is_v5());
        let key = session.key();
        let arrived =
            (publish.qos == QoS::ExactlyOnce && key.is_some()).then_some((key, publish.packet_id));
        let route = match self.route(topic) {
            Ok(route) => route,
            // Where no acknowledgement can say so it costs the connection, not the message alone.
            Err(NoRoute::Limit) if !is_v5 || publish.qos == QoS::AtMostOnce => {
                return Err(BEYOND_LIMIT);
            }
            Err(why) => {
                let (reason, why) = why.refusal(&self.settings);
                return Ok(self.refuse_publish(id, publish, reason, &why));
            }
        };
        if route.traits.is_reply
            && let Err((reason, why)) = self.check_reply(&route, now)
        {
            self.counters.replies_dropped += 1;
            self.audit_refused_publish(id, topic, reason, &why);
            return Ok(self.refuse_publish(id, publish, reason, &why));
        }
        if route.traits.is_of_agents
            && let Some(outcome) = self.check_agent_publish(id, publish, topic, now)
        {
            return Ok(outcome);
        }
        if let Some(why) = self.cannot_take(publish, arrived.is_some(), &route) {
            if !is_v5 && publish.qos > QoS::AtMostOnce {
                // Before version 5 every acknowledgement says success.
                self.counters.publish_refused += 1;
                return Err(DecodeError::with(ReasonCode::QuotaExceeded, why));
            }
            return Ok(self.refuse_publish(id, publish, ReasonCode::QuotaExceeded, why));
        }
        if has_plan && let Err(exceeded) = self.count_use(id, publish, now) {
            let refused = (ReasonCode::QuotaExceeded, exceeded.into());
            return Ok(self.refuse_call(id, publish, topic, &refused, now));
        }
        if route.traits.is_audited {
            self.audit_publish(id, publish, topic);
        }
        if !self.tool_calls.is_empty() {
            self.note_tool_answer(publish, topic);
        }
        let changed = self.changed_properties(id, publish, &route);
        let properties = changed.as_ref().map_or(publish.properties, PropertiesBuf::view);
        let mut source = Source {
            topic,
            payload: publish.payload,
            properties,
            qos: publish.qos,
            retain: publish.retain,
            expiry: publish.properties.integer(PropertyId::MessageExpiryInterval),
            publisher,
            publisher_id: None,
            now,
            shared: None,
            is_for_one: false,
            is_tool_call: false,
            arrived,
            will: None,
            author: if publish.retain { self.author(id) } else { None },
        };
        if publish.properties.has(PropertyId::ResponseTopic) {
            self.open_request(id, publish, now);
        }
        let mut reason = self.publish(&mut source, &route);
        if route.traits.is_tool_call && reason == ReasonCode::NoMatchingSubscribers {
            reason = self.reply_unavailable(id, publish, now);
        }
        if route.traits.is_mcp {
            self.note_mcp_publish(id, publish, topic, reason, now);
        }
        if publish.qos == QoS::ExactlyOnce
            && let Some((_, session)) = self.connected(id)
        {
            session.unreleased.insert(publish.packet_id);
        }
        Ok(Some(reason))
    }

    /// Why a message cannot be taken now, whoever publishes it: what it asks to be kept or put down
    /// cannot be.
    fn cannot_take(
        &self,
        publish: &Publish<'_>,
        is_to_be_remembered: bool,
        route: &Route,
    ) -> Option<&'static str> {
        let is_forgotten = is_to_be_remembered && self.commit.condition() != Condition::Good;
        if is_forgotten || self.cannot_keep(publish.qos, publish.retain, route) {
            return Some(CANNOT_KEEP);
        }
        (route.traits.is_audited && self.cannot_audit()).then_some(CANNOT_AUDIT)
    }

    /// The properties that a message is forwarded with, where they are not those that it came
    /// with.
    fn changed_properties(
        &self,
        id: ConnectionId,
        publish: &Publish<'_>,
        route: &Route,
    ) -> Option<PropertiesBuf> {
        let properties = &publish.properties;
        if (route.traits.is_identified || route.traits.is_mcp)
            && let Some(told) = self.told_properties(id, properties, route.traits)
        {
            let has_per_hop = told.view().has_per_hop();
            return Some(if has_per_hop { told.view().forwarded() } else { told });
        }
        properties.has_per_hop().then(|| properties.forwarded())
    }

    /// A message's properties, where they do not say who has published it, or something else.
    fn told_properties(
        &self,
        id: ConnectionId,
        properties: &Properties<'_>,
        traits: Traits,
    ) -> Option<PropertiesBuf> {
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        let publisher = self.settings.told_publisher(connection.door, &connection.principal);
        let mut told =
            traits.is_identified.then(|| self.settings.identified(properties, publisher)).flatten();
        if traits.is_mcp && connection.version.is_v5() {
            let session = self.sessions.get(connection.session()? as usize)?;
            let properties = told.as_ref().map_or(*properties, PropertiesBuf::view);
            let sender = with_sender(&properties, own_client_id(&session.client_id));
            told = sender.or(told);
        }
        told
    }

    /// A publication that is refused: a call by an answer, if it can be answered so, a request of
    /// MCP by an answer, too, all else by its acknowledgement.
    #[cold]
    pub(crate) fn refuse_call(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        refused: &Refused,
        now: Time,
    ) -> Option<ReasonCode> {
        if self.reply_refusal(id, publish, topic, refused, now) {
            self.counters.publish_refused += 1;
            return self.take_in_vain(id, publish);
        }
        let (reason, why) = refused;
        if self.is_mcp(topic) {
            let word = match *reason {
                ReasonCode::QuotaExceeded => "quota_exceeded",
                _ => "not_allowed",
            };
            self.reply_mcp_error(id, publish, topic, (why, Some(word)), now);
        }
        self.refuse_publish(id, publish, *reason, why)
    }

    /// A publication that goes nowhere, as its publisher need not know. Returns the reason for its
    /// acknowledgement.
    pub(crate) fn take_in_vain(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
    ) -> Option<ReasonCode> {
        if publish.qos == QoS::ExactlyOnce
            && let Some((_, session)) = self.connected(id)
        {
            session.unreleased.insert(publish.packet_id);
        }
        Some(ReasonCode::Success)
    }

    /// A publication that is not routed: tells its publisher, if it expects an answer. None is left
    /// to send.
    fn refuse_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        reason: ReasonCode,
        why: &str,
    ) -> Option<ReasonCode> {
        self.counters.publish_refused += 1;
        let connection = self.connection_mut(id);
        if let Some(ack) = connection.and_then(|it| it.refusal(publish, reason, why)) {
            self.acknowledge(id, ack);
        }
        None
    }

    /// Retains and fans out one message, here and to the other shards that want it.
    pub(crate) fn publish(&mut self, source: &mut Source<'_>, route: &Route) -> ReasonCode {
        let mut reason = ReasonCode::NoMatchingSubscribers;
        let mut stamp = None;
        if source.retain && !self.cannot_keep(QoS::AtLeastOnce, true, route) {
            stamp = self.retain(source);
            if stamp.is_none() {
                reason = ReasonCode::QuotaExceeded;
            }
        }
        let mut taken = false;
        let posted = self.posted_by(|router| {
            taken = router.fan_out(source, route);
            router.post_publish(source, route, stamp);
            taken |= !route.places.is_empty();
            router.record_message(source, stamp.is_some());
        });
        self.record_whole(source, posted);
        if taken && reason == ReasonCode::NoMatchingSubscribers {
            reason = ReasonCode::Success;
        }
        reason
    }

    /// Stores a message as its topic's retained one, if there is room for it.
    fn retain(&mut self, source: &mut Source<'_>) -> Option<Stamp> {
        let limits = &self.settings.limits;
        let bound = RetainedBound {
            messages: limits.retained_messages as usize,
            bytes: limits.retained_bytes,
        };
        let (now, publisher, author) = (source.now, source.publisher, source.author.clone());
        let message = source.message();
        let stamp = self.peers.stamp();
        let has_room = self.retained.has_room(message, bound);
        if !has_room || !self.may_retain(publisher, message, stamp) {
            self.counters.retained_refused += 1;
            // Better none than one that has been replaced [MQTT-3.3.1-5].
            let clearing = Message::plain(source.topic, b"", QoS::AtMostOnce, true);
            self.clear_retained(clearing, stamp, now);
            return None;
        }
        if self.peers.is_alone() {
            self.retained.store(message, stamp, author);
        } else {
            self.retained.replicate(message, stamp, author, now);
        }
        Some(stamp)
    }

    /// Takes a topic's retained message away, here and on the other shards.
    fn clear_retained(&mut self, clearing: Message, stamp: Stamp, now: Time) {
        self.record_clearing(clearing.topic());
        self.quotas.retained.forget(clearing.topic(), stamp);
        if self.peers.is_alone() {
            return self.retained.store(&clearing, stamp, None);
        }
        self.retained.replicate(&clearing, stamp, None, now);
        if self.peers.own != Place(0) {
            self.must_keep(Place(0), QoS::AtLeastOnce); // which records it
        }
        self.peers.post_all(|| Mail::Clear(clearing.clone(), stamp));
    }

    /// Publishes a message of the broker's own.
    pub(crate) fn publish_message(&mut self, message: Message, now: Time) {
        if let Ok(route) = self.route(message.topic()) {
            self.publish(&mut Source::of(&message, now), &route);
        }
    }

    /// The route of a topic. A name that has none is found here, before it is cached.
    pub(crate) fn route(&mut self, topic: &str) -> Result<Rc<Route>, NoRoute> {
        if let Some(route) = self.routes.get(topic, &self.subscriptions) {
            return Ok(route);
        }
        let own = seen_by_its_own(topic);
        check_name(own, &self.settings.topic_limits()).map_err(|_| NoRoute::Limit)?;
        if topic.len() > usize::from(u16::MAX) {
            return Err(NoRoute::Limit);
        }
        if !self.settings.knows_prefix(own) {
            return Err(NoRoute::Prefix);
        }
        let bound = self.settings.limits.route_cache as usize;
        let of_agents = self.settings.agents.namespaces.find(own).map(|(_, of)| of);
        let is_mcp = self.settings.agents.mcp && mcp::is_meant(own);
        let is_tool_call = matches!(of_agents, Some(AgentTopic::ToolCall { .. }));
        let traits = Traits {
            is_identified: self.settings.identifies(own),
            is_audited: self.settings.audits(own),
            is_reply: ReplyTopic::is_meant(own),
            is_of_agents: is_mcp || is_tool_call || of_agents.is_some_and(AgentTopic::is_card),
            is_tool_call,
            is_mcp,
        };
        Ok(self.routes.resolve(topic, &self.subscriptions, bound, traits))
    }

    /// A connection and the session that it serves.
    pub(crate) fn connected(
        &mut self,
        id: ConnectionId,
    ) -> Option<(&mut Connection, &mut agentmq_session::Session)> {
        let connection = self.connections.get_mut(id.0 as usize)?.as_mut()?;
        let session = self.sessions.get_mut(connection.session()? as usize)?;
        Some((connection, session))
    }

    fn acknowledge_publish(&mut self, id: ConnectionId, publish: &Publish<'_>, reason: ReasonCode) {
        let Some(kind) = ack_kind(publish.qos) else { return };
        if !reason.is_error() {
            return self.acknowledge(id, PendingAck::Ack(kind, publish.packet_id, reason));
        }
        // It was delivered, if not retained. An error would end a QoS 2 exchange [MQTT-4.3.3-4],
        // and a client that misses the PUBREC would publish it again.
        let reason = if kind == AckKind::PubRec { ReasonCode::Success } else { reason };
        let Some(connection) = self.connection_mut(id) else { return };
        let ack = connection.explained(kind, publish.packet_id, reason, NOT_RETAINED);
        self.acknowledge(id, ack);
    }
}

impl Connection {
    /// The acknowledgement that refuses a publication; none for QoS 0.
    fn refusal(&self, publish: &Publish<'_>, reason: ReasonCode, why: &str) -> Option<PendingAck> {
        let kind = ack_kind(publish.qos)?;
        Some(self.explained(kind, publish.packet_id, reason, why))
    }
}

/// The first answer to a PUBLISH.
fn ack_kind(qos: QoS) -> Option<AckKind> {
    match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce => Some(AckKind::PubAck),
        QoS::ExactlyOnce => Some(AckKind::PubRec),
    }
}

const NOT_RETAINED: &str = "delivered but not retained: retained_messages or retained_bytes is \
    reached, of this server or of the plan; clear retained topics or raise the limit";

const BEYOND_LIMIT: DecodeError =
    DecodeError::with(ReasonCode::TopicNameInvalid, topic_prefix::BEYOND_LIMIT);
