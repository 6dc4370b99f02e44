//! From a socket's bytes to packets for the router.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use agentmq_codec::{DecodeError, PacketType, frame};
use agentmq_net::Read;
use agentmq_router::{Arrival, ConnectionId, Place, Router};
use agentmq_session::Time;

use crate::conn::Phase;
use crate::deadlines::Deadline;
use crate::directory::ClientKey;
use crate::isolation::guard_link;
use crate::shard::Shard;

/// What became of the bytes at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// All whole packets are handled; the rest, from here on, is the beginning of one.
    Rest(usize),
    /// The connection is closing; nothing more of it counts.
    Stop,
    /// The client has published as much as it may for now; the rest, from here on, waits. Never:
    /// until the verdict about it has come.
    Paused(usize, Time),
    /// Not MQTT at all: there is nobody to answer.
    Foreign,
    /// The connection belongs to another shard, which gets it with these bytes.
    Moves(Place, Option<ClientKey>),
}

impl Shard {
    /// Reads one connection's turn. `ended` says that the peer has closed its side, so that a
    /// short read does not mean that nothing more is to come.
    pub(crate) fn read(&mut self, key: usize, ended: bool) {
        if self.is_congested {
            return self.later(key);
        }
        if !self.goes_behind(key) {
            self.read_up_to(key, TURN_BYTES, ended);
        }
    }

    /// Reads at most about so many bytes, and the rest in the next turn.
    pub(crate) fn read_up_to(&mut self, key: usize, bytes: usize, ended: bool) {
        let mut left = bytes;
        loop {
            let Some(conn) = self.conns.get(key) else { return };
            if conn.paused_until.is_some() {
                return; // resumed by its deadline, which reads to the end
            }
            let used = if conn.partial.len() >= OWN_BUFFER_FROM {
                self.read_into_partial(key)
            } else {
                self.read_into_scratch(key, left)
            };
            match used {
                Ok(Read::Data { drained: true, .. }) if !ended => return,
                Ok(Read::Data { bytes, .. }) => left = left.saturating_sub(bytes.max(1)),
                Ok(Read::Closed) => return self.half_closed(key),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection failed");
                    return self.drop_conn(key);
                }
            }
            if left == 0 {
                return self.later(key);
            }
        }
    }

    /// The client has shut its side. It may still read (`shutdown` behind the last packet, as
    /// `nc -N` does): the answers to what it sent go out before the socket closes.
    fn half_closed(&mut self, key: usize) {
        let Some(conn) = self.conns.get(key) else { return };
        if conn.phase != Phase::Open {
            return self.drop_conn(key);
        }
        let id = ConnectionId(key as u32);
        self.router.half_closed(id, self.now);
        if !self.router.has_output(id) && self.router.is_closing(id) {
            self.drop_conn(key);
        }
    }

    /// Goes on with a connection whose turn was not enough.
    pub(crate) fn read_again(&mut self, id: ConnectionId) {
        let key = id.0 as usize;
        if let Some(conn) = self.conns.get_mut(key)
            && conn.reads_again
        {
            conn.reads_again = false;
            // Whether the peer has closed its side is not known any more: read to the end.
            self.read(key, true);
        }
    }

    fn later(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.reads_again
        {
            conn.reads_again = true;
            self.again.push(ConnectionId(key as u32));
        }
    }

    /// Reads behind the short rest of the last read, `at_most` so many bytes, all in the scratch
    /// buffer.
    fn read_into_scratch(&mut self, key: usize, at_most: usize) -> io::Result<Read> {
        let conn = &mut self.conns[key];
        let held = conn.partial.len();
        self.scratch[..held].copy_from_slice(&conn.partial);
        let end = self.scratch.len().min(held + at_most);
        let read = guard_link(|| conn.link.read(&mut self.scratch[held..end]))?;
        let Read::Data { bytes, .. } = read else { return Ok(read) };
        if bytes == 0 {
            return Ok(read);
        }
        let scratch = std::mem::take(&mut self.scratch);
        let filled = &scratch[..held + bytes];
        let cut = self.handle_bytes(key, filled);
        self.pause_if_told(key, cut);
        match cut {
            Cut::Rest(at) | Cut::Paused(at, _) => {
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.partial.clear();
                    if at < filled.len() {
                        conn.partial.extend_from_slice(&filled[at..]);
                    } else if conn.partial.capacity() > 0 {
                        conn.partial = Vec::new();
                    }
                }
            }
            Cut::Stop => self.forget_partial(key),
            Cut::Foreign => self.drop_conn(key),
            Cut::Moves(to, client) => self.hand_off(key, to, client, filled.to_vec()),
        }
        self.scratch = scratch;
        Ok(read)
    }

    /// Reads a long packet into a buffer of its own, which grows with what has arrived.
    fn read_into_partial(&mut self, key: usize) -> io::Result<Read> {
        let conn = &mut self.conns[key];
        let mut buffer = std::mem::take(&mut conn.partial);
        let held = buffer.len();
        buffer.resize(held + held.clamp(SCRATCH_MIN, TURN_BYTES), 0);
        let read = guard_link(|| conn.link.read(&mut buffer[held..]));
        let bytes = match read {
            Ok(Read::Data { bytes, .. }) => bytes,
            _ => 0,
        };
        buffer.truncate(held + bytes);
        let cut = self.handle_bytes(key, &buffer);
        self.pause_if_told(key, cut);
        match cut {
            Cut::Rest(at) | Cut::Paused(at, _) => {
                if at > 0 {
                    buffer.drain(..at);
                    buffer.shrink_to_fit();
                }
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.partial = buffer;
                }
            }
            Cut::Stop => self.forget_partial(key),
            Cut::Foreign => self.drop_conn(key),
            Cut::Moves(to, client) => self.hand_off(key, to, client, buffer),
        }
        read
    }

    /// Handles what another shard has read of a connection.
    pub(crate) fn handle_first(&mut self, key: usize, mut bytes: Vec<u8>) {
        let cut = self.handle_bytes(key, &bytes);
        self.pause_if_told(key, cut);
        match cut {
            Cut::Rest(at) | Cut::Paused(at, _) => {
                if let Some(conn) = self.conns.get_mut(key) {
                    bytes.drain(..at);
                    conn.partial = bytes;
                }
            }
            Cut::Stop | Cut::Moves(..) => self.forget_partial(key),
            Cut::Foreign => self.drop_conn(key),
        }
    }

    /// Hands every whole packet to the router. A panic costs this connection only.
    fn handle_bytes(&mut self, key: usize, bytes: &[u8]) -> Cut {
        let Some(conn) = self.conns.get_mut(key) else { return Cut::Stop };
        if conn.phase == Phase::Lingering {
            return Cut::Stop;
        }
        let is_connecting = conn.phase == Phase::Connecting;
        if is_connecting && let Some((to, client)) = self.belongs_to(bytes) {
            return Cut::Moves(to, client);
        }
        let Some(conn) = self.conns.get_mut(key) else { return Cut::Stop };
        let id = ConnectionId(key as u32);
        if is_connecting {
            let peer = conn.link.peer();
            let source = peer.address.map(|address| address.ip().to_canonical());
            let certificate = peer.tls.and_then(|tls| tls.certificates.into_iter().next());
            self.router.arrives(Arrival { door: conn.door, source, certificate });
        }
        let max = self.settings.limits.packet_bytes as usize;
        let (router, now, phase) = (&mut self.router, self.now, &mut conn.phase);
        let was = *phase;
        let caught = catch_unwind(AssertUnwindSafe(|| cut_all(router, id, phase, bytes, max, now)));
        if was == Phase::Connecting && *phase != Phase::Connecting {
            self.connecting_now -= 1;
            self.note_undecided(key);
        } else if !self.undecided.is_empty() {
            self.note_decided(key);
        }
        self.log_refusals();
        self.hand_out_work();
        caught.unwrap_or_else(|_| {
            self.recover("a packet");
            Cut::Foreign
        })
    }

    /// Leaves a socket unread until its client may publish again.
    fn pause_if_told(&mut self, key: usize, cut: Cut) {
        if let (Cut::Paused(_, until), Some(conn)) = (cut, self.conns.get_mut(key)) {
            conn.paused_until = Some(until);
            let generation = conn.generation;
            if until != Time::NEVER {
                self.paused.push(Deadline { at: until, conn: key, generation });
            }
        }
    }

    /// A client may be heard again: what waits in its partial buffer first, then its socket.
    pub(crate) fn resume(&mut self, due: Deadline) {
        let key = due.conn;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.generation != due.generation || conn.paused_until.take().is_none() {
            return;
        }
        let held = std::mem::take(&mut conn.partial);
        let cut = self.handle_bytes(key, &held);
        self.pause_if_told(key, cut);
        match cut {
            Cut::Rest(at) | Cut::Paused(at, _) => {
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.partial = held.get(at..).unwrap_or_default().to_vec();
                }
                self.read(key, true);
            }
            Cut::Stop => {}
            Cut::Foreign => self.drop_conn(key),
            Cut::Moves(to, client) => self.hand_off(key, to, client, held),
        }
    }

    fn forget_partial(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.partial = Vec::new();
        }
    }
}

/// Cuts `bytes` into packets for the router.
fn cut_all(
    router: &mut Router,
    id: ConnectionId,
    phase: &mut Phase,
    bytes: &[u8],
    max: usize,
    now: Time,
) -> Cut {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let Some(&first) = rest.first() else { return Cut::Rest(at) };
        if *phase == Phase::Connecting && PacketType::of(first) != Some(PacketType::Connect) {
            return Cut::Foreign; // before any of it is stored
        }
        match frame::cut(rest, max) {
            Ok(Some(frame)) => {
                *phase = Phase::Open;
                router.packet(id, frame.first, &rest[frame.body_at..frame.total], now);
                at += frame.total;
                if router.is_closing(id) {
                    return Cut::Stop;
                }
                let is_login = matches!(frame.first >> 4, CONNECT | AUTH);
                if is_login && router.awaits_verdict(id) {
                    return Cut::Paused(at, Time::NEVER);
                }
                if let Some(until) = router.paused_until(id, now) {
                    return Cut::Paused(at, until);
                }
            }
            Ok(None) => return Cut::Rest(at),
            Err(DecodeError { reason, what }) => {
                if *phase == Phase::Connecting {
                    return Cut::Foreign;
                }
                router.malformed(id, reason, what, now);
                return Cut::Stop;
            }
        }
    }
}

/// Bytes that one connection may bring in one turn.
pub(crate) const TURN_BYTES: usize = 256 * 1024;
/// The beginning of a packet that is at least this long gets a buffer of its own, so that a long
/// packet is not copied again with each read.
const OWN_BUFFER_FROM: usize = 16 * 1024;
/// Packet types (§2.1.2) after which there may be a verdict to wait for.
const CONNECT: u8 = 1;
const AUTH: u8 = 15;
const SCRATCH_MIN: usize = 64 * 1024;
