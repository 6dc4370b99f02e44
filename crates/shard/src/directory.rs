//! What all shards of a broker share: which of them are active, how busy they are, and where
//! sessions and shared groups have their homes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_router::{Flapping, GroupHomes, Neighborhood, Place, PlaceSet, Replicas};

/// The shards' common knowledge. Asked when a client connects, when a session begins or ends, and
/// when a group gets or loses a member; never on the way of a message.
///
/// Shard 0 accepts and places all clients, and looks among its own sessions itself: only sessions
/// of other shards are listed, so that a broker with one active shard keeps no list at all. Clients
/// whose CONNECT is not decided yet are listed for shard 0, too: they may get a session there.
#[derive(Debug)]
pub struct Directory {
    shards: u8,
    active: AtomicU64,
    /// For each shard, how much of the time it works, in thousandths.
    loads: Box<[AtomicU32]>,
    homes: Mutex<HashMap<u64, Home, RandomState>>,
    groups: Mutex<HashMap<Box<str>, Home>>,
    retained_order: Arc<AtomicU64>,
    flapping: Arc<Flapping>,
    replicas: Arc<Replicas>,
    hasher: RandomState,
}

/// Where something lives, and what keeps it there.
#[derive(Debug)]
struct Home {
    place: Place,
    /// Sessions, and connections that may get one, or members.
    count: u32,
}

/// A client identifier in the directory: a seeded hash. Two that collide share a home, which
/// costs them nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientKey(u64);

impl Directory {
    /// The directory of a broker with this many shards, at most [`Place::MAX`]. Shard 0 is active.
    pub fn new(shards: usize) -> Self {
        let shards = shards.clamp(1, Place::MAX);
        Self {
            shards: shards as u8,
            active: AtomicU64::new(1),
            loads: (0..shards).map(|_| AtomicU32::new(0)).collect(),
            homes: Mutex::default(),
            groups: Mutex::default(),
            retained_order: Arc::default(),
            flapping: Arc::default(),
            replicas: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    /// Shards that exist.
    pub fn shards(&self) -> usize {
        usize::from(self.shards)
    }

    /// Shards that have, or are about to have, clients.
    pub fn active(&self) -> PlaceSet {
        PlaceSet(self.active.load(Ordering::Acquire))
    }

    /// Makes a shard active; returns those that were before it.
    pub(crate) fn activate(&self, place: Place) -> PlaceSet {
        let bit = PlaceSet::NONE.with(place).0;
        PlaceSet(self.active.fetch_or(bit, Ordering::AcqRel)).without(place)
    }

    pub(crate) fn neighborhood(self: &Arc<Self>, own: Place) -> Neighborhood {
        let group_homes: Arc<dyn GroupHomes> = Arc::<Self>::clone(self);
        let retained_order = Arc::clone(&self.retained_order);
        let (flapping, replicas) = (Arc::clone(&self.flapping), Arc::clone(&self.replicas));
        Neighborhood { own, retained_order, group_homes, flapping, replicas }
    }

    pub(crate) fn set_load(&self, place: Place, thousandths: u32) {
        if let Some(load) = self.loads.get(usize::from(place.0)) {
            load.store(thousandths, Ordering::Relaxed);
        }
    }

    pub(crate) fn load(&self, place: Place) -> u32 {
        self.loads.get(usize::from(place.0)).map_or(0, |load| load.load(Ordering::Relaxed))
    }

    pub(crate) fn key(&self, client_id: &str) -> ClientKey {
        ClientKey(self.hasher.hash_one(client_id))
    }

    /// The home of a client that shard 0 does not know: the shard that has its session, else what
    /// `choose` says. A handoff to another shard keeps the client there until [`Self::release`].
    pub(crate) fn home(&self, key: ClientKey, choose: impl FnOnce() -> Place) -> Place {
        match lock(&self.homes).entry(key.0) {
            Entry::Occupied(mut entry) => {
                let home = entry.get_mut();
                if home.place != Place(0) {
                    home.count += 1;
                }
                home.place
            }
            Entry::Vacant(entry) => {
                let place = choose();
                if place != Place(0) {
                    entry.insert(Home { place, count: 1 });
                }
                place
            }
        }
    }

    /// A session begins at `place`, or may begin there.
    pub(crate) fn retain(&self, key: ClientKey, place: Place) {
        lock(&self.homes).entry(key.0).or_insert(Home { place, count: 0 }).count += 1;
    }

    /// A session has ended, a handoff is done, or a CONNECT decided.
    pub(crate) fn release(&self, key: ClientKey) {
        release(lock(&self.homes).entry(key.0));
    }
}

impl GroupHomes for Directory {
    fn join(&self, text: &str, place: Place) -> Place {
        let mut groups = lock(&self.groups);
        let home = groups.entry(text.into()).or_insert(Home { place, count: 0 });
        home.count += 1;
        home.place
    }

    fn leave(&self, text: &str) {
        release(lock(&self.groups).entry(text.into()));
    }
}

fn release<K>(entry: Entry<'_, K, Home>) {
    let Entry::Occupied(mut entry) = entry else { return };
    let home = entry.get_mut();
    home.count = home.count.saturating_sub(1);
    if home.count == 0 {
        entry.remove();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one step, so that a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_home_while_a_handoff_or_a_session_is_there() {
        let directory = Directory::new(3);
        let key = directory.key("c");
        assert_eq!(directory.home(key, || Place(2)), Place(2));
        directory.retain(key, Place(2));
        directory.release(key);
        assert_eq!(directory.home(key, || Place(1)), Place(2), "its session is there");
        directory.release(key);
        directory.release(key);
        assert_eq!(directory.home(key, || Place(1)), Place(1), "nothing of it is left");
    }

    #[test]
    fn what_stays_on_shard_0_is_not_listed() {
        let directory = Directory::new(2);
        let key = directory.key("c");
        assert_eq!(directory.home(key, || Place(0)), Place(0));
        assert_eq!(directory.home(key, || Place(1)), Place(1));
    }

    #[test]
    fn whoever_is_not_decided_upon_on_shard_0_keeps_his_namesakes_there() {
        let directory = Directory::new(2);
        let key = directory.key("c");
        directory.retain(key, Place(0));
        for _ in 0..3 {
            assert_eq!(directory.home(key, || Place(1)), Place(0));
        }
        directory.release(key);
        assert_eq!(directory.home(key, || Place(1)), Place(1));
    }

    #[test]
    fn a_group_lives_where_its_first_member_does_until_its_last_has_left() {
        let directory = Directory::new(3);
        assert_eq!(directory.join("$share/g/t", Place(1)), Place(1));
        assert_eq!(directory.join("$share/g/t", Place(2)), Place(1));
        directory.leave("$share/g/t");
        directory.leave("$share/g/t");
        assert_eq!(directory.join("$share/g/t", Place(2)), Place(2));
    }

    #[test]
    fn activation_tells_who_was_first() {
        let directory = Directory::new(3);
        assert_eq!(directory.activate(Place(2)), PlaceSet::NONE.with(Place(0)));
        assert_eq!(directory.activate(Place(1)), PlaceSet::NONE.with(Place(0)).with(Place(2)));
        assert_eq!(directory.active(), PlaceSet(0b111));
    }
}
