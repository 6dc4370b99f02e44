//! The order of topic names in which a topic comes right before the topics under it.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// A topic name as an ordered map's key: names compare level by level, so that all names under a
/// level lie together, right behind that level's own name.
#[derive(Debug)]
pub(crate) struct LevelOrdered(Box<str>);

impl LevelOrdered {
    pub(crate) fn new(topic: &str) -> Self {
        Self(topic.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name in level order, whoever owns it: what lets a `&str` look up a [`LevelOrdered`].
pub(crate) trait LevelOrder {
    fn name(&self) -> &str;
}

impl LevelOrder for LevelOrdered {
    fn name(&self) -> &str {
        &self.0
    }
}

impl LevelOrder for &str {
    fn name(&self) -> &str {
        self
    }
}

impl<'a> Borrow<dyn LevelOrder + 'a> for LevelOrdered {
    fn borrow(&self) -> &(dyn LevelOrder + 'a) {
        self
    }
}

impl Ord for dyn LevelOrder + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        level_order(self.name(), other.name())
    }
}

impl PartialOrd for dyn LevelOrder + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn LevelOrder + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn LevelOrder + '_ {}

// A map wants keys and what they borrow to agree on the order.
impl Ord for LevelOrdered {
    fn cmp(&self, other: &Self) -> Ordering {
        level_order(&self.0, &other.0)
    }
}

impl PartialOrd for LevelOrdered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for LevelOrdered {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for LevelOrdered {}

/// Compares two names level by level, and each level byte by byte.
///
/// That is the order of their bytes with `/` put before all others: it ends a level, and what
/// ends first comes first.
pub(crate) fn level_order(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    // Eight bytes at a time over what they share: names of one tree start alike.
    let alike = left
        .as_chunks::<8>()
        .0
        .iter()
        .zip(right.as_chunks::<8>().0)
        .take_while(|(left, right)| left == right)
        .count()
        .saturating_mul(8);
    let left = left.get(alike..).unwrap_or_default();
    let right = right.get(alike..).unwrap_or_default();
    left.iter().map(rank).cmp(right.iter().map(rank))
}

/// A byte's place in the order: `/` first, the others as they are, U+0000 included, so that the
/// order is total over any text.
fn rank(byte: &u8) -> u8 {
    match *byte {
        b'/' => 0,
        before @ 0..b'/' => before.wrapping_add(1),
        behind => behind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_comes_before_those_under_it_and_they_before_its_sibling() {
        let sorted =
            ["", "/", "//", "/a", "$a", "a", "a/", "a//b", "a/a", "a/b/c", "a\0", "a!", "ab"];
        for (index, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(level_order(left, right), index.cmp(&other), "{left:?} {right:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn it_is_the_order_of_the_lists_of_levels(
            left in "[ab/\0!é]{0,24}", right in "[ab/\0!é]{0,24}", start in "[a/]{0,20}",
        ) {
            let (left, right) = (start.clone() + &left, start + &right);
            let levels: Vec<&[u8]> = left.split('/').map(str::as_bytes).collect();
            let others: Vec<&[u8]> = right.split('/').map(str::as_bytes).collect();
            proptest::prop_assert_eq!(level_order(&left, &right), levels.cmp(&others));
        }
    }
}
