//! Deadlines that lie equally far ahead when they are set, so that a queue keeps them sorted for
//! next to nothing.

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
    /// Puts a deadline in its place: the end, unless a reload has shortened the time.
    pub(crate) fn push(&mut self, deadline: Deadline) {
        let place = match self.queue.back() {
            Some(last) if last.at > deadline.at => {
                self.queue.partition_point(|earlier| earlier.at <= deadline.at)
            }
            _ => self.queue.len(),
        };
        self.queue.insert(place, deadline);
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.first().map(|deadline| deadline.at)
    }

    pub(crate) fn first(&self) -> Option<Deadline> {
        self.queue.front().copied()
    }

    /// Takes the first one away, due or not.
    pub(crate) fn forget_first(&mut self) {
        self.queue.pop_front();
    }

    pub(crate) fn pop(&mut self, now: Time) -> Option<Deadline> {
        self.queue.pop_front_if(|deadline| deadline.at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_time_comes_first() {
        let mut deadlines = Deadlines::default();
        for (conn, millis) in [(1, 60_000), (2, 60_001), (3, 1_000), (4, 1_001), (5, 60_001)] {
            let at = Time::from_millis(millis);
            deadlines.push(Deadline { at, conn, generation: 0 });
        }
        assert_eq!(deadlines.next(), Some(Time::from_millis(1_000)));
        let end = Time::from_millis(60_001);
        let order: Vec<usize> =
            std::iter::from_fn(|| deadlines.pop(end)).map(|due| due.conn).collect();
        assert_eq!(order, [3, 4, 1, 2, 5]);
        assert!(deadlines.next().is_none());
    }
}
