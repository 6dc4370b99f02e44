//! Deadlines, in the order in which they fall due.

use std::collections::BTreeSet;

use agentmq_session::{Ticket, Time};

/// What is due. The generation tells an entry whose owner has gone from one that still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Connection index and generation.
    KeepAlive(u32, u32),
    /// Session index and generation: its expiry or its will's delay.
    Session(u32, u32),
    /// Session index and generation: its queue may move again.
    Drain(u32, u32),
    /// Connection index and generation: the proof of who it is ends, now or soon.
    Proof(u32, u32),
    /// Sessions from this index on are asked about again.
    Judging(u32),
    /// A shared group of which absent members hold more, when this ticket is complete.
    Gather(u32, Ticket),
}

/// All deadlines. Those far away are cancelled when their owner goes: a client that comes and goes
/// with a session of a year must not leave an entry for a year each time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<(Time, Due)>,
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Time, due: Due) {
        self.set.insert((at, due));
    }

    pub(crate) fn cancel(&mut self, at: Time, due: Due) {
        self.set.remove(&(at, due));
    }

    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.set.first().map(|&(at, _)| at)
    }

    pub(crate) fn pop(&mut self, now: Time) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        self.set.pop_first().map(|(_, due)| due)
    }
}
