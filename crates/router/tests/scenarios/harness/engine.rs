//! A commit engine that waits.

use std::cell::Cell;
use std::rc::Rc;

use agentmq_session::{CommitEngine, Ticket};

/// Every ticket is a new one, and none is complete before the test says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct DelayedEngine {
    drawn: Rc<Cell<u64>>,
    completed: Rc<Cell<u64>>,
}

impl DelayedEngine {
    /// Completes the next `count` tickets.
    pub(crate) fn complete(&self, count: u64) {
        self.completed.set((self.completed.get() + count).min(self.drawn.get()));
    }

    /// Completes every ticket drawn so far.
    pub(crate) fn complete_all(&self) {
        self.completed.set(self.drawn.get());
    }
}

impl CommitEngine for DelayedEngine {
    fn draw(&mut self, _: Ticket) -> Ticket {
        self.drawn.set(self.drawn.get() + 1);
        Ticket(self.drawn.get())
    }

    fn completed(&self) -> Ticket {
        Ticket(self.completed.get())
    }
}
