//! Deadlines that all lie equally far ahead when they are set, so that a queue keeps them sorted.

use std::collections::VecDeque;

use agentmq_session::Time;

/// Connections in the order of their deadlines. Entries of connections that have gone stay until
/// they are due; the generation tells.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: VecDeque<Deadline>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Time,
    pub(crate) conn: usize,
    pub(crate) generation: u32,
}

impl Deadlines {
    pub(crate) fn push(&mut self, deadline: Deadline) {
        debug_assert!(
            self.queue.back().is_none_or(|last| last.at <= deadline.at),
            "deadlines of one kind lie equally far ahead"
        );
        self.queue.push_back(deadline);
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.front().map(|deadline| deadline.at)
    }

    pub(crate) fn pop(&mut self, now: Time) -> Option<Deadline> {
        self.queue.pop_front_if(|deadline| deadline.at <= now)
    }
}
