//! Deadlines, in one heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use agentmq_session::Time;

/// What is due. The generation tells an entry whose owner has gone from one that still counts:
/// cancelled timers stay in the heap until they are due and are then ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Connection index and generation.
    KeepAlive(u32, u32),
    /// Session index and generation: its expiry or its will's delay.
    Session(u32, u32),
    /// Session index and generation: its queue may move again.
    Drain(u32, u32),
    /// Drop expired retained messages.
    Sweep,
}

/// A heap of deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Time, Due)>>,
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Time, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn pop(&mut self, now: Time) -> Option<Due> {
        let Reverse((at, due)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        if self.heap.is_empty() {
            self.heap.shrink_to(64);
        }
        Some(due)
    }
}
