//! How a connection ends: by the client, by the standard's rules, or by the broker's own.

use agentmq_codec::{Disconnect, ReasonCode};
use agentmq_session::Time;

use crate::connection::{ConnectionId, Phase};
use crate::reason_string::reason_string;
use crate::router::Router;
use crate::timers::Due;

impl Router {
    /// The stream of a connection cannot be cut into packets: ends it with `reason`.
    pub fn malformed(&mut self, id: ConnectionId, reason: ReasonCode, what: &str, now: Time) {
        self.refuse(id, reason, what, now);
    }

    /// The shard closes a connection for a reason of its own: a client that does not read, a
    /// broker that shuts down.
    pub fn evict(&mut self, id: ConnectionId, reason: ReasonCode, why: &str, now: Time) {
        if reason == ReasonCode::QuotaExceeded {
            self.counters.slow_consumers += 1;
        }
        self.disconnect(id, reason, why, now);
    }

    /// Ends a connection whose client broke the protocol [MQTT-4.13.1-1].
    pub(crate) fn refuse(&mut self, id: ConnectionId, reason: ReasonCode, what: &str, now: Time) {
        self.counters.protocol_errors += 1;
        let client_id = self.client_id(id).cloned();
        self.note_refusal(id, client_id.as_deref().unwrap_or_default(), reason, what, false);
        self.disconnect(id, reason, what, now);
    }

    /// Sends DISCONNECT (version 5) and closes; the will is sent.
    pub(crate) fn disconnect(
        &mut self,
        id: ConnectionId,
        reason: ReasonCode,
        why: &str,
        now: Time,
    ) {
        if self
            .connection_mut(id)
            .is_some_and(|it| it.version.is_v5() && it.phase == Phase::Authenticating)
        {
            // Before CONNACK there is no DISCONNECT to send [MQTT-3.2.0-1], and CONNACK has another
            // word for it (§3.2.2.2).
            let reason = match reason {
                ReasonCode::ServerShuttingDown => ReasonCode::ServerUnavailable,
                other => other,
            };
            return self.refuse_connect(id, "", reason, why);
        }
        if let Some(connection) = self.dirty_connection(id) {
            let may_tell = connection.version.is_v5() && connection.phase == Phase::Connected;
            connection.phase = Phase::Closing;
            if may_tell {
                let properties = reason_string(why, 1, connection.max_packet);
                let packet = Disconnect { reason, properties: properties.view() };
                self.write(id, |version, out| packet.encode(version, out));
            }
        }
        self.audit_end(id, reason, why);
        self.detach(id, true, now);
    }

    /// The client will send no more, but may still read. For its session that is the end of the
    /// connection; what has been acknowledged goes out, with [`Self::is_closing`] behind it.
    pub fn half_closed(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.phase = match connection.phase {
            Phase::Connected => Phase::HalfClosed,
            Phase::Authenticating => Phase::Closing, // there is nobody to go on with
            ending => ending,
        };
        self.audit_end(id, ReasonCode::UnspecifiedError, GONE);
        self.detach(id, true, now);
    }

    /// The socket is gone. Frees the connection's number; its session, if any, goes on by itself
    /// or ends, and its will is published by the standard's rules.
    pub fn closed(&mut self, id: ConnectionId, now: Time) {
        self.audit_end(id, ReasonCode::UnspecifiedError, GONE);
        self.detach(id, true, now);
        if let Some(slot) = self.connections.get_mut(id.0 as usize)
            && let Some(connection) = slot.take()
        {
            let due = Due::KeepAlive(id.0, connection.generation);
            self.timers.cancel(connection.keep_alive_at, due);
            self.forget_proof(id, connection.generation, connection.proof_ends);
        }
    }

    /// Whether the socket is to be closed once its outbox is written.
    pub fn is_closing(&self, id: ConnectionId) -> bool {
        self.connections.get(id.0 as usize).and_then(Option::as_ref).is_none_or(|connection| {
            match connection.phase {
                Phase::Closing => true,
                Phase::HalfClosed => connection.acks.is_empty(),
                Phase::Authenticating | Phase::Connected => false,
            }
        })
    }
}

const GONE: &str = "the connection ended without DISCONNECT";
