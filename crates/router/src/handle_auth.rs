//! AUTH: enhanced authentication and re-authentication (MQTT 5 §4.12).

use agentmq_codec::{Auth, Connect, PropertiesBuf, Property, PropertyId as P, ReasonCode};
use agentmq_identity::{Acceptance, Challenge, Credentials, Outcome, own_client_id};
use agentmq_session::{Attempt, AuditCondition, Deed, Gates, Time};

use crate::audit::CANNOT_AUDIT;
use crate::connection::{AuthState, ConnectionId, Phase, property_limits};
use crate::judging_again::{RENAMED, is_renamed};
use crate::router::Router;

impl Router {
    pub(crate) fn handle_auth(&mut self, id: ConnectionId, auth: &Auth<'_>, now: Time) {
        let Some(connection) = self.connection_mut(id) else { return };
        let phase = connection.phase;
        let method = auth.properties.text(P::AuthenticationMethod);
        let data = auth.properties.binary(P::AuthenticationData).unwrap_or_default();
        let is_same = |state: &&mut Box<AuthState>| {
            method.is_some() && state.method.as_deref() == method && !state.awaits_verdict
        };
        let Some(state) = connection.auth.as_mut().filter(is_same) else {
            // [MQTT-4.12.0-6, 4.12.1-1]
            let what = "AUTH with another method than CONNECT, or none there";
            return self.refuse(id, ReasonCode::ProtocolError, what, now);
        };
        match (auth.reason, state.exchange.take()) {
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let waiting = state.connect.take();
                let outcome = exchange.step(data);
                match waiting {
                    Some(body) => self.go_on_with_connect(id, body, outcome, now),
                    None => self.reauthenticated(id, outcome, now),
                }
            }
            (ReasonCode::ReAuthenticate, None) if phase == Phase::Connected => {
                let method = state.method.clone();
                let source = connection.source;
                if !state.takes_another(now) {
                    let what = "more than ten authentications in a minute";
                    return self.refuse(id, ReasonCode::QuotaExceeded, what, now);
                }
                let client_id = self.client_id(id).cloned();
                let credentials = Credentials {
                    client_id: client_id.as_deref().map_or("", own_client_id),
                    method: method.as_deref().map(|method| (method, data)),
                    source,
                    ..Credentials::default()
                };
                let outcome = self.authenticator.authenticate(&credentials);
                self.reauthenticated(id, outcome, now);
            }
            _ => self.refuse(id, ReasonCode::ProtocolError, "AUTH out of turn", now),
        }
    }

    /// Sends AUTH 0x18 and waits for the client's answer.
    pub(crate) fn challenge(&mut self, id: ConnectionId, challenge: Challenge, now: Time) {
        let Some(state) = self.connection_mut(id).and_then(|it| it.auth.as_mut()) else { return };
        state.exchange = Some(challenge.exchange);
        self.send_auth(id, ReasonCode::ContinueAuthentication, Some(&challenge.data), now);
    }

    /// Sends AUTH, which cannot be left out: a client that takes no packet of its size goes
    /// [MQTT-3.1.2-24].
    fn send_auth(&mut self, id: ConnectionId, reason: ReasonCode, data: Option<&[u8]>, now: Time) {
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(state) = connection.auth.as_ref() else { return };
        let properties = auth_properties(state.method.as_deref().unwrap_or_default(), data);
        let mut packet = Vec::new();
        Auth { reason, properties: properties.view() }.encode(&mut packet);
        if packet.len() > connection.max_packet as usize {
            let why = "Maximum Packet Size has no room for AUTH";
            return self.disconnect(id, ReasonCode::PacketTooLarge, why, now);
        }
        self.write(id, |_, out| out.extend_from_slice(&packet));
    }

    pub(crate) fn go_on_with_connect(
        &mut self,
        id: ConnectionId,
        body: Box<[u8]>,
        outcome: Outcome,
        now: Time,
    ) {
        let limits = property_limits(&self.settings.limits);
        let Ok(connect) = Connect::decode(&body, &limits) else { return };
        if matches!(outcome, Outcome::Continue(_) | Outcome::Later(_))
            && let Some(state) = self.connection_mut(id).and_then(|it| it.auth.as_mut())
        {
            state.connect = Some(body.clone());
        }
        // Others may have come while the exchange went on.
        if matches!(outcome, Outcome::Accepted(..))
            && let Err((reason, why)) = self.check_connect(&connect)
        {
            return self.refuse_connect(id, connect.client_id, reason, &why);
        }
        self.connect_outcome(id, &connect, outcome, now);
    }

    pub(crate) fn reauthenticated(&mut self, id: ConnectionId, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Continue(challenge) => self.challenge(id, challenge, now),
            Outcome::Later(work) => self.await_verdict(id, work),
            Outcome::Refused(refusal) => {
                self.audit(
                    id,
                    Deed::Refused {
                        attempt: Attempt::Authenticate,
                        topic: "",
                        reason: refusal.reason,
                        why: &refusal.why,
                    },
                );
                self.disconnect(id, ending_reason(refusal.reason), &refusal.why, now);
            }
            Outcome::Accepted(Acceptance { principal, data, lasts_secs }) => {
                if self.connection_mut(id).is_some_and(|it| !it.principal.is_same(&principal)) {
                    // [MQTT-4.12.1-1] for the method; that it is still the same one is ours.
                    let what = "AUTH of somebody else than CONNECT: connect again";
                    return self.refuse(id, ReasonCode::ProtocolError, what, now);
                }
                if self.audit.condition() == AuditCondition::Failed {
                    return self.disconnect(id, ReasonCode::ServerBusy, CANNOT_AUDIT, now);
                }
                if self.connected(id).is_some_and(|(_, it)| is_renamed(it, &principal)) {
                    return self.disconnect(id, ReasonCode::NotAuthorized, RENAMED, now);
                }
                self.acts_as(id, &principal);
                self.audit(id, Deed::Authenticated);
                let audit = self.audited;
                if let Some(connection) = self.connection_mut(id) {
                    let before = connection.opens_at.as_deref().copied().unwrap_or_default();
                    connection.opens_at = Gates { audit, ..before }.boxed();
                }
                self.watch_proof(id, lasts_secs, now);
                self.send_auth(id, ReasonCode::Success, data.as_deref(), now);
            }
        }
    }
}

/// The reason of a CONNACK, as DISCONNECT may have it [MQTT-3.14.2-1].
fn ending_reason(reason: ReasonCode) -> ReasonCode {
    match reason {
        ReasonCode::BadUserNameOrPassword
        | ReasonCode::ClientIdentifierNotValid
        | ReasonCode::Banned => ReasonCode::NotAuthorized,
        ReasonCode::ServerUnavailable => ReasonCode::ServerBusy,
        other => other,
    }
}

fn auth_properties(method: &str, data: Option<&[u8]>) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::Text(P::AuthenticationMethod, method));
    if let Some(data) = data {
        properties.push(Property::Binary(P::AuthenticationData, data));
    }
    properties
}
