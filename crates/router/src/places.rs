//! The shards of one broker, as their routers see each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_identity::own_client_id;

use crate::bundle::{Bundle, Room};
use crate::flapping::Flapping;
use crate::interest_barrier::InterestBarrier;
use crate::mail::{Mail, Stamp};
use crate::router::Router;
use crate::server_presence::Replicas;

/// One shard: an owner of sessions, and a place where a message may be needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u8);

impl Place {
    /// Shards that one broker may have.
    pub const MAX: usize = 64;
}

/// A set of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaceSet(pub u64);

impl PlaceSet {
    /// No shard.
    pub const NONE: Self = Self(0);

    /// Whether the set has no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `place` is a member.
    pub const fn has(self, place: Place) -> bool {
        self.0 >> (place.0 % 64) & 1 == 1
    }

    /// The set with `place`.
    #[must_use]
    pub const fn with(self, place: Place) -> Self {
        Self(self.0 | 1 << (place.0 % 64))
    }

    /// The set without `place`.
    #[must_use]
    pub const fn without(self, place: Place) -> Self {
        Self(self.0 & !(1 << (place.0 % 64)))
    }

    /// The members of both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Place> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let place = left.trailing_zeros() as u8;
            left &= left.wrapping_sub(1);
            (place < 64).then_some(Place(place))
        })
    }
}

/// Where each shared group has its home: a table that all shards of a broker share, asked when a
/// member joins or leaves.
pub trait GroupHomes: Send + Sync + std::fmt::Debug {
    /// One more member, which lives at `place`, for the group `$share/NAME/FILTER`. Answers the
    /// group's home, which is `place` for the first member.
    fn join(&self, text: &str, place: Place) -> Place;
    /// One member less. The group has no home any more when it was the last.
    fn leave(&self, text: &str);
}

/// What a router must know to be one of several.
#[derive(Debug, Clone)]
pub struct Neighborhood {
    /// This router's shard.
    pub own: Place,
    /// Counts the retained messages of all shards, so that the newest of a topic is the same
    /// everywhere.
    pub retained_order: Arc<AtomicU64>,
    /// Where shared groups have their homes.
    pub group_homes: Arc<dyn GroupHomes>,
    /// Counts the connects of all shards.
    pub flapping: Arc<Flapping>,
    /// Counts the replicas of tool servers on all shards.
    pub replicas: Arc<Replicas>,
}

/// A router's dealings with the routers of other shards.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) own: Place,
    /// The other active shards. While there is none, nothing here costs anything.
    pub(crate) active: PlaceSet,
    /// Shards that have not yet told everything that this new one must know.
    pub(crate) welcomes_due: PlaceSet,
    pub(crate) barrier: InterestBarrier,
    outgoing: Vec<(Place, Mail)>,
    /// Where in `outgoing` the bundles are that take more: the last mail for their places.
    open: Vec<(Place, usize)>,
    /// What the newest bundle has needed.
    room: Room,
    pub(crate) group_homes: Option<Arc<dyn GroupHomes>>,
    /// Sessions that have begun (true) or ended here.
    pub(crate) session_changes: Vec<(Arc<str>, bool)>,
    /// How many sessions shard 0 has of clients that call themselves so and are called otherwise.
    called_so_here: HashMap<Box<str>, u32>,
    pub(crate) connections_elsewhere: u64,
    pub(crate) sessions_elsewhere: u64,
    retained_order: Arc<AtomicU64>,
    /// Takes the place of `retained_order` while this shard is alone.
    own_order: u64,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            own: Place(0),
            active: PlaceSet::NONE,
            welcomes_due: PlaceSet::NONE,
            barrier: InterestBarrier::default(),
            outgoing: Vec::new(),
            open: Vec::new(),
            room: Room::default(),
            group_homes: None,
            session_changes: Vec::new(),
            called_so_here: HashMap::new(),
            connections_elsewhere: 0,
            sessions_elsewhere: 0,
            retained_order: Arc::default(),
            own_order: 0,
        }
    }
}

impl Peers {
    pub(crate) fn new(neighborhood: Neighborhood) -> Self {
        Self {
            own: neighborhood.own,
            retained_order: neighborhood.retained_order,
            group_homes: Some(neighborhood.group_homes),
            ..Self::default()
        }
    }

    /// Whether no other shard is active.
    pub(crate) fn is_alone(&self) -> bool {
        self.active.is_empty()
    }

    pub(crate) fn post(&mut self, to: Place, mail: Mail) {
        self.close(to);
        self.outgoing.push((to, mail));
    }

    /// How much mail this turn has for a place.
    pub(crate) fn pieces_for(&self, place: Place) -> u32 {
        self.outgoing.iter().filter(|(to, _)| *to == place).count() as u32
    }

    /// Posts to each other active shard.
    pub(crate) fn post_all(&mut self, mail: impl Fn() -> Mail) {
        for place in self.active.iter() {
            self.post(place, mail());
        }
    }

    /// Has a small message for a place put into its bundle, which stands behind everything that
    /// was posted there before.
    pub(crate) fn push(&mut self, to: Place, message: impl FnOnce(&mut Bundle)) {
        let open = self.open.iter().find(|(place, _)| *place == to).map(|(_, at)| *at);
        let at = open.unwrap_or_else(|| {
            self.open.push((to, self.outgoing.len()));
            self.outgoing.push((to, Mail::Bundle(Box::new(Bundle::with_room(self.room)))));
            self.outgoing.len() - 1
        });
        // What is open is the place of a bundle until all mail is taken.
        let Some((_, Mail::Bundle(bundle))) = self.outgoing.get_mut(at) else { return };
        message(bundle);
        if bundle.is_full() {
            self.close(to);
        }
    }

    /// Nothing more goes into the bundle for a place.
    fn close(&mut self, to: Place) {
        self.open.retain(|(place, _)| *place != to);
    }

    /// Moves all mail to the end of `list`.
    pub(crate) fn take(&mut self, list: &mut Vec<(Place, Mail)>) {
        self.open.clear();
        let newest = self.outgoing.iter().rev().find_map(|(_, mail)| match mail {
            Mail::Bundle(bundle) => Some(bundle.room()),
            _ => None,
        });
        self.room = newest.unwrap_or(self.room);
        list.append(&mut self.outgoing);
    }

    /// A session begins or ends here of a client of an organisation that calls itself so.
    fn note_called(&mut self, own: &str, has_begun: bool) {
        if has_begun {
            *self.called_so_here.entry(own.into()).or_default() += 1;
        } else if let Some(count) = self.called_so_here.get_mut(own) {
            *count -= 1;
            if *count == 0 {
                self.called_so_here.remove(own);
            }
        }
    }

    /// Another shard is active from now on.
    pub(crate) fn add(&mut self, place: Place) {
        if self.is_alone() {
            // What was stored so far is older than what any shard stores from now on.
            self.retained_order.fetch_max(self.own_order, Ordering::Relaxed);
        }
        self.active = self.active.with(place);
    }

    /// The stamp of the next retained message. The counter is shared, so that of two publications,
    /// of which the second was sent when the first had been acknowledged, the second is the newer
    /// one wherever it arrived.
    pub(crate) fn stamp(&mut self) -> Stamp {
        let order = if self.is_alone() {
            self.own_order += 1;
            self.own_order
        } else {
            self.retained_order.fetch_add(1, Ordering::Relaxed) + 1
        };
        Stamp { order, origin: self.own }
    }
}

impl Router {
    /// Makes the router one of several: before its first packet.
    #[must_use]
    pub fn among(mut self, neighborhood: Neighborhood) -> Self {
        self.flapping = Arc::clone(&neighborhood.flapping);
        self.replicas = Arc::clone(&neighborhood.replicas);
        self.peers = Peers::new(neighborhood);
        self
    }

    /// Whether a session lives here of a client that calls itself so.
    pub fn has_session(&self, own_client_id: &str) -> bool {
        self.by_client.contains_key(own_client_id)
            || self.peers.called_so_here.contains_key(own_client_id)
    }

    /// Moves the sessions that have begun (true) and ended since the last call to the end of
    /// `list`, in order, by what their clients call themselves. Shard 0 keeps no account.
    pub fn take_session_changes(&mut self, list: &mut Vec<(Arc<str>, bool)>) {
        list.append(&mut self.peers.session_changes);
    }

    /// What the other shards hold, which counts towards the limits of the broker.
    pub fn set_elsewhere(&mut self, connections: u64, sessions: u64) {
        self.peers.connections_elsewhere = connections;
        self.peers.sessions_elsewhere = sessions;
    }

    pub(crate) fn note_session(&mut self, client_id: &Arc<str>, has_begun: bool) {
        let own = own_client_id(client_id);
        let is_elsewhere = own.len() < client_id.len();
        if self.peers.own != Place(0) {
            let own = if is_elsewhere { own.into() } else { Arc::clone(client_id) };
            self.peers.session_changes.push((own, has_begun));
        } else if is_elsewhere {
            self.peers.note_called(own, has_begun);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_lists_its_members_in_order() {
        let set = PlaceSet::NONE.with(Place(63)).with(Place(0)).with(Place(5));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Place(0), Place(5), Place(63)]);
        assert_eq!(set.without(Place(5)).iter().count(), 2);
        assert!(set.has(Place(63)) && !set.has(Place(62)));
        assert_eq!(PlaceSet::NONE.iter().next(), None);
    }

    #[test]
    fn stamps_of_a_lonely_start_are_older_than_those_of_company() {
        let mut peers = Peers::default();
        let first = peers.stamp();
        let second = peers.stamp();
        peers.add(Place(1));
        assert!(first < second && second < peers.stamp());
    }
}
