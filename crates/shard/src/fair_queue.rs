//! A bounded queue in which nobody waits for all that somebody else has put there.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Items of several sources: they take turns, and those of one source keep their order.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    /// Sources that have items, each once, the one whose turn it is first.
    turns: VecDeque<K>,
    items: HashMap<K, VecDeque<T>>,
    len: usize,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), items: HashMap::new(), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, T> FairQueue<K, T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts an item behind those of its source. Answers the one that has no place among `most`: the
    /// newest of the source that has the most, if that is more than this one has, or this one.
    pub(crate) fn push(&mut self, source: K, item: T, most: usize) -> Option<T> {
        let own = self.items.get(&source).map_or(0, VecDeque::len);
        let refused = if self.len < most {
            None
        } else {
            let longest = self.items.iter().max_by_key(|(_, items)| items.len());
            match longest.filter(|(_, items)| items.len() > own + 1) {
                Some((source, _)) => self.pop_newest(&source.clone()),
                None => return Some(item),
            }
        };
        if own == 0 {
            self.turns.push_back(source.clone());
        }
        self.items.entry(source).or_default().push_back(item);
        self.len += 1;
        refused
    }

    /// Of a source that has more than one.
    fn pop_newest(&mut self, source: &K) -> Option<T> {
        let item = self.items.get_mut(source)?.pop_back()?;
        self.len -= 1;
        Some(item)
    }

    /// The oldest item of the source whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let source = self.turns.pop_front()?;
        let items = self.items.get_mut(&source)?;
        let item = items.pop_front()?;
        self.len -= 1;
        if items.is_empty() {
            self.items.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(queue: &mut FairQueue<char, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn sources_take_turns_and_keep_their_order() {
        let mut queue = FairQueue::default();
        for (source, item) in [('a', 1), ('a', 2), ('a', 3), ('b', 10), ('c', 20), ('b', 11)] {
            assert_eq!(queue.push(source, item, 100), None);
        }
        assert_eq!((queue.len(), queue.pop()), (6, Some(1)));
        assert_eq!(queue.push('a', 4, 100), None);
        assert_eq!(popped(&mut queue), [10, 20, 2, 11, 3, 4]);
        assert_eq!((queue.len(), queue.pop()), (0, None));
        assert_eq!(queue.push('a', 5, 100), None);
        assert_eq!(popped(&mut queue), [5]);
    }

    #[test]
    fn who_has_the_most_makes_room() {
        let mut queue = FairQueue::default();
        for item in 0..4 {
            assert_eq!(queue.push('a', item, 4), None);
        }
        assert_eq!(queue.push('a', 9, 4), Some(9), "itself");
        assert_eq!(queue.push('b', 10, 4), Some(3));
        assert_eq!(queue.push('b', 11, 4), Some(2));
        assert_eq!(queue.push('b', 12, 4), Some(12), "both have as many");
        for (source, item) in [('c', 20), ('d', 30)] {
            assert!(matches!(queue.push(source, item, 4), Some(1 | 11)), "of one that has two");
        }
        assert_eq!(queue.push('e', 40, 4), Some(40), "nobody has two");
        assert_eq!(popped(&mut queue), [0, 10, 20, 30]);
        assert_eq!(queue.push('a', 1, 0), Some(1));
    }
}
