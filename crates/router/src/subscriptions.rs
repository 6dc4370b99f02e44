//! The shard's subscriptions: filter → sessions and shared groups.

use std::hash::BuildHasher;

use agentmq_topic::FilterTrie;

use crate::places::{Place, PlaceSet};
use crate::shared_group::Left;
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
    /// Those of them that must keep it.
    pub(crate) keeping: PlaceSet,
    /// Subscribers and members of groups whose sessions survive a crash.
    kept: u32,
}

/// How much one shard wants what a filter matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Not at all.
    #[default]
    Not,
    /// For sessions that end with a crash.
    Passing,
    /// Also for sessions that survive one: it must not be lost.
    Kept,
}

impl FilterEntry {
    /// Whether anything on this shard wants what matches.
    fn is_wanted(&self) -> bool {
        !self.subscribers.is_empty() || !self.groups.is_empty()
    }

    fn wanted(&self) -> Wanted {
        match self.is_wanted() {
            _ if self.kept > 0 => Wanted::Kept,
            true => Wanted::Passing,
            false => Wanted::Not,
        }
    }
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

    /// Adds or replaces a session's subscription. Like all that change what this shard wants, it
    /// answers how much that is now, if it was not as much before.
    pub(crate) fn insert(&mut self, filter: &str, subscriber: Subscriber) -> Option<Wanted> {
        self.touch(filter);
        let entry = self.trie.get_or_insert_with(filter, FilterEntry::default);
        let before = entry.wanted();
        let is_new = entry.subscribers.insert(subscriber);
        entry.kept += u32::from(is_new && subscriber.is_kept);
        self.count += u64::from(is_new);
        news(before, entry)
    }

    /// A session's subscription to this filter.
    pub(crate) fn of(&self, filter: &str, session: u32) -> Option<Subscriber> {
        self.trie.get(filter)?.subscribers.of(session)
    }

    /// Removes a session's subscription.
    pub(crate) fn remove(&mut self, filter: &str, session: u32) -> Option<Wanted> {
        let entry = self.trie.get_mut(filter)?;
        let before = entry.wanted();
        let removed = entry.subscribers.remove(session)?;
        entry.kept -= u32::from(removed.is_kept);
        let news = news(before, entry);
        self.count -= 1;
        self.prune(filter);
        news
    }

    /// A group that gets what matches `filter` has a new member; `is_first` makes the group get it.
    pub(crate) fn insert_member(
        &mut self,
        filter: &str,
        group: u32,
        is_first: bool,
        is_kept: bool,
    ) -> Option<Wanted> {
        self.touch(filter);
        let entry = self.trie.get_or_insert_with(filter, FilterEntry::default);
        let before = entry.wanted();
        if is_first {
            entry.groups.push(group);
        }
        entry.kept += u32::from(is_kept);
        news(before, entry)
    }

    /// The group has one less.
    pub(crate) fn remove_member(&mut self, left: &Left) -> Option<Wanted> {
        let entry = self.trie.get_mut(&left.filter)?;
        let before = entry.wanted();
        if left.is_last {
            entry.groups.retain(|&other| other != left.group);
        }
        entry.kept -= u32::from(left.is_kept);
        let news = news(before, entry);
        self.prune(&left.filter);
        news
    }

    /// How much another shard wants what matches `filter`.
    pub(crate) fn set_place(&mut self, filter: &str, place: Place, wanted: Wanted) {
        if wanted == Wanted::Not {
            if let Some(entry) = self.trie.get_mut(filter) {
                entry.places = entry.places.without(place);
                entry.keeping = entry.keeping.without(place);
                self.prune(filter);
            }
            return;
        }
        let entry = self.trie.get_or_insert_with(filter, FilterEntry::default);
        let before = (entry.places, entry.keeping);
        entry.places = entry.places.with(place);
        entry.keeping = match wanted {
            Wanted::Kept => entry.keeping.with(place),
            _ => entry.keeping.without(place),
        };
        if (entry.places, entry.keeping) != before {
            self.touch(filter);
        }
    }

    /// The filters that something on this shard wants, and how much.
    pub(crate) fn wanted(&self) -> Vec<(String, Wanted)> {
        let wanted = self.trie.iter().filter(|(_, entry)| entry.is_wanted());
        wanted.map(|(filter, entry)| (filter, entry.wanted())).collect()
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

/// How much is wanted now, if it was not as much before.
fn news(before: Wanted, entry: &FilterEntry) -> Option<Wanted> {
    let now = entry.wanted();
    (now != before).then_some(now)
}

const SLOTS: usize = 1024;
