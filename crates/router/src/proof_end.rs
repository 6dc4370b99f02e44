//! What a client has proved itself with may end while it is connected: it is told before, and then
//! it has to go. A new proof by AUTH keeps it (MQTT 5 §4.12.1).

use agentmq_codec::{QoS, ReasonCode};
use agentmq_identity::own_client_id;
use agentmq_session::{Message, Time};
use agentmq_topic::{TopicLimits, check_name};

use crate::connection::{ConnectionId, Phase};
use crate::router::Router;
use crate::timers::Due;

impl Router {
    /// The proof of a connection is good for so many seconds from now on; `None`: for ever.
    pub(crate) fn watch_proof(&mut self, id: ConnectionId, lasts_secs: Option<u64>, now: Time) {
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.phase != Phase::Connected {
            return;
        }
        let ends =
            lasts_secs.map_or(Time::NEVER, |secs| now.after_millis(secs.saturating_mul(1000)));
        let before = std::mem::replace(&mut connection.proof_ends, ends);
        let generation = connection.generation;
        self.forget_proof(id, generation, before);
        if ends != Time::NEVER {
            let warning = warning_at(ends);
            let first = if warning > now { warning } else { ends };
            self.timers.arm(first, Due::Proof(id.0, generation));
        }
    }

    /// Nothing is due any more of a proof that was to end at `ends`.
    pub(crate) fn forget_proof(&mut self, id: ConnectionId, generation: u32, ends: Time) {
        if ends != Time::NEVER {
            let due = Due::Proof(id.0, generation);
            self.timers.cancel(warning_at(ends), due);
            self.timers.cancel(ends, due);
        }
    }

    /// The proof of a connection ends, or will soon: then whoever listens is told.
    pub(crate) fn proof_due(&mut self, index: u32, generation: u32, now: Time) {
        let id = ConnectionId(index);
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.generation != generation || connection.phase != Phase::Connected {
            return;
        }
        let (ends, principal) = (connection.proof_ends, connection.principal.clone());
        let renewed = self.authenticator.lasts_secs(&principal);
        if renewed > 0 && now.after_millis(renewed.saturating_mul(1000)) > ends {
            return self.watch_proof(id, Some(renewed), now);
        }
        if ends > now {
            self.timers.arm(ends, Due::Proof(index, generation));
            return self.tell_end(id, ends.secs_from(now), now);
        }
        self.counters.proofs_ended += 1;
        self.disconnect(id, ReasonCode::NotAuthorized, ENDED, now);
    }

    /// Publishes that a client has so many seconds left to bring a new proof.
    fn tell_end(&mut self, id: ConnectionId, secs: u32, now: Time) {
        let Some((connection, session)) = self.connected(id) else { return };
        let client_id = own_client_id(&session.client_id);
        let topic = format!("$SYS/clients/{client_id}/expiring");
        let topic = connection.principal.mounted(&topic);
        let is_level = !client_id.contains('/');
        if is_level && check_name(&topic, &TopicLimits::default()).is_ok() {
            let text = secs.to_string();
            let message = Message::plain(&topic, text.as_bytes(), QoS::AtMostOnce, false);
            self.publish_message(message, now);
        }
    }
}

/// When those who listen are told that a proof will end.
fn warning_at(ends: Time) -> Time {
    Time::from_millis(ends.as_millis().saturating_sub(WARNING_MS))
}

const WARNING_MS: u64 = 30_000;
const ENDED: &str = "the token has expired, or what else let you in: connect again; who brings a \
    new token by AUTH before that stays connected";
