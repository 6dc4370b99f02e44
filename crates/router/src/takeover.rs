//! Takeover: a client identifier connects again while its session has a connection (0x8E).

use agentmq_codec::{Disconnect, ReasonCode};
use agentmq_identity::Principal;
use agentmq_session::{Ticket, Time};

use crate::connection::{ConnectionId, NO_SESSION, Phase};
use crate::reason_string::reason_string;
use crate::router::Router;

impl Router {
    /// Ends what an earlier connection or session of this client identifier has: the other
    /// connection gets 0x8E [MQTT-3.1.4-3], a clean start ends the session [MQTT-3.1.2-4]. So does
    /// a client of another name: what waits in a session is for whom it was queued. Answers the
    /// position of the mail behind which all of that is safe.
    pub(crate) fn take_over(
        &mut self,
        client_id: &str,
        clean_start: bool,
        principal: &Principal,
        now: Time,
    ) -> Ticket {
        let Some(&index) = self.by_client.get(client_id) else { return Ticket::default() };
        let Some(session) = self.sessions.get_mut(index as usize) else {
            return Ticket::default();
        };
        let is_same = session.principal.is_same(principal);
        let goes_on = session.is_persistent() && !clean_start && is_same;
        if let Some(old) = session.connection {
            self.audit_end(ConnectionId(old), ReasonCode::SessionTakenOver, TAKEN_OVER);
        }
        let Some(session) = self.sessions.get_mut(index as usize) else {
            return Ticket::default();
        };
        if let Some(old) = session.connection.take() {
            self.counters.dropped_offline += session.disconnect(self.settings.queue_qos0) as u64;
            self.counters.sessions_taken_over += 1;
            self.counters.connections_now -= 1;
            if let Some(connection) = self.dirty_connection(ConnectionId(old)) {
                connection.phase = Phase::Closing;
                connection.session = NO_SESSION;
                if connection.version.is_v5() {
                    let (reason, why) = (ReasonCode::SessionTakenOver, TAKEN_OVER);
                    let properties = reason_string(why, 1, connection.max_packet);
                    let packet = Disconnect { reason, properties: properties.view() };
                    self.write(ConnectionId(old), |version, out| packet.encode(version, out));
                }
            }
            let session = self.sessions.get(index as usize);
            let delayed = session.and_then(|it| it.will.as_ref()).is_some_and(|it| it.delay > 0);
            if goes_on && !delayed {
                self.send_will(index, now);
            }
        }
        if !goes_on {
            return self.end_session(index, now);
        }
        // The client is back before its will was due [MQTT-3.1.3-9].
        self.set_will(index, None);
        let Some(session) = self.sessions.get(index as usize) else { return Ticket::default() };
        session.durable.as_ref().map(|durable| durable.posted).unwrap_or_default()
    }
}

const TAKEN_OVER: &str = "another connection uses this client identifier now: if that is another \
    client, give each its own";
