//! New connections.

use agentmq_net::{Link, Listener, should_pause_accepting};
use agentmq_router::Place;
use agentmq_session::{Limits, Time};
use mio::{Interest, Token};

use crate::conn::Conn;
use crate::deadlines::Deadline;
use crate::mailbox::Parcel;
use crate::shard::Shard;

/// A listener and how many connections it has. What holds for them is in the settings, by the
/// door's number.
#[derive(Debug)]
pub struct Door {
    /// The listening socket.
    pub listener: Listener,
    pub(crate) open: u32,
}

impl Door {
    /// A listener without connections.
    pub fn new(listener: Listener) -> Self {
        Self { listener, open: 0 }
    }
}

/// Which listeners may have connections waiting. `mio` announces them once, so what is not
/// accepted at once must be remembered.
#[derive(Debug)]
pub(crate) struct Accepting {
    ready: Vec<bool>,
    paused_until: Option<Time>,
    /// Why the last pause was, as the log tells: once, until all that waited have come in.
    told: Option<&'static str>,
    /// All that have ever been accepted.
    pub(crate) sockets: u64,
    /// Connections accepted in `second`.
    accepted: u32,
    second: u64,
}

impl Accepting {
    pub(crate) fn all(listeners: usize) -> Self {
        Self {
            ready: vec![true; listeners],
            paused_until: None,
            told: None,
            sockets: 0,
            accepted: 0,
            second: 0,
        }
    }

    pub(crate) fn ready(&mut self, listener: usize) {
        if let Some(ready) = self.ready.get_mut(listener) {
            *ready = true;
        }
    }

    /// Whether the next turn should come at once.
    pub(crate) fn is_pending(&self) -> bool {
        self.paused_until.is_none() && self.ready.contains(&true)
    }

    /// Whether the next connection must wait. The rate bites only once many connections wait for
    /// their CONNECT: an idle broker takes a burst at once.
    fn is_too_fast(&mut self, connecting: usize, limits: &Limits, now: Time) -> bool {
        let second = now.as_millis() / 1000;
        if second != self.second {
            (self.second, self.accepted) = (second, 0);
        }
        self.accepted >= limits.connects_per_second && connecting >= limits.busy_connecting as usize
    }

    pub(crate) fn resume_at(&self) -> Option<Time> {
        self.paused_until
    }
}

impl Shard {
    /// Accepts a portion from each listener that has connections waiting.
    pub(crate) fn accept_pending(&mut self) {
        if self.draining_until.is_some() {
            return;
        }
        if let Some(until) = self.accepting.paused_until {
            if self.now < until {
                return;
            }
            self.accepting.paused_until = None;
        }
        for index in 0..self.doors.len() {
            if self.accepting.ready.get(index) == Some(&true) {
                self.accept_from(index);
            }
        }
    }

    fn accept_from(&mut self, index: usize) {
        for _ in 0..PORTION {
            if self.accepting.is_too_fast(self.connecting_now, &self.settings.limits, self.now) {
                self.pause("the limit `connects_per_second` is reached");
                return;
            }
            if self.connecting_now >= self.settings.limits.connecting as usize {
                self.pause("the limit `connecting` is reached");
                return;
            }
            let Some(door) = self.doors.get_mut(index) else { return };
            let bound = self.settings.doors.get(index).map_or(0, |it| it.max_connections);
            if bound > 0 && door.open >= bound {
                self.pause("the limit `max_connections` of a listener is reached");
                return;
            }
            match door.listener.accept() {
                Ok(Some(link)) => {
                    self.accepting.accepted += 1;
                    self.adopt(link, index);
                }
                Ok(None) => {
                    self.accepting.ready[index] = false;
                    self.accepting.told = None;
                    return;
                }
                Err(error) if should_pause_accepting(&error) => {
                    self.pause("no file descriptors or memory are left (raise ulimit -n)");
                    return;
                }
                Err(error) => {
                    let listener = door.listener.endpoint();
                    tracing::error!(%error, %listener, "a listener failed; it accepts no more");
                    self.accepting.ready[index] = false;
                    return;
                }
            }
        }
    }

    /// Connections wait in the kernel until there is room again.
    fn pause(&mut self, why: &'static str) {
        if self.accepting.told.replace(why) != Some(why) {
            tracing::warn!(why, "accepting pauses");
        }
        self.accepting.paused_until = Some(self.now.after_millis(PAUSE_MS));
    }

    pub(crate) fn adopt(&mut self, link: Link, door: usize) {
        self.accepting.sockets += 1;
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let key = self.conns.insert(Conn::new(link, generation, door as u16));
        let interest = Interest::READABLE | Interest::WRITABLE;
        let link = &mut self.conns[key].link;
        if let Err(error) = self.poll.registry().register(link, Token(key), interest) {
            tracing::warn!(%error, "a connection could not be registered");
            self.conns.remove(key);
            return;
        }
        self.connecting_now += 1;
        if let Some(door) = self.doors.get_mut(door) {
            door.open += 1;
        }
        self.await_connect(key, generation);
    }
}

impl Shard {
    /// Gives a socket its time to finish CONNECT. Those before it that have finished are forgotten,
    /// so that the queue is no longer than a crowd's way in.
    pub(crate) fn await_connect(&mut self, conn: usize, generation: u32) {
        while self.connecting.first().is_some_and(|first| !self.is_connecting(first)) {
            self.connecting.forget_first();
        }
        let at = self.now.after_millis(u64::from(self.settings.limits.connect_timeout_ms));
        self.connecting.push(Deadline { at, conn, generation });
    }

    /// A connection that came through a door has gone.
    pub(crate) fn leave_door(&mut self, conn: &Conn) {
        if conn.is_handed_over {
            self.keep_for(Place(0), Parcel::LeftDoor(conn.door));
        } else {
            self.left_door(conn.door);
        }
    }

    /// Makes room for another connection through a door.
    pub(crate) fn left_door(&mut self, door: u16) {
        if let Some(door) = self.doors.get_mut(usize::from(door)) {
            door.open = door.open.saturating_sub(1);
        }
    }
}

/// Connections that one listener may bring in one turn.
const PORTION: usize = 256;
/// Milliseconds for which accepting pauses.
const PAUSE_MS: u64 = 50;
