//! Calls that a server has got before: what MQTT delivers twice is not done twice.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// The calls of late.
#[derive(Debug)]
pub(crate) struct Recent {
    known: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
    bound: usize,
}

impl Recent {
    pub(crate) fn new(bound: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), bound: bound.max(1) }
    }

    /// Notes a call; `false` when it is known. Two callers may use one `call_id`, so where the
    /// answer goes is part of it.
    pub(crate) fn is_new(&mut self, response_topic: &str, call_id: &str) -> bool {
        // Topics have no NUL in them.
        let key: Arc<str> = format!("{response_topic}\0{call_id}").into();
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

    #[test]
    fn a_call_is_one_callers() {
        let mut recent = Recent::new(8);
        assert!(recent.is_new("a", "1"));
        assert!(recent.is_new("b", "1"));
        assert!(!recent.is_new("a", "1"));
    }

    proptest! {
        #[test]
        fn what_is_among_the_last_is_known(ids in prop::collection::vec(0..12u8, 0..60)) {
            let mut recent = Recent::new(5);
            let mut model: Vec<u8> = Vec::new();
            for id in ids {
                let is_new = !model.contains(&id);
                prop_assert_eq!(recent.is_new("r", &id.to_string()), is_new);
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
