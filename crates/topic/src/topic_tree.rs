//! The index of retained messages: which topics a filter matches.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::{Bound, ControlFlow};

use crate::filter::{FilterLevel, FilterLevels};
use crate::level_order::{LevelOrder, LevelOrdered, level_order};
use crate::matching::hides_from;

/// A map from topic names to values, made to find all topics that a filter matches.
///
/// Tree order: a topic comes before those under it, siblings by the bytes of their level. The
/// tree is kept as one ordered map, in which everything under a level is a contiguous run; a
/// filter's walk skips the runs that it cannot match.
///
/// Names are valid by [`check_name`](crate::check_name), filters by
/// [`check_filter`](crate::check_filter).
#[derive(Debug)]
pub struct TopicTree<V> {
    entries: BTreeMap<LevelOrdered, V>,
}

impl<V> TopicTree<V> {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    /// The number of topics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts `value` at `topic` and returns the one it replaces.
    pub fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        match self.get_mut(topic) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => self.entries.insert(LevelOrdered::new(topic), value),
        }
    }

    /// Takes the value at `topic`.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        self.entries.remove(&topic as &dyn LevelOrder)
    }

    /// The value at `topic`.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&V> {
        self.entries.get(&topic as &dyn LevelOrder)
    }

    /// The value at `topic`, to change.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        self.entries.get_mut(&topic as &dyn LevelOrder)
    }

    /// Visits the entries that `filter` matches [MQTT-4.7], in tree order, starting behind the
    /// topic `after`; stops when `visit` breaks.
    ///
    /// To take a long walk in turns, break after enough entries and give the last topic visited
    /// as `after` next time. It need not exist any more: an entry that stays is visited once; one
    /// that comes in between is visited if it lies behind the cursor.
    ///
    /// This bounds what is visited, not what is skipped on the way to it: where clients choose
    /// the filter, use [`for_each_match_within`](Self::for_each_match_within).
    pub fn for_each_match_after(
        &self,
        filter: &str,
        after: Option<&str>,
        visit: impl FnMut(&str, &V) -> ControlFlow<()>,
    ) {
        self.for_each_match_within(filter, after, usize::MAX, visit);
    }

    /// Like [`for_each_match_after`](Self::for_each_match_after), and stops also when `looks`
    /// entries (at least one) have been looked at, matching or not.
    ///
    /// Answers what to give as `after` to go on, or `None` at the end. A look costs a comparison,
    /// and a search of the map where a run of topics is skipped; a walk looks at up to two
    /// entries beside the matches for each level in the tree that a `+` stands for.
    pub fn for_each_match_within(
        &self,
        filter: &str,
        after: Option<&str>,
        looks: usize,
        mut visit: impl FnMut(&str, &V) -> ControlFlow<()>,
    ) -> Option<String> {
        let mut target = String::new();
        let mut looks_left = looks;
        let mut range = self.range(after.map_or(Bound::Unbounded, Bound::Excluded));
        let mut entry = range.next();
        while let Some((topic, value)) = entry {
            let topic = topic.as_str();
            entry = match compare(filter, topic, &mut target) {
                Verdict::Match if visit(topic, value).is_break() => return Some(topic.to_owned()),
                Verdict::Match | Verdict::Next => range.next(),
                Verdict::Skip => self.skip_to(&target, &mut range),
                Verdict::End => None,
            };
            looks_left = looks_left.saturating_sub(1);
            if looks_left == 0 && entry.is_some() {
                return Some(topic.to_owned());
            }
        }
        None
    }

    /// Visits all entries in tree order, `$` topics included, starting behind the topic `after`;
    /// stops when `visit` breaks. This is for a sweep in turns, as with
    /// [`for_each_match_after`](Self::for_each_match_after).
    pub fn for_each_after(
        &self,
        after: Option<&str>,
        mut visit: impl FnMut(&str, &V) -> ControlFlow<()>,
    ) {
        for (topic, value) in self.range(after.map_or(Bound::Unbounded, Bound::Excluded)) {
            if visit(topic.as_str(), value).is_break() {
                return;
            }
        }
    }

    /// All entries in tree order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.iter().map(|(topic, value)| (topic.as_str(), value))
    }

    /// Keeps the entries for which `keep` answers true, in one walk over all.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut V) -> bool) {
        self.entries.retain(|topic, value| keep(topic.as_str(), value));
    }

    fn range(&self, from: Bound<&str>) -> Range<'_, LevelOrdered, V> {
        let from = match &from {
            Bound::Included(topic) => Bound::Included(topic as &dyn LevelOrder),
            Bound::Excluded(topic) => Bound::Excluded(topic as &dyn LevelOrder),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.entries.range::<dyn LevelOrder, _>((from, Bound::Unbounded))
    }

    /// The first entry at or behind `target`, which is behind `range`'s last.
    fn skip_to<'a>(
        &'a self,
        target: &str,
        range: &mut Range<'a, LevelOrdered, V>,
    ) -> Option<(&'a LevelOrdered, &'a V)> {
        // A few steps cost less than a search, and most runs to skip are short.
        for _ in 0..STEPS_BEFORE_SEARCH {
            let entry = range.next()?;
            if level_order(entry.0.as_str(), target).is_ge() {
                return Some(entry);
            }
        }
        *range = self.range(Bound::Included(target));
        range.next()
    }
}

impl<V> Default for TopicTree<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a topic says about the walk of a filter.
enum Verdict {
    /// The filter matches.
    Match,
    /// It does not, but may match the next topic.
    Next,
    /// It matches none before the target.
    Skip,
    /// It matches none from here on.
    End,
}

/// Compares a topic with a filter; for [`Verdict::Skip`], `target` becomes the least text that is
/// not before the next topic that the filter may match.
fn compare(filter: &str, topic: &str, target: &mut String) -> Verdict {
    if hides_from(filter, topic) {
        target.clear();
        target.push(AFTER_DOLLAR);
        return Verdict::Skip;
    }
    let mut start = 0_usize; // of the level looked at
    let mut last_single = None; // the end of the deepest level so far that stands for a `+`
    let mut texts = topic.split('/');
    for level in FilterLevels::new(filter) {
        let text = texts.next();
        match (level, text) {
            (FilterLevel::Multi, _) => return Verdict::Match,
            // The topics under this one come next, and may have the levels it lacks.
            (_, None) => return Verdict::Next,
            (FilterLevel::Single, Some(text)) => {
                last_single = Some(start.saturating_add(text.len()));
            }
            (FilterLevel::Literal(wanted), Some(text)) if text < wanted => {
                set_target(target, topic, start, wanted);
                return Verdict::Skip;
            }
            (FilterLevel::Literal(wanted), Some(text)) if text > wanted => {
                return skip_single(topic, last_single, target);
            }
            (FilterLevel::Literal(_), Some(_)) => {}
        }
        start = start.saturating_add(text.map_or(0, str::len)).saturating_add(1);
    }
    match texts.next() {
        None => Verdict::Match,
        Some(_) => skip_single(topic, last_single, target),
    }
}

/// Leaves the run of the deepest `+`: all that can match within it is behind us.
fn skip_single(topic: &str, last_single: Option<usize>, target: &mut String) -> Verdict {
    let Some(end) = last_single else { return Verdict::End };
    set_target(target, topic, end, LEAST);
    Verdict::Skip
}

fn set_target(target: &mut String, topic: &str, end: usize, suffix: &str) {
    target.clear();
    target.push_str(topic.get(..end).unwrap_or(topic));
    target.push_str(suffix);
}

/// In level order, the least character but `/`: a level with this behind it is the bound between
/// the topics under the level and the next sibling.
const LEAST: &str = "\0";

/// The character that follows `$`.
const AFTER_DOLLAR: char = '%';

const STEPS_BEFORE_SEARCH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(topics: &[&'static str]) -> TopicTree<&'static str> {
        let mut tree = TopicTree::new();
        for topic in topics {
            assert_eq!(tree.insert(topic, *topic), None);
        }
        tree
    }

    fn matched<'a>(
        tree: &'a TopicTree<&'a str>,
        filter: &str,
        after: Option<&str>,
    ) -> Vec<&'a str> {
        let mut found = Vec::new();
        tree.for_each_match_after(filter, after, |topic, value| {
            assert_eq!(topic, *value);
            found.push(*value);
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn a_filter_finds_its_topics_in_tree_order() {
        let tree = tree(&["b", "a!", "a/b/c", "a", "a/b", "a/", "$a", "$a/b", "/b", "c/b"]);
        assert_eq!(matched(&tree, "#", None), ["/b", "a", "a/", "a/b", "a/b/c", "a!", "b", "c/b"]);
        assert_eq!(matched(&tree, "a/#", None), ["a", "a/", "a/b", "a/b/c"]);
        assert_eq!(matched(&tree, "+/b", None), ["/b", "a/b", "c/b"]);
        assert_eq!(matched(&tree, "+", None), ["a", "a!", "b"]);
        assert_eq!(matched(&tree, "+/b/+", None), ["a/b/c"]);
        assert_eq!(matched(&tree, "$a/#", None), ["$a", "$a/b"]);
        assert_eq!(matched(&tree, "a/b", None), ["a/b"]);
        assert_eq!(matched(&tree, "x", None), [""; 0]);
        let order = ["/b", "$a", "$a/b", "a", "a/", "a/b", "a/b/c", "a!", "b", "c/b"];
        assert_eq!(tree.iter().map(|(topic, _)| topic).collect::<Vec<_>>(), order);
    }

    #[test]
    fn a_cursor_outlives_its_entry() {
        let mut tree = tree(&["a/1", "a/2", "a/3", "b/1"]);
        assert_eq!(matched(&tree, "+/+", Some("a/2")), ["a/3", "b/1"]);
        tree.remove("a/2");
        tree.insert("a/1x", "a/1x");
        tree.insert("a/2x", "a/2x");
        assert_eq!(matched(&tree, "+/+", Some("a/2")), ["a/2x", "a/3", "b/1"]);
        assert_eq!(matched(&tree, "a/+", Some("b/1")), [""; 0]);
        assert_eq!(matched(&tree, "b/+", Some("a/2")), ["b/1"]);
    }

    #[test]
    fn it_is_a_map_by_topic() {
        let mut tree = TopicTree::default();
        assert_eq!((tree.insert("a/b", 1), tree.insert("a/b", 2), tree.len()), (None, Some(1), 1));
        assert_eq!((tree.get("a/b"), tree.get("a"), tree.get("a/b/")), (Some(&2), None, None));
        *tree.get_mut("a/b").unwrap() += 1;
        assert_eq!(
            (tree.remove("a"), tree.remove("a/b"), tree.remove("a/b")),
            (None, Some(3), None)
        );
        assert!(tree.is_empty());
    }

    #[test]
    fn sweeps_see_all_topics_and_stop_when_told() {
        let mut tree = tree(&["$a", "a", "b", "c"]);
        let mut seen = Vec::new();
        tree.for_each_after(Some("$a"), |topic, _| {
            seen.push(topic.to_owned());
            if topic == "b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(seen, ["a", "b"]);
        tree.retain(|topic, _| topic != "a" && topic != "$a");
        assert_eq!(tree.iter().map(|(topic, _)| topic).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn a_walk_looks_only_where_its_filter_can_match() {
        let mut tree = TopicTree::new();
        for device in 0..100 {
            for metric in 0..100 {
                tree.insert(&format!("site/{device:02}/metric/{metric:02}"), ());
            }
        }
        let walk = |looks| {
            let mut matches = 0;
            let filter = "site/+/metric/77";
            let rest = tree.for_each_match_within(filter, None, looks, |_, ()| {
                matches += 1;
                ControlFlow::Continue(())
            });
            (matches, rest)
        };
        // For each device: its first topic, the match, and the one behind it.
        assert_eq!(walk(300), (100, None));
        assert_eq!(walk(299), (100, Some("site/99/metric/77".to_owned())));
        assert_eq!(walk(0), (0, Some("site/00/metric/00".to_owned())));
    }

    #[test]
    fn a_topic_of_65_400_slashes_overflows_nothing() {
        let slashes = "/".repeat(65_400);
        let mut tree = TopicTree::new();
        tree.insert(&slashes, ());
        let mut matches = 0;
        for filter in ["#".to_owned(), "+/".repeat(65_400) + "#", slashes.clone() + "/"] {
            tree.for_each_match_after(&filter, None, |_, ()| {
                matches += 1;
                ControlFlow::Continue(())
            });
        }
        assert_eq!((matches, tree.remove(&slashes)), (2, Some(())));
    }
}
