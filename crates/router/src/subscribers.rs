//! Who subscribes to one filter.

use std::collections::HashMap;

use agentmq_codec::SubscriptionOptions;

/// One session's subscription to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) session: u32,
    pub(crate) options: SubscriptionOptions,
    /// Subscription Identifier; 0 for none.
    pub(crate) id: u32,
    /// Its session survives a crash.
    pub(crate) is_kept: bool,
}

/// The sessions of one filter: a list, with an index once it is long.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    list: Vec<Subscriber>,
    #[expect(clippy::box_collection, reason = "most filters have none: 8 bytes instead of 40")]
    index: Option<Box<HashMap<u32, u32, foldhash::fast::RandomState>>>,
}

impl Subscribers {
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Subscriber> {
        self.list.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The subscription of a session.
    pub(crate) fn of(&self, session: u32) -> Option<Subscriber> {
        self.list.get(self.position(session)?).copied()
    }

    /// Adds or replaces; true when the session had no subscription here.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) -> bool {
        if let Some(at) = self.position(subscriber.session) {
            self.list[at] = subscriber;
            return false;
        }
        if self.list.len() == INDEX_FROM && self.index.is_none() {
            let positions = self.list.iter().enumerate().map(|(at, it)| (it.session, at as u32));
            self.index = Some(Box::new(positions.collect()));
        }
        if let Some(index) = &mut self.index {
            index.insert(subscriber.session, self.list.len() as u32);
        }
        self.list.push(subscriber);
        true
    }

    /// Removes; `None` when the session had no subscription here.
    pub(crate) fn remove(&mut self, session: u32) -> Option<Subscriber> {
        let at = self.position(session)?;
        let removed = self.list.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(&session);
            if let Some(moved) = self.list.get(at) {
                index.insert(moved.session, at as u32);
            }
        }
        Some(removed)
    }

    fn position(&self, session: u32) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&session).map(|&at| at as usize),
            None => self.list.iter().position(|it| it.session == session),
        }
    }
}

/// Length from which a search of the list costs more than an index.
const INDEX_FROM: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_follows_removals() {
        let mut subscribers = Subscribers::default();
        let options = SubscriptionOptions::default();
        for session in 0..100 {
            assert!(subscribers.insert(Subscriber { session, options, id: 0, is_kept: false }));
        }
        assert!(!subscribers.insert(Subscriber { session: 5, options, id: 9, is_kept: false }));
        for session in (0..100).step_by(2) {
            assert_eq!(subscribers.remove(session).map(|it| it.session), Some(session));
            assert_eq!(subscribers.remove(session), None);
        }
        let mut left: Vec<_> = subscribers.iter().map(|it| (it.session, it.id)).collect();
        left.sort_unstable();
        let odd = (1..100).step_by(2).map(|session| (session, if session == 5 { 9 } else { 0 }));
        assert_eq!(left, odd.collect::<Vec<_>>());
    }
}
