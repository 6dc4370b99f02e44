//! Log lines about clients that are refused or closed, with their addresses.

use agentmq_router::{ConnectionId, Refusal};

use crate::shard::Shard;

impl Shard {
    /// Writes what has come up, while the connections still know where they come from.
    pub(crate) fn log_refusals(&mut self) {
        for refusal in self.router.take_refusals() {
            let peer = self.peer(refusal.connection);
            let Refusal { client_id: client, reason, why, is_connect, .. } = refusal;
            if is_connect {
                tracing::info!(%peer, ?client, %reason, "refused a CONNECT: {why}");
            } else {
                tracing::info!(%peer, ?client, %reason, "closed a connection: {why}");
            }
        }
    }

    /// Says how many lines were left out since this was last asked.
    pub(crate) fn log_more_refusals(&mut self) {
        let more = self.router.renew_refusal_log();
        if more > 0 {
            tracing::info!(
                shard = self.place.0,
                "… and {more} more clients refused, closed or kept waiting (limits.refusal_lines)"
            );
        }
    }

    /// Where a connection comes from.
    pub(crate) fn peer(&self, id: ConnectionId) -> String {
        let conn = self.conns.get(id.0 as usize);
        conn.map_or_else(|| "already gone".to_owned(), |conn| conn.link.peer().to_string())
    }
}
