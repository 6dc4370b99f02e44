//! What a CONNECT is refused for.

use agentmq_agents::mcp;
use agentmq_codec::{Connect, PropertyId as P, ProtocolVersion, ReasonCode};
use agentmq_identity::{Action, Principal};
use agentmq_session::{AuditCondition, Time};
use agentmq_topic::{ReplyTopic, check_name};

use crate::audit::CANNOT_AUDIT;
use crate::handle_connect::Refused;
use crate::mcp_over_mqtt::{check_component, component};
use crate::mcp_rights::{IS_WORD, NO_COMPONENT};
use crate::router::Router;
use crate::topic_prefix::NoRoute;

impl Router {
    pub(crate) fn check_connect(&self, connect: &Connect<'_>) -> Result<(), Refused> {
        if connect.client_id.is_empty() {
            // 3.1: 1 to 23 characters; 3.1.1 [MQTT-3.1.3-8]
            let may_be_assigned = match connect.version {
                ProtocolVersion::V31 => false,
                ProtocolVersion::V311 => connect.clean_start,
                ProtocolVersion::V5 => true,
            };
            if !may_be_assigned {
                let why = "an empty Client Identifier needs Clean Session 1";
                return Err((ReasonCode::ClientIdentifierNotValid, why.into()));
            }
        }
        if self.settings.agents.mcp {
            check_component(connect)?;
        }
        let limits = &self.settings.limits;
        if connect.client_id.len() > usize::from(limits.client_id_bytes) {
            // Many things are kept by it.
            let why = "the Client Identifier is longer than client_id_bytes: shorten it";
            return Err((ReasonCode::ClientIdentifierNotValid, why.into()));
        }
        let connections = self.counters.connections_now + self.peers.connections_elsewhere;
        if connections >= u64::from(limits.connections) {
            return Err((ReasonCode::QuotaExceeded, "the limit `connections` is reached".into()));
        }
        Ok(())
    }

    /// Asked of who has proved who he is: whether he has a session already is nobody else's matter.
    pub(crate) fn check_sessions(&self, client_id: &str) -> Result<(), Refused> {
        let sessions = self.sessions.len() as u64 + self.peers.sessions_elsewhere;
        let is_full = sessions >= u64::from(self.settings.limits.sessions);
        if is_full && !self.by_client.contains_key(client_id) {
            return Err((ReasonCode::QuotaExceeded, "the limit `sessions` is reached".into()));
        }
        Ok(())
    }

    /// The session of who has proved its name is nobody else's: neither can he be thrown out by
    /// his client identifier, nor can what waits for him be taken or thrown away.
    pub(crate) fn check_owner(
        &self,
        client_id: &str,
        principal: &Principal,
    ) -> Result<(), Refused> {
        let Some(session) = self.session(client_id) else { return Ok(()) };
        if session.principal.claims().is_some() && !session.principal.is_same(principal) {
            let why = "this client identifier has a session of somebody else: choose another";
            return Err((ReasonCode::NotAuthorized, why.into()));
        }
        Ok(())
    }

    /// Who is let in must be in the audit log. Asked before anybody is asked for a proof, too.
    pub(crate) fn check_audit(&self) -> Result<(), Refused> {
        match self.audit.condition() {
            AuditCondition::Failed => Err((ReasonCode::ServerUnavailable, CANNOT_AUDIT.into())),
            AuditCondition::Good | AuditCondition::Behind => Ok(()),
        }
    }

    pub(crate) fn check_flapping(&self, client_id: &str, now: Time) -> Result<(), Refused> {
        let limit = self.settings.limits.flapping_connects;
        if !client_id.is_empty() && self.flapping.comes_too_often(client_id, limit, now) {
            return Err((ReasonCode::Banned, FLAPS.into()));
        }
        Ok(())
    }

    /// A will that could not be published is refused now, not when it is due.
    pub(crate) fn check_will(
        &self,
        connect: &Connect<'_>,
        principal: &Principal,
    ) -> Result<(), Refused> {
        let Some(will) = &connect.will else { return Ok(()) };
        if check_name(will.topic, &self.settings.topic_limits()).is_err() {
            return Err((ReasonCode::TopicNameInvalid, "Will Topic exceeds a topic limit".into()));
        }
        if !self.settings.knows_prefix(will.topic) {
            let (reason, why) = NoRoute::Prefix.refusal(&self.settings);
            return Err((reason, format!("Will Topic: {why}").into()));
        }
        if ReplyTopic::is_meant(will.topic) {
            return Err((ReasonCode::NotAuthorized, WILL_IS_NO_REPLY.into()));
        }
        let topic = principal.published(will.topic);
        if topic.len() > usize::from(u16::MAX) {
            return Err((ReasonCode::TopicNameInvalid, "Will Topic exceeds a topic limit".into()));
        }
        if will.qos > self.settings.maximum_qos {
            return Err((ReasonCode::QoSNotSupported, "Will QoS above Maximum QoS".into()));
        }
        if will.retain && !self.settings.retain_available {
            return Err((ReasonCode::RetainNotSupported, "retained messages are off".into()));
        }
        let asks_component = self.settings.agents.mcp_component_type;
        if asks_component && mcp::is_meant(will.topic) && component(connect).is_none() {
            return Err((ReasonCode::NotAuthorized, NO_COMPONENT.into()));
        }
        let is_mcp = self.settings.agents.mcp && mcp::is_meant(will.topic);
        if is_mcp && mcp::is_word(connect.client_id) {
            return Err((ReasonCode::NotAuthorized, IS_WORD.into()));
        }
        self.check_mcp_will(will)?;
        let decision = principal.authorize_message(&topic, will.qos, will.retain);
        if !decision.allowed {
            let why = format!("the Will Topic is not allowed: {}", decision.reason);
            return Err((ReasonCode::NotAuthorized, why.into()));
        }
        let is_asked = self.check_roles(principal, connect.client_id, &topic, will.payload);
        is_asked
            .map_err(|(reason, why)| (reason, format!("the will is not allowed: {why}").into()))?;
        let response = will.properties.text(P::ResponseTopic);
        if response.is_some_and(ReplyTopic::is_meant) {
            let why = "a will is no request: nobody would wait for answers below $reply/";
            return Err((ReasonCode::NotAuthorized, why.into()));
        }
        if let Some(response) = response.filter(|_| principal.is_restricted()) {
            let response = principal.mounted(response);
            let decision = principal.authorize(Action::Subscribe, &response);
            if !decision.allowed {
                let why = format!("the will's Response Topic is not allowed: {}", decision.reason);
                return Err((ReasonCode::NotAuthorized, why.into()));
            }
        }
        Ok(())
    }
}

/// Those of organisations that are kept apart are elsewhere, and nobody else comes there.
pub(crate) fn check_client_id(own: &str, principal: &Principal) -> Result<(), Refused> {
    if principal.may_be_called(own) {
        return Ok(());
    }
    let why = "a Client Identifier that begins with $org/ is that of an organisation's client, or \
        it is too long: choose another";
    Err((ReasonCode::ClientIdentifierNotValid, why.into()))
}

pub(crate) const FLAPS: &str = "this client identifier connects too often: banned for five minutes";
const WILL_IS_NO_REPLY: &str = "a will is no answer: its topic cannot be below $reply/";
