//! How a shard becomes active: it says hello to those that are, and each tells it what it wants
//! and what it retains.
//!
//! Whoever gets a hello counts the new shard among its peers from then on, before it answers.
//! Mail between two shards keeps its order, so what changes after the answer was composed comes
//! behind it. Of two shards that become active at once one is the later, and says hello to the
//! other.

use agentmq_session::Time;

use crate::mail::{Mail, Replica, Welcome};
use crate::places::{Place, PlaceSet};
use crate::router::Router;

impl Router {
    /// The shard becomes active; `older` are those that were before it. It may have clients once
    /// [`Self::is_welcomed`].
    pub fn activate(&mut self, older: PlaceSet) {
        let older = older.without(self.peers.own);
        self.peers.welcomes_due = older;
        for place in older.iter() {
            self.peers.add(place);
        }
        self.peers.post_all(|| Mail::Hello);
    }

    /// Whether every shard that was active before this one has told it what it must know.
    pub fn is_welcomed(&self) -> bool {
        self.peers.welcomes_due.is_empty()
    }

    /// The other active shards that this one knows.
    pub fn peers(&self) -> PlaceSet {
        self.peers.active
    }

    /// Tells a new shard what is wanted here, and what is retained of what arrived here: each
    /// retained message is told by the shard at which it arrived, which has it or a newer one.
    pub(crate) fn welcome(&mut self, place: Place, now: Time) {
        let was_alone = self.peers.is_alone();
        self.peers.add(place);
        if was_alone {
            self.publish_groups();
        }
        let mut filters = Vec::new();
        for (filter, wanted) in self.subscriptions.wanted() {
            filters.push((filter.into_boxed_str(), wanted));
            if filters.len() == PORTION {
                let filters = std::mem::take(&mut filters);
                let welcome = Welcome { filters, ..Welcome::default() };
                self.peers.post(place, Mail::Welcome(Box::new(welcome)));
            }
        }
        let mut retained = Vec::new();
        for told in self.retained.arrived_at(self.peers.own, now) {
            retained.push(told);
            if retained.len() == PORTION {
                let retained = std::mem::take(&mut retained);
                let welcome = Welcome { retained, ..Welcome::default() };
                self.peers.post(place, Mail::Welcome(Box::new(welcome)));
            }
        }
        let last = Welcome { filters, retained, is_last: true };
        self.peers.post(place, Mail::Welcome(Box::new(last)));
    }

    pub(crate) fn welcomed(&mut self, from: Place, welcome: Welcome, now: Time) {
        for (filter, wanted) in &welcome.filters {
            self.subscriptions.set_place(filter, from, *wanted);
        }
        for Replica { message, stamp, author } in welcome.retained {
            self.retained.replicate(&message, stamp, author, now);
        }
        if welcome.is_last {
            self.peers.welcomes_due = self.peers.welcomes_due.without(from);
        }
    }
}

/// Filters or retained messages in one mail.
const PORTION: usize = 512;
