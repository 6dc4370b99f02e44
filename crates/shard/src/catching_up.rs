//! Clients that catch up: something waits for them in a queue.
//!
//! Sending from a long queue, and reading the acknowledgements that make room for more of it, is
//! work for as long as the queue lasts. It is done in portions. While others say something a
//! portion is short, comes behind them, and leaves them the next turn to themselves; while
//! nobody else does, it is long.

use std::collections::VecDeque;

use agentmq_router::{ConnectionId, Router};
use agentmq_session::Time;

use crate::shard::Shard;

/// Who catches up on a shard, and whether it is their turn.
#[derive(Debug)]
pub(crate) struct CatchingUp {
    /// Connections whose queues have more to send, in turn.
    unfinished: VecDeque<ConnectionId>,
    /// Connections that have said something and are read behind the others, in turn.
    unread: VecDeque<ConnectionId>,
    /// When one of them was last served.
    served_at: Option<Time>,
    /// When somebody else was last heard while there were any.
    others_heard_at: Option<Time>,
    /// In this turn.
    has_heard_others: bool,
    /// They have let the last turn pass.
    has_waited: bool,
    has_turn: bool,
}

impl Default for CatchingUp {
    fn default() -> Self {
        Self {
            unfinished: VecDeque::new(),
            unread: VecDeque::new(),
            served_at: None,
            others_heard_at: None,
            has_heard_others: false,
            has_waited: false,
            has_turn: true,
        }
    }
}

impl CatchingUp {
    /// Whether some are to be read.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Whether there is more to send to some.
    pub(crate) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    fn is_pending(&self) -> bool {
        self.has_unread() || self.has_unfinished()
    }

    /// Whether a portion may follow.
    pub(crate) fn may_send(&self) -> bool {
        self.has_turn && self.has_unfinished()
    }

    /// Its queue has stopped for its outbox, and can go on.
    pub(crate) fn push_unfinished(&mut self, id: ConnectionId) {
        self.unfinished.push_back(id);
    }

    /// Decides whose turn it is. Others never have two behind each other.
    fn begin(&mut self) {
        self.has_turn = !self.has_heard_others || self.has_waited;
        self.has_waited = !self.has_turn && self.is_pending();
        self.has_heard_others = false;
    }

    /// Somebody else says something.
    fn hear_others(&mut self, now: Time) {
        if self.is_pending() || is_lately(self.served_at, now) {
            self.others_heard_at = Some(now);
            self.has_heard_others = true;
        }
    }

    /// Whether nobody else says anything.
    fn is_alone(&self, now: Time) -> bool {
        !is_lately(self.others_heard_at, now)
    }
}

fn is_lately(then: Option<Time>, now: Time) -> bool {
    then.is_some_and(|then| now.millis_since(then) <= ALONE_MS)
}

impl Shard {
    /// A connection says something. True when its client catches up and is not alone: it is read
    /// behind the others.
    pub(crate) fn goes_behind(&mut self, key: usize) -> bool {
        let id = ConnectionId(key as u32);
        if !self.router.is_catching_up(id) {
            self.catching_up.hear_others(self.now);
            return false;
        }
        self.catching_up.served_at = Some(self.now);
        if self.catching_up.is_alone(self.now) {
            return false;
        }
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.is_behind
        {
            conn.is_behind = true;
            self.catching_up.unread.push_back(id);
        }
        true
    }

    /// Reads those who went behind, if it is their turn. What they say are acknowledgements, and
    /// tens of thousands of them fit into what others may say.
    pub(crate) fn read_behind(&mut self) {
        self.catching_up.begin();
        if !self.catching_up.has_turn || self.is_congested {
            return;
        }
        for _ in 0..self.catching_up.unread.len().min(READ_AT_ONCE) {
            let Some(id) = self.catching_up.unread.pop_front() else { return };
            let key = id.0 as usize;
            if let Some(conn) = self.conns.get_mut(key)
                && conn.is_behind
            {
                conn.is_behind = false;
                self.read_up_to(key, ACKS, true);
            }
        }
    }

    /// Lets queues go on that stopped for their outboxes, as many as share one portion.
    pub(crate) fn resume_queues(&mut self) {
        let waiting = &mut self.catching_up;
        waiting.served_at = Some(self.now);
        let all = if waiting.is_alone(self.now) { PORTION_ALONE } else { PORTION };
        let portion = (all / waiting.unfinished.len().max(1)).max(PORTION);
        for _ in 0..(all / portion).min(self.catching_up.unfinished.len()) {
            let Some(id) = self.catching_up.unfinished.pop_front() else { return };
            if let Some(conn) = self.conns.get_mut(id.0 as usize) {
                conn.is_unfinished = false;
            }
            let resume = |router: &mut Router, now| router.resume_queue(id, portion, now);
            if self.guarded("a queue", resume).is_none() {
                self.drop_conn(id.0 as usize);
            }
        }
    }
}

/// What long queues put out in one turn while others say something, and the least that one of many
/// puts out while nobody does.
const PORTION: usize = 2 * 1024;
/// What they put out in one turn while nobody else says anything.
const PORTION_ALONE: usize = 64 * 1024;
/// Bytes that one client's acknowledgements may take in one turn while others say something.
const ACKS: usize = 512;
/// Clients whose acknowledgements are read in one such turn.
const READ_AT_ONCE: usize = 4;
/// Milliseconds of silence after which those who catch up have the shard for themselves.
const ALONE_MS: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose turn it is, in turns in which these hear others.
    fn turns(catching_up: &mut CatchingUp, now: Time, heard: &[bool]) -> Vec<bool> {
        let turn = |heard: &bool| {
            if *heard {
                catching_up.hear_others(now);
            }
            catching_up.begin();
            catching_up.has_turn
        };
        heard.iter().map(turn).collect()
    }

    #[test]
    fn others_have_every_second_turn_at_most() {
        let now = Time::ZERO.after_secs(1);
        let mut catching_up = CatchingUp::default();
        catching_up.push_unfinished(ConnectionId(1));
        let told = turns(&mut catching_up, now, &[true, true, true, false, true, false]);
        assert_eq!(told, [false, true, false, true, false, true]);
        assert!(!catching_up.is_alone(now));
        assert!(catching_up.is_alone(now.after_millis(ALONE_MS + 1)));
    }

    #[test]
    fn where_nobody_catches_up_nobody_is_in_the_way() {
        let now = Time::ZERO;
        let mut catching_up = CatchingUp::default();
        assert_eq!(turns(&mut catching_up, now, &[true, true]), [true, true]);
        // Who comes now is not made to wait for what was said before.
        catching_up.push_unfinished(ConnectionId(1));
        assert!(catching_up.is_alone(now) && catching_up.may_send());
    }
}
