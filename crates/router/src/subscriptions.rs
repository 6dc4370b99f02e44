//! The shard's subscriptions: filter → sessions and shared groups.

use std::hash::BuildHasher;

use agentmq_topic::FilterTrie;

use crate::places::{Place, PlaceSet};
use crate::subscribers::{Subscriber, Subscribers};

/// The subscription index, with generations that tell a cached route whether it still holds.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    /// Hashed with a seed that clients cannot know, and nothing they see depends on it. A match of
    /// three levels costs a quarter of what it does with std's hash.
    trie: FilterTrie<FilterEntry, foldhash::quality::RandomState>,
    count: u64,
    /// Those of `count` that are members of groups.
    members: u64,
    /// One generation for each slot of hashed first levels.
    generations: Box<[u32]>,
    /// Bumped by filters that begin with a wildcard, which concern every topic.
    wildcard_generation: u32,
    hasher: foldhash::fast::RandomState,
}

/// What one filter leads to.
#[derive(Debug, Default)]
pub(crate) struct FilterEntry {
    pub(crate) subscribers: Subscribers,
    /// Shared groups of this filter.
    pub(crate) groups: Vec<u32>,
    /// Other shards that want what matches.
    pub(crate) places: PlaceSet,
}

impl FilterEntry {
    /// Whether anything on this shard wants what matches.
    fn is_wanted(&self) -> bool {
        !self.subscribers.is_empty() || !self.groups.is_empty()
    }
}

/// What an addition changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    /// The session had no subscription with this filter.
    pub(crate) is_new: bool,
    /// Nothing on this shard had.
    pub(crate) is_first: bool,
}

/// What a removal changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// There was nothing to remove.
    Nothing,
    /// Others on this shard still want what the filter matches.
    One,
    /// Nothing on this shard wants it any more.
    Last,
}

/// The state of the subscriptions that concern one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Of the topic's first level.
    slot: u32,
    at_slot: u32,
    wildcard: u32,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            trie: FilterTrie::default(),
            count: 0,
            members: 0,
            generations: vec![0; SLOTS].into_boxed_slice(),
            wildcard_generation: 0,
            hasher: foldhash::fast::RandomState::default(),
        }
    }
}

impl Subscriptions {
    /// Subscriptions of sessions, members of groups included.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Members of groups among them.
    pub(crate) fn shared(&self) -> u64 {
        self.members
    }

    /// Adds or replaces a session's subscription.
    pub(crate) fn insert(&mut self, filter: &str, subscriber: Subscriber) -> Added {
        self.touch(filter);
        let entry = self.trie.get_or_insert_with(filter, FilterEntry::default);
        let is_first = !entry.is_wanted();
        let is_new = entry.subscribers.insert(subscriber);
        self.count += u64::from(is_new);
        Added { is_new, is_first }
    }

    /// Removes a session's subscription.
    pub(crate) fn remove(&mut self, filter: &str, session: u32) -> Removed {
        let Some(entry) = self.trie.get_mut(filter) else { return Removed::Nothing };
        if !entry.subscribers.remove(session) {
            return Removed::Nothing;
        }
        let is_last = !entry.is_wanted();
        self.count -= 1;
        self.prune(filter);
        if is_last { Removed::Last } else { Removed::One }
    }

    /// Makes a group receive what matches `filter`; true when nothing on this shard did.
    pub(crate) fn insert_group(&mut self, filter: &str, group: u32) -> bool {
        self.touch(filter);
        let entry = self.trie.get_or_insert_with(filter, FilterEntry::default);
        let is_first = !entry.is_wanted();
        entry.groups.push(group);
        is_first
    }

    /// Ends that; true when nothing on this shard wants it any more.
    pub(crate) fn remove_group(&mut self, filter: &str, group: u32) -> bool {
        let Some(entry) = self.trie.get_mut(filter) else { return false };
        let before = entry.groups.len();
        entry.groups.retain(|&other| other != group);
        let is_last = entry.groups.len() < before && !entry.is_wanted();
        self.prune(filter);
        is_last
    }

    /// Another shard wants, or no longer wants, what matches `filter`.
    pub(crate) fn set_place(&mut self, filter: &str, place: Place, wanted: bool) {
        if wanted {
            let entry = self.trie.get_or_insert_with(filter, FilterEntry::default);
            if entry.places.has(place) {
                return;
            }
            entry.places = entry.places.with(place);
            self.touch(filter);
        } else if let Some(entry) = self.trie.get_mut(filter) {
            entry.places = entry.places.without(place);
            self.prune(filter);
        }
    }

    /// The filters that something on this shard wants.
    pub(crate) fn wanted(&self) -> Vec<String> {
        let wanted = self.trie.iter().filter(|(_, entry)| entry.is_wanted());
        wanted.map(|(filter, _)| filter).collect()
    }

    /// Members of groups count as subscriptions.
    pub(crate) fn count_member(&mut self, joined: bool) {
        for count in [&mut self.count, &mut self.members] {
            *count = if joined { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    pub(crate) fn for_each_match(&self, topic: &str, visit: impl FnMut(&FilterEntry)) {
        self.trie.for_each_match(topic, visit);
    }

    /// The generation of what concerns `topic`.
    pub(crate) fn generation(&self, topic: &str) -> Generation {
        let slot = self.slot(topic);
        let (at_slot, wildcard) = (self.generations[slot], self.wildcard_generation);
        Generation { slot: slot as u32, at_slot, wildcard }
    }

    /// Whether nothing has changed since then that concerns its topic.
    pub(crate) fn is_current(&self, generation: Generation) -> bool {
        let at_slot = self.generations.get(generation.slot as usize).copied();
        at_slot == Some(generation.at_slot) && self.wildcard_generation == generation.wildcard
    }

    /// Makes cached routes of topics that `filter` may match look again.
    fn touch(&mut self, filter: &str) {
        if filter.starts_with(['+', '#']) {
            self.wildcard_generation = self.wildcard_generation.wrapping_add(1);
        } else {
            let slot = self.slot(filter);
            self.generations[slot] = self.generations[slot].wrapping_add(1);
        }
    }

    fn prune(&mut self, filter: &str) {
        self.touch(filter);
        let is_unused = self
            .trie
            .get(filter)
            .is_some_and(|entry| !entry.is_wanted() && entry.places.is_empty());
        if is_unused {
            self.trie.remove(filter);
        }
    }

    fn slot(&self, topic: &str) -> usize {
        let end = topic.as_bytes().iter().position(|&b| b == b'/').unwrap_or(topic.len());
        self.hasher.hash_one(&topic.as_bytes()[..end]) as usize % SLOTS
    }
}

const SLOTS: usize = 1024;
