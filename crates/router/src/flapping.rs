//! Clients that connect again and again.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Whether a client is to be turned away, whatever it shows.
    pub(crate) fn is_banned(&self, client_id: &str, now: Time) -> bool {
        self.connects().is_banned(client_id, now)
    }

    /// Counts one client that is let in; true when it has come too often, now or lately. `limit` is
    /// in connects a minute; 0 turns the check off. Who is not let in does not count: anybody could
    /// name others' identifiers.
    pub(crate) fn comes_too_often(&self, client_id: &str, limit: u32, now: Time) -> bool {
        limit > 0 && self.connects().comes_too_often(client_id, limit, now)
    }

    /// Counts that a panic left half done are still counts.
    fn connects(&self) -> MutexGuard<'_, Connects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connects {
    fn is_banned(&self, client_id: &str, now: Time) -> bool {
        if self.bans.is_empty() {
            return false; // spares the hash
        }
        let until = self.bans.get(&self.hasher.hash_one(client_id));
        until.is_some_and(|until| *until > now)
    }

    fn comes_too_often(&mut self, client_id: &str, limit: u32, now: Time) -> bool {
        if self.is_banned(client_id, now) {
            return true;
        }
        let minute = now.as_millis() / 60_000;
        if minute != self.minute {
            self.minute = minute;
            self.connects = 0;
            self.counts = HashMap::default();
            self.bans.retain(|_, until| *until > now);
        }
        self.connects = self.connects.saturating_add(1);
        if self.connects <= BUSY {
            return false;
        }
        let hash = self.hasher.hash_one(client_id);
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

    const LIMIT: u32 = 15;

    fn busy() -> Flapping {
        let flapping = Flapping::default();
        for client in 0..BUSY {
            assert!(!flapping.comes_too_often(&client.to_string(), LIMIT, Time::ZERO));
        }
        flapping
    }

    #[test]
    fn an_idle_broker_bans_nobody() {
        let flapping = Flapping::default();
        for _ in 0..BUSY {
            assert!(!flapping.comes_too_often("a", LIMIT, Time::ZERO));
        }
    }

    #[test]
    fn a_busy_broker_bans_who_flaps_for_five_minutes() {
        let flapping = busy();
        for _ in 0..LIMIT {
            assert!(!flapping.comes_too_often("flapper", LIMIT, Time::ZERO));
        }
        assert!(!flapping.is_banned("flapper", Time::ZERO));
        assert!(flapping.comes_too_often("flapper", LIMIT, Time::ZERO));
        assert!(!flapping.comes_too_often("other", LIMIT, Time::ZERO));
        let later = |secs| Time::ZERO.after_secs(secs);
        assert!(flapping.is_banned("flapper", later(299)));
        assert!(!flapping.is_banned("flapper", later(301)));
    }

    #[test]
    fn a_ban_of_one_makes_nobody_else_count() {
        let flapping = busy();
        while !flapping.comes_too_often("flapper", LIMIT, Time::ZERO) {}
        let quiet = Time::ZERO.after_secs(61);
        assert!(flapping.is_banned("flapper", quiet));
        assert!((0..100).all(|_| !flapping.comes_too_often("other", LIMIT, quiet)));
    }
}
