//! The subscription index: which filters match a topic.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;

use crate::filter::{FilterLevel, FilterLevels};
use crate::hashed_levels::{Level, TopicLevels};
use crate::inline_stack::InlineStack;

/// A map from topic filters to values, made to find all filters that match a topic.
///
/// One node a level; nodes and values lie in two arenas and know each other by 32-bit index, and
/// one hash table over (parent, level) finds a literal child, so a node with one child costs no
/// more than it needs and one with a million is found as fast. Nothing in here recurses: neither
/// a match nor a drop can exhaust the stack, however deep a filter is.
///
/// Clients choose the levels, so the hasher `S` must be seeded with what they cannot know:
/// [`FilterTrie::new`] takes std's random state, [`FilterTrie::with_hasher`] any. What the trie
/// answers, orders included, does not depend on the seed.
///
/// Filters are valid by [`check_filter`](crate::check_filter), without `$share/NAME/`; in others,
/// what is no wildcard by its place is a literal. A trie holds fewer than 2³² levels.
#[derive(Debug)]
pub struct FilterTrie<V, S = RandomState> {
    nodes: Slab<Node>,
    values: Slab<V>,
    /// All literal edges, by the hash of parent and level, as the index of the child.
    edges: HashTable<u32>,
    hasher: S,
}

impl<V> FilterTrie<V> {
    /// An empty trie whose hashing is seeded by std.
    #[must_use]
    pub fn new() -> Self {
        Self::with_hasher(RandomState::new())
    }
}

impl<V, S: BuildHasher + Default> Default for FilterTrie<V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<V, S: BuildHasher> FilterTrie<V, S> {
    /// An empty trie that hashes with `hasher`, whose seed must be unknown to clients.
    pub fn with_hasher(hasher: S) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(NONE, ""));
        Self { nodes, values: Slab::new(), edges: HashTable::new(), hasher }
    }

    /// The number of filters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Puts `value` at `filter` and returns the one it replaces.
    pub fn insert(&mut self, filter: &str, value: V) -> Option<V> {
        let place = self.make_place(filter);
        if let Some(old) = self.value_at(place).and_then(|id| self.values.get_mut(id)) {
            return Some(std::mem::replace(old, value));
        }
        let id = self.values.insert(value);
        self.set_value_at(place, index(id));
        None
    }

    /// The value at exactly this filter.
    #[must_use]
    pub fn get(&self, filter: &str) -> Option<&V> {
        self.values.get(self.value_at(self.find_place(filter)?)?)
    }

    /// The value at exactly this filter, to change.
    pub fn get_mut(&mut self, filter: &str) -> Option<&mut V> {
        let id = self.value_at(self.find_place(filter)?)?;
        self.values.get_mut(id)
    }

    /// The value at exactly this filter, made by `make` if there is none.
    pub fn get_or_insert_with(&mut self, filter: &str, make: impl FnOnce() -> V) -> &mut V {
        let place = self.make_place(filter);
        let id = match self.value_at(place) {
            Some(id) => id,
            None => {
                let id = self.values.insert(make());
                self.set_value_at(place, index(id));
                id
            }
        };
        self.values.get_mut(id).expect("a place names a value that exists until it is removed")
    }

    /// Takes the value at exactly this filter, and the nodes that nothing else needs.
    pub fn remove(&mut self, filter: &str) -> Option<V> {
        let place = self.find_place(filter)?;
        let value = self.values.try_remove(self.value_at(place)?);
        self.set_value_at(place, NONE);
        self.prune(place.node);
        value
    }

    /// Calls `visit` with the value of every filter that matches `topic` [MQTT-4.7], once each.
    ///
    /// Visits each node whose levels match the topic's first levels once, so the cost is bounded
    /// by the number of these nodes, however many levels are `+`. Allocates only for topics of
    /// more than 16 levels. The order is the same for the same filters.
    pub fn for_each_match(&self, topic: &str, mut visit: impl FnMut(&V)) {
        let mut levels = TopicLevels::new(topic);
        // Behind each level walked, at most one `+` child waits: no more entries than levels.
        let mut waiting = InlineStack::<(u32, u32), 16>::new();
        let mut next = Some((ROOT, 0));
        while let Some((at, depth)) = next {
            let Some(node) = self.node(at) else { break };
            let wildcards = depth > 0 || !topic.starts_with('$'); // [MQTT-4.7.2-1]
            // Before the topic's end is looked at: `a/#` matches `a` too.
            if wildcards && let Some(value) = self.value(node.multi) {
                visit(value);
            }
            let mut literal = None;
            if let Some(level) = levels.at(depth, &self.hasher) {
                let below = depth.saturating_add(1);
                if wildcards && node.single != NONE {
                    waiting.push((node.single, below));
                }
                if node.literals > 0 {
                    literal = self.child(at, level).map(|child| (child, below));
                }
            } else if let Some(value) = self.value(node.exact) {
                visit(value);
            }
            next = literal.or_else(|| waiting.pop());
        }
    }

    /// All filters and their values. The order is arbitrary, but the same after the same calls.
    pub fn iter(&self) -> impl Iterator<Item = (String, &V)> {
        self.nodes.iter().flat_map(|(id, node)| {
            let exact = self.value(node.exact).map(|value| (self.filter_of(id, false), value));
            let multi = self.value(node.multi).map(|value| (self.filter_of(id, true), value));
            exact.into_iter().chain(multi)
        })
    }

    /// Gives memory back that filters took which are gone.
    pub fn shrink_to_fit(&mut self) {
        let Self { nodes, values, edges, hasher } = self;
        nodes.shrink_to_fit();
        values.shrink_to_fit();
        edges.shrink_to_fit(|id| rehash(nodes, hasher, *id));
    }

    fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn value(&self, id: u32) -> Option<&V> {
        self.values.get(id as usize)
    }

    fn value_at(&self, place: Place) -> Option<usize> {
        let node = self.node(place.node)?;
        let id = if place.multi { node.multi } else { node.exact };
        (id != NONE).then_some(id as usize)
    }

    fn set_value_at(&mut self, place: Place, id: u32) {
        if let Some(node) = self.nodes.get_mut(place.node as usize) {
            let slot = if place.multi { &mut node.multi } else { &mut node.exact };
            *slot = id;
        }
    }

    fn find_place(&self, filter: &str) -> Option<Place> {
        let mut at = ROOT;
        for level in FilterLevels::new(filter) {
            at = match level {
                FilterLevel::Multi => return Some(Place { node: at, multi: true }),
                FilterLevel::Single => self.node(at)?.single,
                FilterLevel::Literal(text) => self.child(at, Level::new(text, &self.hasher))?,
            };
        }
        Some(Place { node: at, multi: false })
    }

    fn make_place(&mut self, filter: &str) -> Place {
        let mut at = ROOT;
        for level in FilterLevels::new(filter) {
            at = match level {
                FilterLevel::Multi => return Place { node: at, multi: true },
                FilterLevel::Single => self.make_single(at),
                FilterLevel::Literal(text) => self.make_literal(at, text),
            };
        }
        Place { node: at, multi: false }
    }

    fn make_single(&mut self, parent: u32) -> u32 {
        if let Some(node) = self.node(parent)
            && node.single != NONE
        {
            return node.single;
        }
        let id = index(self.nodes.insert(Node::new(parent, "")));
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.single = id;
        }
        id
    }

    fn make_literal(&mut self, parent: u32, text: &str) -> u32 {
        let level = Level::new(text, &self.hasher);
        if let Some(child) = self.child(parent, level) {
            return child;
        }
        let Self { nodes, edges, hasher, .. } = self;
        let id = index(nodes.insert(Node::new(parent, text)));
        if let Some(node) = nodes.get_mut(parent as usize) {
            node.literals = node.literals.saturating_add(1);
        }
        edges.insert_unique(edge_hash(parent, level.hash), id, |id| rehash(nodes, hasher, *id));
        id
    }

    /// The child of `parent` for a literal level.
    fn child(&self, parent: u32, level: Level<'_>) -> Option<u32> {
        let leads_here = |id: &u32| {
            self.node(*id).is_some_and(|node| node.parent == parent && *node.level == *level.text)
        };
        self.edges.find(edge_hash(parent, level.hash), leads_here).copied()
    }

    /// Removes the node if nothing is left in it, then its parent likewise, and so on.
    fn prune(&mut self, mut at: u32) {
        while at != ROOT
            && let Some(node) = self.node(at)
            && node.is_bare()
        {
            let parent = node.parent;
            let hash = edge_hash(parent, self.hasher.hash_one(&*node.level));
            if let Some(above) = self.nodes.get_mut(parent as usize) {
                if above.single == at {
                    above.single = NONE;
                } else if let Ok(edge) = self.edges.find_entry(hash, |id| *id == at) {
                    edge.remove();
                    above.literals = above.literals.saturating_sub(1);
                }
            }
            self.nodes.try_remove(at as usize);
            at = parent;
        }
    }

    /// Writes the filter of a node's value, from its last level to its first.
    fn filter_of(&self, id: usize, multi: bool) -> String {
        let mut levels = if multi { vec!["#"] } else { Vec::new() };
        let mut at = index(id);
        while let Some(node) = self.node(at)
            && let Some(above) = self.node(node.parent)
        {
            levels.push(if above.single == at { "+" } else { &node.level });
            at = node.parent;
        }
        levels.reverse();
        levels.join("/")
    }
}

/// The levels of the filters that start alike, up to here.
#[derive(Debug)]
struct Node {
    /// This node's literal level; empty for a `+`, which only its parent tells from a literal.
    level: Box<str>,
    /// [`NONE`] for the root.
    parent: u32,
    /// The child for `+`, or [`NONE`].
    single: u32,
    /// The number of literal children, which are found through the table of edges.
    literals: u32,
    /// The value of the filter that ends here, or [`NONE`].
    exact: u32,
    /// The value of the filter that goes on with `#`, or [`NONE`]: no node for that level.
    multi: u32,
}

impl Node {
    fn new(parent: u32, level: &str) -> Self {
        Self { level: level.into(), parent, single: NONE, literals: 0, exact: NONE, multi: NONE }
    }

    fn is_bare(&self) -> bool {
        self.exact == NONE && self.multi == NONE && self.single == NONE && self.literals == 0
    }
}

/// Where a filter's value is: in a node, or in the same node's `#`.
#[derive(Clone, Copy, Debug)]
struct Place {
    node: u32,
    multi: bool,
}

/// The hash of an edge, from the seeded hash of its level: the odd factor keeps the same level
/// under different parents apart, and hashing a level once serves all nodes of a depth.
fn edge_hash(parent: u32, level: u64) -> u64 {
    level.wrapping_add(u64::from(parent).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn rehash(nodes: &Slab<Node>, hasher: &impl BuildHasher, id: u32) -> u64 {
    nodes.get(id as usize).map_or(0, |node| edge_hash(node.parent, hasher.hash_one(&*node.level)))
}

fn index(id: usize) -> u32 {
    u32::try_from(id).ok().filter(|id| *id != NONE).expect("2^32 nodes do not fit the memory")
}

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, Hasher};

    use super::*;

    fn matched(trie: &FilterTrie<&'static str>, topic: &str) -> Vec<&'static str> {
        let mut found = Vec::new();
        trie.for_each_match(topic, |filter| found.push(*filter));
        found.sort_unstable();
        found
    }

    fn trie(filters: &[&'static str]) -> FilterTrie<&'static str> {
        let mut trie = FilterTrie::new();
        for filter in filters {
            assert_eq!(trie.insert(filter, *filter), None);
        }
        trie
    }

    #[test]
    fn a_topic_finds_the_filters_that_match_it() {
        let filters =
            ["a/b", "a/+", "+/b", "+/+", "a/#", "a/b/#", "#", "+", "a", "+/#", "/b", "$a/b"];
        let trie = trie(&filters);
        let all = ["#", "+/#", "+/+", "+/b", "a/#", "a/+", "a/b", "a/b/#"];
        assert_eq!(matched(&trie, "a/b"), all);
        assert_eq!(matched(&trie, "a"), ["#", "+", "+/#", "a", "a/#"]);
        assert_eq!(matched(&trie, "/b"), ["#", "+/#", "+/+", "+/b", "/b"]);
        assert_eq!(matched(&trie, "$a/b"), ["$a/b"]);
        assert_eq!(matched(&trie, "a/b/c"), ["#", "+/#", "a/#", "a/b/#"]);
    }

    #[test]
    fn dollar_topics_are_hidden_from_the_first_level_only() {
        let trie = trie(&["#", "+/a", "$SYS/#", "$SYS/+", "b/+", "b/#"]);
        assert_eq!(matched(&trie, "$SYS/a"), ["$SYS/#", "$SYS/+"]);
        assert_eq!(matched(&trie, "$SYS"), ["$SYS/#"]);
        assert_eq!(matched(&trie, "b/$c"), ["#", "b/#", "b/+"]);
    }

    #[test]
    fn it_is_a_map_by_filter() {
        let mut trie = FilterTrie::new();
        assert_eq!(trie.insert("a/+", 1), None);
        assert_eq!(trie.insert("a/+", 2), Some(1));
        assert_eq!(
            (trie.get("a/+"), trie.get("a/b"), trie.get("a"), trie.get("+/b")),
            (Some(&2), None, None, None)
        );
        *trie.get_mut("a/+").unwrap() += 1;
        *trie.get_or_insert_with("a/+", || 100) += 1;
        *trie.get_or_insert_with("#", || 100) += 1;
        assert_eq!((trie.get("a/+"), trie.get("#"), trie.len()), (Some(&4), Some(&101), 2));
        let mut entries: Vec<(String, &i32)> = trie.iter().collect();
        entries.sort_unstable();
        assert_eq!(entries, [("#".to_owned(), &101), ("a/+".to_owned(), &4)]);
        assert_eq!(
            (trie.remove("a"), trie.remove("a/+"), trie.remove("a/+")),
            (None, Some(4), None)
        );
        assert_eq!((trie.remove("#"), trie.is_empty()), (Some(101), true));
    }

    #[test]
    fn what_is_no_wildcard_by_its_place_is_a_literal() {
        let trie = trie(&["#/a", "b+/#", "", "/"]);
        assert_eq!(matched(&trie, "x/a"), [""; 0]);
        assert_eq!(matched(&trie, "#/a"), ["#/a"]);
        assert_eq!(matched(&trie, "b+"), ["b+/#"]);
        assert_eq!(matched(&trie, ""), [""]);
        assert_eq!(matched(&trie, "/"), ["/"]);
    }

    #[test]
    fn a_filter_of_65_400_slashes_overflows_nothing() {
        let deep = "+/".repeat(65_400);
        let slashes = "/".repeat(65_400);
        let small_stack = std::thread::Builder::new().stack_size(64 * 1024);
        let walk = move || {
            let mut trie = FilterTrie::new();
            for filter in [&deep, &slashes] {
                trie.insert(filter, ());
            }
            let mut matches = 0;
            trie.for_each_match(&slashes, |()| matches += 1);
            assert_eq!((matches, trie.iter().count()), (2, 2));
            assert_eq!(trie.remove(&deep), Some(()));
            assert_eq!(trie.nodes.len(), 65_402);
        };
        small_stack.spawn(walk).unwrap().join().unwrap();
    }

    #[test]
    fn levels_that_hash_alike_stay_apart() {
        #[derive(Default)]
        struct Constant;
        impl Hasher for Constant {
            fn finish(&self) -> u64 {
                0
            }
            fn write(&mut self, _: &[u8]) {}
        }
        let mut trie = FilterTrie::with_hasher(BuildHasherDefault::<Constant>::default());
        let filters: Vec<String> = (0..500).map(|parent| format!("{parent}/x")).collect();
        for filter in &filters {
            assert_eq!(trie.insert(filter, filter), None);
        }
        for filter in &filters {
            let mut found = Vec::new();
            trie.for_each_match(filter, |value| found.push(*value));
            assert_eq!(found, [filter]);
        }
        for filter in &filters {
            assert_eq!(trie.remove(filter), Some(filter));
        }
        assert_eq!((trie.nodes.len(), trie.edges.len()), (1, 0));
    }

    #[test]
    fn nodes_are_small() {
        assert_eq!(size_of::<Node>(), 40);
    }

    proptest::proptest! {
        #[test]
        fn removal_leaves_only_what_the_others_need(
            filters in proptest::collection::vec("([ab+]/){0,3}[ab+#]", 0..40),
            seed in proptest::prelude::any::<u64>(),
        ) {
            let hasher = foldhash::fast::SeedableRandomState::with_seed(
                seed, foldhash::SharedSeed::global_fixed());
            let mut trie = FilterTrie::with_hasher(hasher);
            for filter in &filters {
                trie.insert(filter, ());
            }
            let (half, rest) = filters.split_at(filters.len() / 2);
            for filter in half {
                trie.remove(filter);
            }
            // Every node left is on the way to a filter that is left.
            let mut needed = std::collections::BTreeSet::from([String::new()]);
            for filter in rest.iter().filter(|filter| !half.contains(filter)) {
                let path = filter.strip_suffix("#").unwrap_or(&**filter);
                let cuts = path.match_indices('/').map(|(cut, _)| cut).chain([path.len()]);
                needed.extend(cuts.map(|cut| path[..cut].to_owned()).filter(|it| !it.is_empty()));
            }
            needed.retain(|path| !path.ends_with('/'));
            proptest::prop_assert_eq!(trie.nodes.len(), needed.len());
            for filter in rest {
                trie.remove(filter);
            }
            trie.shrink_to_fit();
            proptest::prop_assert_eq!(
                (trie.nodes.len(), trie.values.len(), trie.edges.len()), (1, 0, 0));
        }
    }
}
