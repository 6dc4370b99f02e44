//! Clients that connect again and again.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use agentmq_session::Time;

/// Counts connects by client identifier, a minute at a time, and bans those that exceed the limit.
/// It bites only while the broker is busy: below [`BUSY`] connects a minute nobody is counted.
/// Identifiers are kept as hashes; memory is bounded by the connects of one minute and the bans of
/// five.
///
/// One for all shards, since a client that comes again may come to another one. Locked once for
/// each CONNECT.
#[derive(Debug, Default)]
pub struct Flapping(Mutex<Connects>);

#[derive(Debug, Default)]
struct Connects {
    minute: u64,
    connects: u32,
    counts: HashMap<u64, u32, foldhash::quality::RandomState>,
    bans: HashMap<u64, Time, foldhash::quality::RandomState>,
    hasher: foldhash::quality::RandomState,
}

impl Flapping {
    /// Counts one connect; true when the client is to be turned away. `limit` is in connects a
    /// minute; 0 turns the check off.
    pub(crate) fn is_banned(&self, client_id: &str, limit: u32, now: Time) -> bool {
        // Counts that a panic left half done are still counts.
        let mut connects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        limit > 0 && connects.is_banned(client_id, limit, now)
    }
}

impl Connects {
    fn is_banned(&mut self, client_id: &str, limit: u32, now: Time) -> bool {
        let minute = now.as_millis() / 60_000;
        if minute != self.minute {
            self.minute = minute;
            self.connects = 0;
            self.counts = HashMap::default();
            self.bans.retain(|_, until| *until > now);
        }
        self.connects = self.connects.saturating_add(1);
        if self.connects <= BUSY && self.bans.is_empty() {
            return false; // spares the hash
        }
        let hash = self.hasher.hash_one(client_id);
        if self.bans.get(&hash).is_some_and(|until| *until > now) {
            return true;
        }
        if self.connects <= BUSY {
            return false;
        }
        let count = self.counts.entry(hash).or_default();
        *count += 1;
        if *count <= limit {
            return false;
        }
        self.bans.insert(hash, now.after_secs(BAN_SECS));
        true
    }
}

/// Connects a minute from which the broker counts as busy.
const BUSY: u32 = 3_000;
const BAN_SECS: u32 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_broker_bans_nobody() {
        let flapping = Flapping::default();
        for _ in 0..BUSY {
            assert!(!flapping.is_banned("a", 15, Time::ZERO));
        }
    }

    #[test]
    fn a_busy_broker_bans_who_flaps_for_five_minutes() {
        let flapping = Flapping::default();
        for client in 0..BUSY {
            flapping.is_banned(&client.to_string(), 15, Time::ZERO);
        }
        for _ in 0..15 {
            assert!(!flapping.is_banned("flapper", 15, Time::ZERO));
        }
        assert!(flapping.is_banned("flapper", 15, Time::ZERO));
        assert!(!flapping.is_banned("other", 15, Time::ZERO));
        let later = |secs| Time::ZERO.after_secs(secs);
        assert!(flapping.is_banned("flapper", 15, later(299)));
        assert!(!flapping.is_banned("flapper", 15, later(301)));
    }

    #[test]
    fn a_ban_of_one_makes_nobody_else_count() {
        let flapping = Flapping::default();
        while !flapping.is_banned("flapper", 15, Time::ZERO) {}
        let quiet = Time::ZERO.after_secs(61);
        assert!(flapping.is_banned("flapper", 15, quiet));
        assert!((0..100).all(|_| !flapping.is_banned("other", 15, quiet)));
    }
}
