//! Calls of tools that fail here are answered, where others are refused by their acknowledgement:
//! the published client of MQTT.Agent waits for the answer in any case, and its process ends when
//! the acknowledgement of a call is an error.

use agentmq_agents::{CallError, CallErrorKind, ToolCall};
use agentmq_codec::{PropertyId as P, Publish, ReasonCode};
use agentmq_identity::{Action, Principal, own_client_id};
use agentmq_session::Time;

use crate::connection::ConnectionId;
use crate::handle_connect::Refused;
use crate::route::Traits;
use crate::router::Router;
use crate::source::Source;
use crate::tool_calls::{answer, call_id_of};

impl Router {
    /// Answers a call that was refused: false when it is none, or has no answer.
    pub(crate) fn reply_refusal(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        (reason, why): &Refused,
        now: Time,
    ) -> bool {
        let kind = match *reason {
            ReasonCode::QuotaExceeded => CallErrorKind::QuotaExceeded,
            ReasonCode::PayloadFormatInvalid => CallErrorKind::InvalidArguments,
            _ => CallErrorKind::Unauthorized,
        };
        self.is_tool_call(topic) && self.reply_error(id, publish, kind, why, now)
    }

    /// Answers a call that nobody is there to take; what its acknowledgement says then.
    #[cold]
    pub(crate) fn reply_unavailable(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        now: Time,
    ) -> ReasonCode {
        match self.reply_error(id, publish, CallErrorKind::Unavailable, NO_SERVER, now) {
            true => ReasonCode::Success,
            false => ReasonCode::NoMatchingSubscribers,
        }
    }

    /// A call, a card or MCP, which a client may publish: how it ends here, if it does.
    #[cold]
    pub(crate) fn check_agent_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        (topic, traits): (&str, Traits),
        call: Option<&ToolCall<'_>>,
        now: Time,
    ) -> Option<Option<ReasonCode>> {
        let refused = if traits.is_mcp {
            self.check_mcp_publish(id, publish, topic).err()?
        } else if publish.retain && self.is_others_card(id, topic, publish.payload) {
            return Some(self.take_in_vain(id, publish));
        } else if traits.is_tool_call {
            match self.check_tool_call(id, publish, call) {
                Ok(()) => self.check_arguments(topic, call?, now).err()?,
                Err(refused) => refused,
            }
        } else {
            return None;
        };
        self.audit_refused_publish(id, topic, refused.0, &refused.1);
        Some(self.refuse_call(id, publish, topic, &refused, now))
    }

    /// Nobody but the caller gets the answer: others would take it for one of who may publish
    /// there.
    fn reply_error(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        kind: CallErrorKind,
        why: &str,
        now: Time,
    ) -> bool {
        let Some(response) = publish.properties.text(P::ResponseTopic) else { return false };
        let mounted = self.mounted(id, response);
        let response = mounted.as_deref().unwrap_or(response);
        let Some(connection) = self.connection_mut(id) else { return false };
        let Some(caller) = connection.session() else { return false };
        if !connection.principal.authorize(Action::Subscribe, response).allowed {
            return false;
        }
        let correlation = publish.properties.binary(P::CorrelationData).unwrap_or_default();
        let call_id = call_id_of(publish.payload, correlation);
        let error = CallError { call_id: &call_id, kind, message: why };
        let message = answer(response, correlation, &error);
        let Ok(route) = self.route(response) else { return false };
        self.publish(&mut Source::of(&message, now), &route.only_to(caller));
        true
    }

    /// What a call says of who calls must be true: servers believe it, and answer where it says.
    /// Asked of who has proved who it is.
    fn check_tool_call(
        &self,
        id: ConnectionId,
        publish: &Publish<'_>,
        call: Option<&ToolCall<'_>>,
    ) -> Result<(), Refused> {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        let Some(connection) = connection.filter(|it| it.principal.claims().is_some()) else {
            return Ok(());
        };
        let Some(call) = call else {
            return Err((ReasonCode::PayloadFormatInvalid, NO_OBJECT.into()));
        };
        let session = connection.session().and_then(|index| self.sessions.get(index as usize));
        let client_id = session.map_or("", |it| own_client_id(&it.client_id));
        let principal = &connection.principal;
        if call.client.as_ref().is_some_and(|name| !is_called(principal, client_id, name)) {
            return Err((ReasonCode::NotAuthorized, OF_ANOTHER.into()));
        }
        let Some(response) = call.response_topic.as_deref() else { return Ok(()) };
        if publish.properties.text(P::ResponseTopic) == Some(response) {
            return Ok(()); // which is asked about in any case
        }
        let response = principal.mounted(response);
        let decision = principal.authorize(Action::Subscribe, &response);
        if decision.allowed {
            return Ok(());
        }
        let why = format!("response_topic of the call is not allowed: {}", decision.reason);
        Err((ReasonCode::NotAuthorized, why.into()))
    }
}

/// Whether somebody may call himself so: an agent by its `agent_id` alone, so that it is not taken
/// for the server or the user of that name.
fn is_called(principal: &Principal, client_id: &str, name: &str) -> bool {
    let Some(claims) = principal.claims() else { return true };
    if let Some(agent_id) = &claims.agent_id {
        return agent_id == name;
    }
    let known = [&claims.server_id, &claims.user_id];
    let is_claimed = known.into_iter().flatten().any(|known| known == name);
    is_claimed || name == client_id || principal.name() == Some(name)
}

const NO_SERVER: &str = "no server offers this tool now: look at its card for its status, or call \
    again when one is there";
const NO_OBJECT: &str = "a call is a JSON object with call_id and arguments";
const OF_ANOTHER: &str = "`client` of the call names another one: it is the agent_id of who calls";

#[cfg(test)]
mod tests {
    use agentmq_identity::Claims;

    use super::*;

    #[test]
    fn an_agent_is_called_by_its_agent_id_alone() {
        let mut without = Claims::default();
        without.server_id = Some("files".into());
        without.user_id = Some("ada".into());
        let mut claims = without.clone();
        claims.agent_id = Some("scout".into());
        for (name, as_agent, as_other) in [
            ("scout", true, false),
            ("files", false, true),
            ("ada", false, true),
            ("login", false, true),
            ("client-1", false, true),
            ("else", false, false),
        ] {
            let may = |claims: &Claims| {
                is_called(&Principal::verified("login", claims.clone()), "client-1", name)
            };
            assert_eq!((may(&claims), may(&without)), (as_agent, as_other), "{name}");
        }
        assert!(is_called(&Principal::named("login"), "client-1", "else"), "it has proved nothing");
    }
}
