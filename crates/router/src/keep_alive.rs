//! Keep alive: what the server grants, and closing a connection that is silent for 1.5 times that.

use agentmq_codec::ReasonCode;
use agentmq_session::Time;

use crate::connection::{ConnectionId, Phase};
use crate::router::Router;
use crate::timers::Due;

impl Router {
    /// The shard could not read until now: keep alives count from here.
    pub fn listens_again(&mut self, now: Time) {
        self.listening_since = now;
    }

    /// The keep alive that the server wants instead of the one asked for (§3.2.2.3.14).
    pub(crate) fn effective_keep_alive(&self, asked: u16) -> u16 {
        let maximum = self.settings.limits.keep_alive_secs;
        match self.settings.server_keep_alive {
            0 if maximum == u16::MAX => asked,
            0 if asked == 0 => maximum,
            0 => asked.min(maximum),
            wanted => wanted,
        }
    }

    /// Begins to watch a connection that has a keep alive. A packet moves no timer: the deadline
    /// looks at the last packet when it is due.
    pub(crate) fn watch_keep_alive(&mut self, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.keep_alive_ms == 0 {
            return;
        }
        let due = Due::KeepAlive(id.0, connection.generation);
        let deadline = connection.deadline();
        connection.keep_alive_at = deadline;
        self.timers.arm(deadline, due);
    }

    /// Nothing came for 1.5 keep alives, or something came meanwhile [MQTT-3.1.2-22].
    pub(crate) fn keep_alive_due(&mut self, index: u32, generation: u32, now: Time) {
        let id = ConnectionId(index);
        let listening_since = self.listening_since;
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.generation != generation || connection.phase == Phase::Closing {
            return;
        }
        let silent = u64::from(connection.keep_alive_ms);
        let deadline = connection.deadline().max(listening_since.after_millis(silent));
        if deadline > now {
            connection.keep_alive_at = deadline;
            self.timers.arm(deadline, Due::KeepAlive(index, generation));
            return;
        }
        self.counters.keep_alive_timeouts += 1;
        self.disconnect(id, ReasonCode::KeepAliveTimeout, "nothing came for 1.5 keep alives", now);
    }
}
