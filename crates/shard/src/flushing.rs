//! From outboxes to sockets, once a turn.

use std::io::{self, IoSlice};

use agentmq_router::ConnectionId;

use crate::conn::Phase;
use crate::deadlines::Deadline;
use crate::isolation::guard_link;
use crate::shard::Shard;

impl Shard {
    /// Writes to every connection that got something in this turn, then a portion of what stood in
    /// long queues: they hold up nobody longer than that.
    pub(crate) fn flush_all(&mut self) {
        self.flush_dirty();
        if self.catching_up.may_send() {
            self.resume_queues();
            self.flush_dirty();
        }
        // What closing a connection has brought forth waits for the next turn.
        self.router.dirty(&mut self.dirty);
    }

    fn flush_dirty(&mut self) {
        let mut list = std::mem::take(&mut self.dirty);
        if list.is_empty() {
            self.router.dirty(&mut list);
        }
        for id in list.drain(..) {
            self.flush(id);
        }
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
    pub(crate) fn flush(&mut self, id: ConnectionId) {
        let key = id.0 as usize;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Lingering {
            return;
        }
        let Some(outbox) = self.router.outbox(id) else {
            return self.blocks(key); // what it is to be told is not safe yet
        };
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
        let is_blocked = blocked && !conn.link.is_handshaking();
        if self.router.flushed(id, written) && !conn.is_unfinished {
            conn.is_unfinished = true;
            self.catching_up.push_unfinished(id);
        }
        if is_blocked {
            self.blocks(key);
        }
        if is_empty && self.router.is_closing(id) {
            self.finish(key);
        }
    }
}

impl Shard {
    /// Nothing can be written to a connection now: not for ever.
    fn blocks(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key).filter(|it| it.blocked_since.is_none()) else {
            return;
        };
        conn.blocked_since = Some(self.now);
        let timeout = u64::from(self.settings.limits.write_blocked_ms);
        let (at, generation) = (self.now.after_millis(timeout), conn.generation);
        self.blocked.push(Deadline { at, conn: key, generation });
    }
}

/// Slices that one write takes.
const SLICES: usize = 64;
