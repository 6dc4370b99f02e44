//! From outboxes to sockets, once a turn.

use std::io::{self, IoSlice};

use agentmq_router::{ConnectionId, Router};

use crate::conn::Phase;
use crate::deadlines::Deadline;
use crate::event_loop::Shard;
use crate::isolation::guard_link;
use crate::reading::TURN_BYTES;

impl Shard {
    /// Writes to every connection that got something in this turn, then a portion of what stood in
    /// long queues: they hold up nobody longer than that.
    pub(crate) fn flush_all(&mut self) {
        self.flush_dirty();
        if !self.unfinished.is_empty() {
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

    /// Something arrives. While queues are long: from somebody else than whom they are for?
    pub(crate) fn note_others(&mut self, key: usize) {
        if !self.unfinished.is_empty() && !self.router.is_catching_up(ConnectionId(key as u32)) {
            self.others_heard_at = self.now;
        }
    }

    /// How much is read of a connection in one turn. What somebody says whose queue is long are
    /// acknowledgements, and tens of thousands of them fit into what others may say.
    pub(crate) fn turn_bytes(&self, key: usize) -> usize {
        let is_catching_up =
            !self.unfinished.is_empty() && self.router.is_catching_up(ConnectionId(key as u32));
        if is_catching_up && !self.is_alone() { PORTION } else { TURN_BYTES }
    }

    /// Whether nobody says anything but those whose queues are long.
    fn is_alone(&self) -> bool {
        self.now.millis_since(self.others_heard_at) > ALONE_MS
    }

    /// Lets queues go on that stopped for their outboxes, as many as share one portion. It is
    /// short if others may have to wait for it, and long if nobody else is there.
    fn resume_queues(&mut self) {
        let all = if self.is_alone() { PORTION_ALONE } else { PORTION };
        let portion = (all / self.unfinished.len()).max(PORTION);
        for _ in 0..(all / portion).min(self.unfinished.len()) {
            let Some(id) = self.unfinished.pop_front() else { return };
            if let Some(conn) = self.conns.get_mut(id.0 as usize) {
                conn.is_unfinished = false;
            }
            let resume = |router: &mut Router, now| router.resume_queue(id, portion, now);
            if self.guarded("a queue", resume).is_none() {
                self.drop_conn(id.0 as usize);
            }
        }
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
        if self.router.flushed(id, written) && !conn.is_unfinished {
            conn.is_unfinished = true;
            self.unfinished.push_back(id);
        }
        if is_empty && self.router.is_closing(id) {
            self.finish(key);
        }
    }
}

/// Slices that one write takes.
const SLICES: usize = 64;
/// What long queues put out in one turn while others say something, and the least that one of many
/// puts out while nobody does.
const PORTION: usize = 2 * 1024;
/// What they put out in one turn while nobody else says anything.
const PORTION_ALONE: usize = 64 * 1024;
/// Milliseconds of silence after which long queues have the shard for themselves.
const ALONE_MS: u64 = 20;
