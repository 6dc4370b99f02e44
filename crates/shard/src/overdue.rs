//! Connections that took too long: to say CONNECT, to close, to read; and those that may go on.

use agentmq_codec::ReasonCode;
use agentmq_router::ConnectionId;

use crate::conn::Phase;
use crate::deadlines::Deadline;
use crate::shard::Shard;

impl Shard {
    /// Connections that took too long.
    pub(crate) fn deadlines(&mut self) {
        while let Some(due) = self.connecting.pop(self.now) {
            if self.is_connecting(due) {
                if self.router.takes_refusal_line() {
                    let peer = self.peer(ConnectionId(due.conn as u32));
                    tracing::info!(%peer, "closed a connection: no CONNECT in connect_timeout_ms");
                }
                self.drop_conn(due.conn);
            }
        }
        while let Some(due) = self.lingering.pop(self.now) {
            if self.is_in(due, Phase::Lingering) {
                self.drop_conn(due.conn);
            }
        }
        while let Some(due) = self.paused.pop(self.now) {
            self.resume(due);
        }
        while let Some(due) = self.blocked.pop(self.now) {
            self.blocked_due(due);
        }
    }

    /// A client that has read nothing for as long as it may.
    fn blocked_due(&mut self, due: Deadline) {
        if !self.is_in(due, Phase::Open) {
            return;
        }
        let Some(since) = self.conns.get(due.conn).and_then(|conn| conn.blocked_since) else {
            return;
        };
        let timeout = u64::from(self.settings.limits.write_blocked_ms);
        if since.after_millis(timeout) > self.now {
            // It has read something since this deadline was set, and is blocked again.
            self.blocked.push(Deadline { at: self.now.after_millis(timeout), ..due });
            return;
        }
        let id = ConnectionId(due.conn as u32);
        if self.router.takes_refusal_line() {
            let (peer, client) = (self.peer(id), self.router.client_id(id));
            let client = client.map(AsRef::as_ref).unwrap_or_default();
            tracing::warn!(%peer, client, "closed a slow consumer: limits.write_blocked_ms");
        }
        let why = "slow consumer: nothing was read for write_blocked_ms";
        self.router.evict(id, ReasonCode::QuotaExceeded, why, self.now);
        // Its socket is full: the DISCONNECT goes out if there is room for it now, then it closes.
        self.flush(id);
        self.drop_conn(due.conn);
    }

    /// Whether no CONNECT has come yet, or its authentication goes on.
    pub(crate) fn is_connecting(&self, due: Deadline) -> bool {
        let authenticates = || self.router.is_authenticating(ConnectionId(due.conn as u32));
        self.is_in(due, Phase::Connecting) || self.is_in(due, Phase::Open) && authenticates()
    }

    fn is_in(&self, due: Deadline, phase: Phase) -> bool {
        self.conns
            .get(due.conn)
            .is_some_and(|conn| conn.generation == due.generation && conn.phase == phase)
    }
}
