//! The end of a socket: in order, with a moment for the peer to read the last packet, or at once.

use agentmq_router::ConnectionId;

use crate::conn::Phase;
use crate::deadlines::Deadline;
use crate::shard::Shard;

impl Shard {
    /// Everything is written: shuts the sending side and waits a moment for the peer to close, so
    /// that it reads our last packet before a reset could destroy it.
    pub(crate) fn finish(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Connecting {
            self.connecting_now -= 1;
        }
        conn.phase = Phase::Lingering;
        self.close_in_router(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.write_failed {
            return self.drop_conn(key);
        }
        conn.shutdown();
        conn.partial = Vec::new();
        conn.paused_until = None; // what is left unread would reset the connection
        let (at, generation) = (self.now.after_millis(LINGER_MS), conn.generation);
        self.lingering.push(Deadline { at, conn: key, generation });
        // What has arrived meanwhile was announced already.
        self.read(key, true);
    }

    /// The socket is gone, or is to go at once.
    pub(crate) fn drop_conn(&mut self, key: usize) {
        let Some(mut conn) = self.conns.remove(key) else { return };
        self.leave_door(&conn);
        if conn.phase == Phase::Connecting {
            self.connecting_now -= 1;
        }
        if conn.phase != Phase::Lingering {
            conn.shutdown();
            self.close_in_router(key);
        }
    }

    /// Frees the connection's number, which the next one gets: a second time after a panic, which
    /// may have come before that.
    fn close_in_router(&mut self, key: usize) {
        let id = ConnectionId(key as u32);
        let close = |shard: &mut Self| {
            shard.guarded("the end of a connection", |router, now| router.closed(id, now))
        };
        if close(self).is_none() {
            close(self);
        }
        self.forget_undecided(key);
    }
}

/// Milliseconds that a closed connection may take to close its side.
const LINGER_MS: u64 = 1_000;
