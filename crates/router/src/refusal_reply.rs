//! Calls that are refused by an answer, and not by their acknowledgement: the published client of
//! MQTT.Agent waits for the answer in any case, and its process ends when the acknowledgement of a
//! call is an error.

use agentmq_codec::{PropertiesBuf, Property, PropertyId as P, Publish, QoS, ReasonCode};
use agentmq_identity::{Action, seen_by_its_own};
use agentmq_session::{Message, MessageParts, Time};
use agentmq_topic::matches;
use serde_json::json;

use crate::connection::ConnectionId;
use crate::fan_out::Source;
use crate::handle_connect::Refused;
use crate::router::Router;

impl Router {
    /// Answers a call that was refused, where calls are answered so: false when it has no answer.
    /// Nobody but the caller gets it: others would take it for one of who may publish there.
    pub(crate) fn reply_refusal(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        (reason, why): &Refused,
        now: Time,
    ) -> bool {
        let own = seen_by_its_own(topic);
        if !self.settings.refusal_replies.iter().any(|filter| matches(filter, own)) {
            return false;
        }
        let Some(response) = publish.properties.text(P::ResponseTopic) else { return false };
        let mounted = self.mounted(id, response);
        let response = mounted.as_deref().unwrap_or(response);
        let Some(connection) = self.connection_mut(id) else { return false };
        let Some(caller) = connection.session() else { return false };
        if !connection.principal.authorize(Action::Subscribe, response).allowed {
            return false;
        }
        let is_quota = *reason == ReasonCode::QuotaExceeded;
        let kind = if is_quota { "quota_exceeded" } else { "unauthorized" };
        let correlation = publish.properties.binary(P::CorrelationData).unwrap_or_default();
        let payload = json!({
            "call_id": String::from_utf8_lossy(correlation),
            "status": "error",
            "error": { "type": kind, "message": why },
        });
        let payload = payload.to_string();
        let properties =
            PropertiesBuf::new().with(Property::Binary(P::CorrelationData, correlation));
        let message = Message::new(&MessageParts {
            topic: response,
            payload: payload.as_bytes(),
            properties: properties.view(),
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
        });
        let Ok(route) = self.route(response) else { return false };
        self.publish(&mut Source::of(&message, now), &route.only_to(caller));
        true
    }
}
