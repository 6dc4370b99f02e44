//! DISCONNECT from a client.

use agentmq_codec::{Disconnect, PropertyId, ReasonCode};
use agentmq_session::Time;

use crate::connection::{ConnectionId, Phase};
use crate::router::Router;

impl Router {
    pub(crate) fn handle_disconnect(
        &mut self,
        id: ConnectionId,
        packet: &Disconnect<'_>,
        now: Time,
    ) {
        let maximum = self.settings.limits.session_expiry_secs;
        let expiry = packet.properties.integer(PropertyId::SessionExpiryInterval);
        if let Some(expiry) = expiry
            && let Some((_, session)) = self.connected(id)
        {
            if session.expiry == 0 && expiry != 0 {
                let what = "Session Expiry Interval raised from 0 by DISCONNECT";
                return self.refuse(id, ReasonCode::ProtocolError, what, now);
            }
            session.expiry = expiry.min(maximum);
        }
        if expiry.is_none()
            && let Some((_, session)) = self.connected(id)
            && session.is_lent
        {
            session.expiry = 0; // it leaves for good, as it would have it
        }
        let normal = packet.reason == ReasonCode::NORMAL_DISCONNECTION;
        if let Some(connection) = self.dirty_connection(id) {
            connection.phase = Phase::Closing;
        }
        // [MQTT-3.1.2-10, 3.14.4-3]: only a normal disconnection takes the will back.
        self.audit_end(id, packet.reason, "");
        self.detach(id, !normal, now);
    }
}
