//! What the audit log is told: who came and went, what was refused, and what happens on the topics
//! that it follows. What answers any of that waits until it is safe there.

use agentmq_codec::{Publish, QoS, ReasonCode};
use agentmq_identity::{Principal, own_client_id, seen_by_its_own};
use agentmq_session::{Attempt, AuditCondition, AuditEvent, AuditTrail, Deed, Message};
use agentmq_topic::{Subscription, matches, overlaps};

use crate::connection::ConnectionId;
use crate::router::Router;
use crate::settings::Settings;

impl Settings {
    /// Whether the audit log follows a topic.
    pub(crate) fn audits(&self, topic: &str) -> bool {
        self.audit_topics.iter().any(|filter| matches(filter, topic))
    }

    /// Whether it follows any topic of a filter, by the name that this has in the broker.
    pub(crate) fn audits_filter(&self, filter: &str) -> bool {
        let own = seen_by_its_own(filter);
        // One that means the topics of organisations, and whatever they are.
        let is_all = own == filter && filter.starts_with("$org");
        self.audit_topics.iter().any(|audited| is_all || overlaps(audited, own))
    }
}

impl Router {
    /// Tells this audit log from now on.
    pub fn tell_audit(&mut self, trail: Box<dyn AuditTrail>) {
        self.audit = trail;
    }

    /// Whether the audit log takes nothing about messages and subscriptions: those that must be in
    /// it are refused.
    pub(crate) fn cannot_audit(&self) -> bool {
        self.audit.condition() != AuditCondition::Good
    }

    /// Somebody is let in, as `principal`.
    pub(crate) fn audit_as(
        &mut self,
        id: ConnectionId,
        client_id: &str,
        principal: &Principal,
        deed: Deed<'_>,
    ) {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        let source = connection.and_then(|it| it.source);
        let ticket = self.audit.record(&AuditEvent { client_id, principal, source, deed });
        self.audited = self.audited.max(ticket);
    }

    /// The client of a connection has done something.
    pub(crate) fn audit(&mut self, id: ConnectionId, deed: Deed<'_>) {
        let Some(connection) = self.connections.get(id.0 as usize).and_then(Option::as_ref) else {
            return;
        };
        let session = connection.session().and_then(|index| self.sessions.get(index as usize));
        let event = AuditEvent {
            client_id: session.map_or("", |it| own_client_id(&it.client_id)),
            principal: &connection.principal,
            source: connection.source,
            deed,
        };
        let ticket = self.audit.record(&event);
        self.audited = self.audited.max(ticket);
    }

    /// A connection loses its session: with the code of the DISCONNECT that one of both has sent.
    pub(crate) fn audit_end(&mut self, id: ConnectionId, reason: ReasonCode, why: &str) {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        if connection.is_some_and(|it| it.session().is_some()) {
            self.audit(id, Deed::Disconnected { reason, why });
        }
    }

    /// Somebody is not let in, who says that he is whoever the connection acts as so far.
    pub(crate) fn audit_refused_connect(
        &mut self,
        id: ConnectionId,
        client_id: &str,
        reason: ReasonCode,
        why: &str,
    ) {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        let claimed = connection.map_or(Principal::ANONYMOUS, |it| it.principal.clone());
        let deed = Deed::Refused { attempt: Attempt::Connect, topic: "", reason, why };
        self.audit_as(id, client_id, &claimed, deed);
    }

    /// A will is sent to a topic that the log follows: false if it cannot be put down.
    pub(crate) fn audit_will(
        &mut self,
        client_id: &str,
        principal: &Principal,
        will: &Message,
    ) -> bool {
        if self.cannot_audit() {
            return false;
        }
        let (qos, retain, bytes) = (will.qos(), will.retain(), will.payload().len());
        let topic = principal.seen(will.topic());
        let client_id = own_client_id(client_id);
        let deed = Deed::Published { topic, qos, retain, bytes, is_will: true };
        self.audit.record(&AuditEvent { client_id, principal, source: None, deed });
        true
    }

    /// A will is not sent: its client may not publish there any more.
    pub(crate) fn audit_refused_will(
        &mut self,
        client_id: &str,
        principal: &Principal,
        topic: &str,
    ) {
        let (attempt, reason) = (Attempt::Publish, ReasonCode::NotAuthorized);
        let (topic, why) = (principal.seen(topic), "the will may not be published there any more");
        let deed = Deed::Refused { attempt, topic, reason, why };
        let client_id = own_client_id(client_id);
        self.audit.record(&AuditEvent { client_id, principal, source: None, deed });
    }

    pub(crate) fn audit_refused_publish(
        &mut self,
        id: ConnectionId,
        topic: &str,
        reason: ReasonCode,
        why: &str,
    ) {
        let topic = self.seen(id, topic);
        self.audit(id, Deed::Refused { attempt: Attempt::Publish, topic, reason, why });
    }

    pub(crate) fn audit_publish(&mut self, id: ConnectionId, publish: &Publish<'_>, topic: &str) {
        let topic = self.seen(id, topic);
        let (qos, retain, bytes) = (publish.qos, publish.retain, publish.payload.len());
        self.audit(id, Deed::Published { topic, qos, retain, bytes, is_will: false });
    }

    /// What a client calls a topic.
    fn seen<'t>(&self, id: ConnectionId, topic: &'t str) -> &'t str {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        connection.map_or(topic, |it| it.principal.seen(topic))
    }

    /// A subscription was granted, with `$share` in `text` if it has it.
    pub(crate) fn audit_subscribed(&mut self, id: ConnectionId, text: &str, qos: QoS) {
        if self.settings.audit_topics.is_empty() {
            return;
        }
        let limits = self.settings.topic_limits();
        let filter = Subscription::parse(text, &limits).map_or(text, |it| it.filter);
        if self.settings.audits_filter(filter) {
            self.audit(id, Deed::Subscribed { filter: text, qos });
        }
    }

    pub(crate) fn audit_refused_subscribe(
        &mut self,
        id: ConnectionId,
        filter: &str,
        reason: ReasonCode,
        why: &str,
    ) {
        let (attempt, topic) = (Attempt::Subscribe, filter);
        self.audit(id, Deed::Refused { attempt, topic, reason, why });
    }
}

/// To whom something is refused that must be in the audit log.
pub(crate) const CANNOT_AUDIT: &str = "the audit log of this server cannot be written: try again \
    later; who runs it finds the reason in its log";
