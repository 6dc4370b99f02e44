//! A queue that takes no room as long as nothing has waited in it: few clients ever have anything
//! wait, and every idle one has a session.

use std::ops::{Deref, DerefMut};

use agentmq_quota::Holder;

use crate::{Delivery, Queue, RetainedCursor};

/// A pointer to nothing, or to a [`Queue`], which it makes when something is to be changed.
#[derive(Debug, Default)]
pub struct LazyQueue(Option<Box<Queue>>);

static NOTHING: Queue = Queue::NOTHING;

impl Deref for LazyQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for LazyQueue {
    fn deref_mut(&mut self) -> &mut Queue {
        self.0.get_or_insert_default()
    }
}

/// What changes nothing where nothing is.
impl LazyQueue {
    /// See [`Queue::belong_to`].
    pub fn belong_to(&mut self, holder: Option<Holder>) {
        if holder.is_some() || self.0.is_some() {
            self.deref_mut().belong_to(holder);
        }
    }

    /// See [`Queue::retain_cursors`].
    pub fn retain_cursors(&mut self, keep: impl Fn(&RetainedCursor) -> bool) {
        if let Some(queue) = &mut self.0 {
            queue.retain_cursors(keep);
        }
    }

    /// See [`Queue::take_shared`].
    pub fn take_shared(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Delivery> {
        self.0.as_mut().map(|queue| queue.take_shared(wanted)).unwrap_or_default()
    }

    /// See [`Queue::take_qos0`].
    pub fn take_qos0(&mut self) -> Vec<Delivery> {
        self.0.as_mut().map(|queue| queue.take_qos0()).unwrap_or_default()
    }

    /// See [`Queue::forget_away`].
    pub fn forget_away(&mut self, ordinals: &[u64]) {
        if let Some(queue) = &mut self.0 {
            queue.forget_away(ordinals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_takes_room() {
        let mut queue = LazyQueue::default();
        assert!(queue.is_empty() && queue.front().is_none() && !queue.has_cursor());
        queue.belong_to(None);
        queue.retain_cursors(|_| false);
        queue.forget_away(&[1]);
        assert!(queue.take_shared(|_| true).is_empty() && queue.take_qos0().is_empty());
        assert!(queue.0.is_none());
        assert!(queue.pop().is_none() && queue.0.is_some());
        assert_eq!(size_of::<LazyQueue>(), 8);
    }
}
