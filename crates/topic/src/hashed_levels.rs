//! Levels with their hash, so that one computation serves all look-ups of a walk.

use std::hash::BuildHasher;
use std::str::Split;

use crate::inline_stack::InlineStack;

/// A literal level with its hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Level<'a> {
    pub(crate) text: &'a str,
    pub(crate) hash: u64,
}

impl<'a> Level<'a> {
    pub(crate) fn new(text: &'a str, hasher: &impl BuildHasher) -> Self {
        Self { text, hash: hasher.hash_one(text) }
    }
}

/// The levels of a topic, each cut off and hashed once, when a walk first gets that deep.
#[derive(Debug)]
pub(crate) struct TopicLevels<'t> {
    seen: InlineStack<Level<'t>, 16>,
    rest: Split<'t, char>,
}

impl<'t> TopicLevels<'t> {
    pub(crate) fn new(topic: &'t str) -> Self {
        Self { seen: InlineStack::new(), rest: topic.split('/') }
    }

    /// The level at `depth`, which is at most one deeper than the deepest asked for before.
    pub(crate) fn at(&mut self, depth: u32, hasher: &impl BuildHasher) -> Option<Level<'t>> {
        if let Some(level) = self.seen.get(depth as usize) {
            return Some(level);
        }
        let level = Level::new(self.rest.next()?, hasher);
        self.seen.push(level);
        Some(level)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    #[test]
    fn levels_are_there_again_for_the_next_branch_of_a_walk() {
        let hasher = RandomState::new();
        let topic = format!("a//{}", "x/".repeat(20));
        let mut levels = TopicLevels::new(&topic);
        for _ in 0..2 {
            for (depth, text) in (0..).zip(topic.split('/')) {
                let level = levels.at(depth, &hasher).expect("a level for each text");
                assert_eq!((level.text, level.hash), (text, hasher.hash_one(text)));
            }
            assert!(levels.at(23, &hasher).is_none());
        }
    }
}
