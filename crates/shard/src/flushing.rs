//! From outboxes to sockets, once a turn.

use std::io::{self, IoSlice};

use agentmq_codec::ReasonCode;
use agentmq_router::ConnectionId;

use crate::conn::Phase;
use crate::deadlines::Deadline;
use crate::event_loop::Shard;
use crate::isolation::guard_link;

impl Shard {
    /// Writes to every connection that got something in this turn. A queue that stopped for its
    /// outbox may go on once; what is still left waits for the next turn, so that one long queue
    /// does not hold up everybody.
    pub(crate) fn flush_all(&mut self) {
        for _ in 0..ROUNDS {
            let mut list = std::mem::take(&mut self.dirty);
            if list.is_empty() {
                self.router.dirty(&mut list);
            }
            if list.is_empty() {
                self.dirty = list;
                return;
            }
            for id in list.drain(..) {
                self.flush(id);
            }
            self.dirty = list;
        }
        let mut list = std::mem::take(&mut self.dirty);
        self.router.dirty(&mut list);
        self.dirty = list;
    }

    /// The socket takes bytes again.
    pub(crate) fn writable(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.link.wants_write() && guard_link(|| conn.link.flush()).is_err() {
            conn.write_failed = true;
        }
        if conn.blocked_since.is_some() || conn.phase == Phase::Open {
            self.flush(ConnectionId(key as u32));
        }
    }

    /// Writes one connection's outbox as far as its socket takes it.
    fn flush(&mut self, id: ConnectionId) {
        let key = id.0 as usize;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Lingering {
            return;
        }
        let Some(outbox) = self.router.outbox(id) else { return };
        let (mut blocked, waiting) = (false, outbox.len());
        while !outbox.is_empty() && !conn.write_failed {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = outbox.slices(&mut slices);
            match guard_link(|| conn.link.write(&slices[..used])) {
                Ok(written) => {
                    conn.blocked_since = None;
                    outbox.consume(written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    blocked = true;
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "writing to a connection failed");
                    conn.write_failed = true;
                }
            }
        }
        let written = waiting - outbox.len();
        if conn.write_failed {
            outbox.clear(); // what it sent before it went is still read
        }
        let is_empty = outbox.is_empty();
        if blocked && conn.blocked_since.is_none() && !conn.link.is_handshaking() {
            conn.blocked_since = Some(self.now);
            let timeout = u64::from(self.settings.limits.write_blocked_ms);
            let (at, generation) = (self.now.after_millis(timeout), conn.generation);
            self.blocked.push(Deadline { at, conn: key, generation });
        }
        if self.guarded("a queue", |router, now| router.flushed(id, written, now)).is_none() {
            return self.drop_conn(key);
        }
        if is_empty && self.router.is_closing(id) {
            self.finish(key);
        }
    }

    /// Everything is written: shuts the sending side and waits a moment for the peer to close, so
    /// that it reads our last packet before a reset could destroy it.
    fn finish(&mut self, key: usize) {
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
    }

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

/// Slices that one write takes.
const SLICES: usize = 64;
/// Writes per connection and turn.
const ROUNDS: usize = 2;
/// Milliseconds that a closed connection may take to close its side.
const LINGER_MS: u64 = 1_000;
