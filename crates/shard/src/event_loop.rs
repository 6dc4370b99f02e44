//! The event loop: one turn of a shard, and how long it waits for the next one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use agentmq_router::Router;
use agentmq_session::Time;
use mio::event::Event;
use mio::{Events, Token};

use crate::command::Command;
use crate::correspondence::CONGESTED_MS;
use crate::shard::{FIRST_LISTENER, Shard, ShardError, WAKER};

impl Shard {
    /// Runs turns until the shard has drained.
    pub(crate) fn run(mut self) -> Result<(), ShardError> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_drained() {
            let timeout = self.timeout();
            self.wakes_at = timeout.map_or(Time::NEVER, |timeout| self.now.after(timeout));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            self.turn(&events);
        }
        self.leave_counters();
        Ok(())
    }

    /// One turn: read what arrived, do what is due, write once to everyone who got something.
    pub(crate) fn turn(&mut self, events: &Events) {
        if self.is_dormant {
            self.now = self.clock.now(); // it has slept on purpose
        }
        let slept = self.has_stood_still(self.now.max(self.wakes_at));
        if self.has_company() || self.is_dormant {
            self.take_mail();
        }
        if self.has_company() {
            self.look_elsewhere();
        }
        if self.guarded("a commit", Router::committed).is_none() {
            tracing::error!("what waited for a commit goes on with the next one");
        }
        let mut again = std::mem::take(&mut self.again);
        for event in events {
            self.event(event);
        }
        for id in again.drain(..) {
            self.read_again(id);
        }
        if self.again.is_empty() {
            self.again = again; // keeps the list's memory
        }
        if self.is_dormant {
            return;
        }
        self.read_behind();
        self.accept_pending();
        let stood_still = self.has_stood_still(self.now) || slept;
        if self.has_heard_everybody(events) && !stood_still {
            // One that panics is not due again; the others are.
            while self.guarded("a deadline", Router::tick).is_none() {}
            self.deadlines();
        }
        self.send_out();
        self.report();
    }

    /// Lets go what this turn has brought forth.
    pub(crate) fn send_out(&mut self) {
        // What others record because of this turn stands behind it in the log.
        self.router.submit(self.now);
        if self.has_company() {
            self.send_mail(); // before the acknowledgements leave
        }
        self.flush_all();
        self.router.submit(self.now); // of queues that went on, of connections that failed
        if self.has_company() {
            self.send_mail(); // the wills of connections that failed
        }
    }

    /// Reads the clock; true when it is much later than `expected`, so that this process stood
    /// still: suspended, frozen, without a CPU. What arrived meanwhile waits to be read, so nothing
    /// is due before the next turn, and clients' silence counts from now on only. A pause that
    /// ends before the shard was to wake harms nobody, because nothing was due in it.
    fn has_stood_still(&mut self, expected: Time) -> bool {
        let now = self.clock.now();
        let millis = now.millis_since(expected);
        self.now = now;
        if millis < STANDSTILL_MS {
            return false;
        }
        tracing::warn!(millis, "the process stood still; keep alives count from now");
        self.router.listens_again(now);
        true
    }

    /// Whether nobody can have been left out of `events`. One call reports a bounded number of
    /// sockets; after a pause of the whole process more may have something to say, and whoever has
    /// must not be disconnected for silence before it is read. The next calls report the others
    /// first; after as many as all connections need, deadlines count in any case.
    fn has_heard_everybody(&mut self, events: &Events) -> bool {
        let heard = events.iter().count();
        self.unheard = if heard < EVENTS { 0 } else { self.unheard + heard };
        let everybody = self.unheard == 0 || self.unheard > self.conns.len();
        if everybody {
            self.unheard = 0;
        }
        everybody
    }

    fn event(&mut self, event: &Event) {
        match event.token() {
            WAKER => {
                self.obey();
                self.take_mail();
            }
            Token(token) if token > FIRST_LISTENER - MAX_LISTENERS => {
                self.accepting.ready(FIRST_LISTENER - token);
            }
            Token(token) => {
                if event.is_writable() {
                    self.writable(token);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(token, event.is_read_closed() || event.is_error());
                }
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Reconfigure { settings, sys_interval_secs } => {
                    self.reporting.set_sys_interval(sys_interval_secs);
                    self.settings = Arc::clone(&settings);
                    self.router.reconfigure(settings);
                    self.router.judge_again(self.now);
                }
                Command::Adopt { link, door } => {
                    if self.draining_until.is_none() {
                        self.adopt(link, usize::from(door));
                    }
                }
                Command::Verdict(verdict) => self.verdict(verdict),
                Command::Drain => self.begin_drain(),
            }
        }
        if self.mailboxes.is_closing() {
            self.begin_drain();
        }
    }

    /// How long to wait for events. Announces sleep to the other shards, if there are any.
    fn timeout(&self) -> Option<Duration> {
        if self.is_dormant {
            // Until it gets a connection or a command. After a command it has to say again that it
            // sleeps, or nobody wakes it for its first connection.
            let may_sleep = self.mailboxes.announce_sleep(self.place);
            return (!may_sleep).then_some(Duration::ZERO);
        }
        let timeout = self.own_timeout();
        if !self.has_company() || timeout == Some(Duration::ZERO) {
            return timeout;
        }
        if !self.mailboxes.announce_sleep(self.place) {
            return Some(Duration::ZERO);
        }
        if self.is_congested || self.keeps_back {
            let soon = Duration::from_millis(CONGESTED_MS);
            return Some(timeout.map_or(soon, |timeout| timeout.min(soon)));
        }
        timeout
    }

    pub(crate) fn own_timeout(&self) -> Option<Duration> {
        let is_unread = !self.again.is_empty() || self.catching_up.has_unread();
        let reads_again = is_unread && !self.is_congested;
        let writes_again = !self.dirty.is_empty() || self.catching_up.has_unfinished();
        if reads_again || writes_again || self.accepting.is_pending() {
            return Some(Duration::ZERO);
        }
        let mut next = self.router.next_deadline();
        let own = [
            self.connecting.next(),
            self.blocked.next(),
            self.lingering.next(),
            self.paused.next(),
            self.accepting.resume_at(),
            self.draining_until,
            self.next_report(),
        ];
        for at in own.into_iter().flatten() {
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        let now = self.clock.now();
        next.map(|at| Duration::from_millis(at.millis_since(now)))
    }
}

const EVENTS: usize = 1024;
/// Milliseconds that no turn takes, and by which no wake-up is late.
const STANDSTILL_MS: u64 = 2_000;
const MAX_LISTENERS: usize = 1024;
