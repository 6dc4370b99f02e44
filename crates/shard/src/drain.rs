//! Shutting down without losing what can still be said.

use agentmq_codec::ReasonCode;
use agentmq_router::ConnectionId;

use crate::shard::Shard;

impl Shard {
    /// Tells every client that the server shuts down (0x8B) and accepts no more.
    pub(crate) fn begin_drain(&mut self) {
        if self.draining_until.is_some() {
            return;
        }
        self.draining_until = Some(self.now.after_millis(DRAIN_MS));
        let open: Vec<ConnectionId> = self.router.connections().collect();
        tracing::info!(shard = self.place.0, connections = open.len(), "draining");
        for id in open {
            self.router.evict(
                id,
                ReasonCode::ServerShuttingDown,
                "the server shuts down",
                self.now,
            );
        }
        self.flush_all();
    }

    /// Whether everybody has been told, or the time for it is over.
    pub(crate) fn is_drained(&self) -> bool {
        let Some(until) = self.draining_until else { return false };
        self.now >= until || self.router.connections().next().is_none()
    }
}

/// Milliseconds that the last packets may take.
const DRAIN_MS: u64 = 2_000;
