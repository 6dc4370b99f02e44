//! How much a client may publish in a second; beyond it its socket is not read until the next one.

use agentmq_session::Time;

use crate::connection::ConnectionId;
use crate::router::Router;

impl Router {
    /// Counts a publication.
    pub(crate) fn count_publish(&mut self, id: ConnectionId, now: Time) {
        if self.settings.limits.publishes_per_second == 0 {
            return;
        }
        if let Some(connection) = self.connection_mut(id) {
            let second = second_of(now);
            if connection.second != second {
                (connection.second, connection.publishes) = (second, 0);
            }
            connection.publishes += 1;
        }
    }

    /// Until when a connection's socket is not to be read, because its client has published as much
    /// as it may in a second.
    pub fn paused_until(&self, id: ConnectionId, now: Time) -> Option<Time> {
        let limit = self.settings.limits.publishes_per_second;
        if limit == 0 {
            return None;
        }
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        let is_over = connection.second == second_of(now) && connection.publishes >= limit;
        is_over.then(|| Time::from_millis((now.as_millis() / 1000 + 1) * 1000))
    }
}

/// The second that publications are counted in.
fn second_of(now: Time) -> u32 {
    (now.as_millis() / 1000) as u32
}
