//! PUBLISH from a client.

use std::rc::Rc;

use agentmq_agents::{AgentTopic, ToolCall, mcp};
use agentmq_codec::{DecodeError, Properties, PropertiesBuf, PropertyId, Publish, QoS, ReasonCode};
use agentmq_identity::{own_client_id, seen_by_its_own};
use agentmq_session::{Condition, Time};
use agentmq_topic::{ReplyTopic, check_name};

use crate::audit::CANNOT_AUDIT;
use crate::connection::{Connection, ConnectionId};
use crate::mcp_over_mqtt::with_sender;
use crate::recording::CANNOT_KEEP;
use crate::route::{Route, Traits};
use crate::router::Router;
use crate::source::Source;
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
        let is_call = route.traits.is_tool_call;
        // Boxed: nearly every message is none, and passes here.
        let call = is_call.then(|| ToolCall::parse(publish.payload).map(Box::new)).flatten();
        if route.traits.is_of_agents
            && let of = (topic, route.traits)
            && let Some(outcome) = self.check_agent_publish(id, publish, of, call.as_deref(), now)
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
            qos: publish.qos,
            retain: publish.retain,
            expiry: publish.properties.integer(PropertyId::MessageExpiryInterval),
            publisher,
            call: call.as_deref(),
            arrived,
            author: if publish.retain { self.author(id) } else { None },
            ..Source::new(topic, publish.payload, properties, now)
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
}

const BEYOND_LIMIT: DecodeError =
    DecodeError::with(ReasonCode::TopicNameInvalid, topic_prefix::BEYOND_LIMIT);
