//! Who has guessed wrong too often is not listened to for some time: by name and address, and by
//! address alone, so that neither one account nor one list of accounts can be tried through.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Failed logins. They outlive the users that were guessed at: a reload gives no new guesses. Cheap
/// to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Lockout(Arc<Mutex<HashMap<Guesser, Failures>>>);

/// Where guesses come from, and at which name; `None`: at any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Guesser {
    source: Option<IpAddr>,
    name: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// Unix time of the last one that counts.
    last: u64,
}

impl Lockout {
    /// Whether the next guess is not even looked at.
    pub(crate) fn is_locked(&self, name: &str, source: Option<IpAddr>, now: u64) -> bool {
        let all = self.failures();
        pair(name, source).iter().any(|(guesser, most)| {
            let failures = all.get(guesser);
            failures.is_some_and(|it| it.count >= *most && now < it.last + LOCKED_SECS)
        })
    }

    /// A guess was wrong.
    pub(crate) fn failed(&self, name: &str, source: Option<IpAddr>, now: u64) {
        let mut all = self.failures();
        if all.len() >= MOST {
            all.retain(|_, it| now < it.last + LOCKED_SECS);
        }
        if all.len() >= MOST {
            all.clear(); // from so many sources guessing cannot be held up by source
        }
        for (guesser, _) in pair(name, source) {
            let failures = all.entry(guesser).or_insert(Failures { count: 0, last: now });
            if now >= failures.last + LOCKED_SECS {
                failures.count = 0;
            }
            failures.count += 1;
            failures.last = now;
        }
    }

    /// A guess was right: what its name has against it from there is forgotten.
    pub(crate) fn succeeded(&self, name: &str, source: Option<IpAddr>) {
        let [(guesser, _), _] = pair(name, source);
        self.failures().remove(&guesser);
    }

    /// Counts that a panic left half done are still counts.
    fn failures(&self) -> MutexGuard<'_, HashMap<Guesser, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a guess counts for, and how many wrong ones are too many.
fn pair(name: &str, source: Option<IpAddr>) -> [(Guesser, u32); 2] {
    let source = source.map(network);
    [
        (Guesser { source, name: Some(beginning(name).into()) }, FOR_ONE_NAME),
        (Guesser { source, name: None }, FOR_ALL_NAMES),
    ]
}

/// As much of a name as is remembered of it: those that begin alike count together.
fn beginning(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST_NAME)]
}

/// Whose an address is, as far as can be told: an IPv6 host has a network of 2^64 addresses to
/// itself.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

const LONGEST_NAME: usize = 256;
const FOR_ONE_NAME: u32 = 5;
const FOR_ALL_NAMES: u32 = 100;
const LOCKED_SECS: u64 = 600;
/// Entries at most, some megabytes.
const MOST: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1)));
    const THERE: Option<IpAddr> = Some(IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 2)));

    #[test]
    fn five_wrong_guesses_at_a_name_lock_it_for_where_they_came_from() {
        let lockout = Lockout::default();
        for guess in 0..5 {
            assert!(!lockout.is_locked("a", HERE, 100), "{guess}");
            lockout.failed("a", HERE, 100);
        }
        assert!(lockout.is_locked("a", HERE, 699));
        assert!(!lockout.is_locked("a", THERE, 100));
        assert!(!lockout.is_locked("b", HERE, 100));
        assert!(!lockout.is_locked("a", HERE, 700));
        lockout.failed("a", HERE, 700);
        assert!(!lockout.is_locked("a", HERE, 700), "counting begins anew");
    }

    #[test]
    fn a_right_guess_forgets_the_wrong_ones() {
        let lockout = Lockout::default();
        for _ in 0..3 {
            for _ in 0..4 {
                lockout.failed("a", None, 1);
            }
            assert!(!lockout.is_locked("a", None, 1));
            lockout.succeeded("a", None);
        }
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let lockout = Lockout::default();
        let address = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        for host in 0..5 {
            lockout.failed("a", address(&format!("2001:db8:0:1::{host}")), 1);
            lockout.failed("a", address(&format!("::ffff:192.0.2.{}", host % 2)), 1);
        }
        assert!(lockout.is_locked("a", address("2001:db8:0:1:ffff::"), 1));
        assert!(!lockout.is_locked("a", address("2001:db8:0:2::1"), 1), "another network");
        assert!(!lockout.is_locked("a", address("192.0.2.1"), 1), "two of five");
        for _ in 0..2 {
            lockout.failed("a", address("192.0.2.0"), 1);
        }
        assert!(lockout.is_locked("a", address("::ffff:192.0.2.0"), 1), "the same one");
    }

    #[test]
    fn a_list_of_names_locks_where_it_comes_from() {
        let lockout = Lockout::default();
        for name in 0..100 {
            lockout.failed(&name.to_string(), HERE, 1);
        }
        assert!(lockout.is_locked("another", HERE, 1));
        assert!(!lockout.is_locked("another", THERE, 1));
    }

    #[test]
    fn memory_is_bounded() {
        let lockout = Lockout::default();
        for name in 0..MOST as u64 * 2 {
            lockout.failed(&name.to_string(), THERE, name / 100);
        }
        assert!(lockout.failures().len() <= MOST + 2);
    }
}
