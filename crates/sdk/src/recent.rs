//! Calls and requests that have come before: what MQTT delivers twice is not done twice.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// Those of late, by what tells one from another.
#[derive(Debug)]
pub(crate) struct Recent<K> {
    known: HashSet<K>,
    order: VecDeque<K>,
    bound: usize,
}

impl<K: Clone + Eq + Hash> Recent<K> {
    pub(crate) fn new(bound: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), bound: bound.max(1) }
    }

    /// Notes one; `false` when it is known.
    pub(crate) fn is_new(&mut self, key: K) -> bool {
        if !self.known.insert(key.clone()) {
            return false;
        }
        if self.order.len() >= self.bound
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_among_the_last_is_known(ids in prop::collection::vec(0..12u8, 0..60)) {
            let mut recent = Recent::new(5);
            let mut model: Vec<u8> = Vec::new();
            for id in ids {
                let is_new = !model.contains(&id);
                prop_assert_eq!(recent.is_new(id), is_new);
                if is_new {
                    model.push(id);
                    if model.len() > 5 {
                        model.remove(0);
                    }
                }
                prop_assert_eq!(recent.known.len(), model.len());
            }
        }
    }
}
