//! Which messages that wait leave memory, and reading them back when their turn comes. The reasons
//! are in `docs/decisions/0012-queues-on-disk.md`.

use agentmq_session::{Recall, Ticket};

use crate::router::Router;

/// A message in line that leaves memory when its commit is complete: before that the disk may not
/// have it, and never get it.
#[derive(Debug)]
pub(crate) struct Leaving {
    ticket: Ticket,
    session: u32,
    generation: u32,
    ordinal: u64,
}

/// What stands at the head of a line whose messages are to be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// Its next messages, or nothing any more.
    There,
    /// They can be read in a moment.
    Busy,
    /// They cannot be read now.
    Unreadable,
}

impl Router {
    /// A message that was just put in line and recorded leaves memory if there is too much of its
    /// session's there, or of all. Behind one that has left none stays: it would be needed later.
    pub(crate) fn may_leave(&mut self, index: u32, ordinal: u64) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        let Some(all) = self.commit.queue_memory() else { return };
        let limits = &self.settings.limits;
        if session.queue.away() > 0
            || session.queue.resident_bytes() > limits.durable_queue_memory as usize
            || all.resident() > limits.queue_memory
        {
            let (ticket, generation) = (self.recorded, session.generation);
            self.leaving.push_back(Leaving { ticket, session: index, generation, ordinal });
        }
    }

    /// What waited for these commits to leave memory does so.
    pub(crate) fn let_go(&mut self, completed: Ticket) {
        while let Some(leaving) = self.leaving.pop_front_if(|it| it.ticket <= completed) {
            if let Some(session) = self.sessions.get_mut(leaving.session as usize)
                && session.generation == leaving.generation
            {
                session.queue.let_go(leaving.ordinal);
            }
        }
    }

    /// Bytes that are read back at once of what a shared group's absent members hold.
    pub(crate) fn group_portion(&self) -> usize {
        self.at_most(GROUP_PORTION)
    }

    fn at_most(&self, portion: usize) -> usize {
        portion.min(self.settings.limits.durable_queue_memory as usize).max(1)
    }

    /// Reads back `portion` bytes of what waits at the head of a session's line.
    #[cold]
    pub(crate) fn recall_head(&mut self, index: u32, portion: usize) -> Head {
        let portion = self.at_most(portion.max(PORTION));
        let Some(session) = self.sessions.get(index as usize) else { return Head::Unreadable };
        let (first, key) = (session.queue.first_away(portion), session.key());
        let Some(recalls) = self.commit.try_recall(key, &first) else { return Head::Busy };
        match self.take_back(index, &first, recalls) < first.len() {
            true => Head::There,
            false => Head::Unreadable,
        }
    }

    /// Reads back messages of the shared groups that `wanted` names and that wait in a session's
    /// line, since other members get them: as many as `bytes` begin with, which become less by
    /// that. Returns whether there are more.
    pub(crate) fn recall_shared(
        &mut self,
        index: u32,
        bytes: &mut usize,
        wanted: impl Fn(u32) -> bool,
    ) -> bool {
        let Some(session) = self.sessions.get(index as usize) else { return false };
        let (ordinals, has_more) = session.queue.shared_away(bytes, wanted);
        if ordinals.is_empty() {
            return has_more;
        }
        let recalls = self.commit.recall(session.key(), &ordinals);
        self.take_back(index, &ordinals, recalls) > 0 || has_more
    }

    /// What was read back stands in a session's line again. What is not there any more leaves it.
    /// Returns how many stay where they are.
    fn take_back(&mut self, index: u32, ordinals: &[u64], recalls: Vec<Recall>) -> usize {
        let (mut found, mut lost) = (Vec::with_capacity(recalls.len()), Vec::new());
        for (ordinal, recall) in ordinals.iter().zip(recalls) {
            match recall {
                Recall::Message(recalled) => found.push((*ordinal, *recalled)),
                Recall::Gone => {
                    self.counters.dropped_expired += 1;
                    lost.push(*ordinal);
                }
                Recall::Damaged => lost.push(*ordinal),
                Recall::Later => {}
            }
        }
        let left = ordinals.len() - found.len() - lost.len();
        self.counters.recalled += found.len() as u64;
        if let Some(session) = self.sessions.get_mut(index as usize) {
            session.queue.fill(found);
            session.queue.forget_away(&lost);
            let key = session.key();
            self.record_dropping(key, &lost);
        }
        left
    }
}

/// Bytes that are read back at once for one client, at least: opening a file is not worth less.
const PORTION: usize = 4 * 1024;
/// The same for a group, which comes less often.
const GROUP_PORTION: usize = 16 * 1024;
