//! The addresses from which a token has come.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Those that the broker has let in.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// That of the connection to the bus, which the broker ends when it lets it in no more.
    first: IpAddr,
    /// The others, and when each was let in; the newest last.
    others: Mutex<VecDeque<(IpAddr, Instant)>>,
}

impl Addresses {
    /// Those of a connection that was made for a client at this address.
    pub(crate) fn new(first: SocketAddr) -> Self {
        Self { first: first.ip().to_canonical(), others: Mutex::default() }
    }

    /// Whether the broker need not be asked about an address now.
    pub(crate) fn has(&self, from: SocketAddr, now: Instant) -> bool {
        let from = from.ip().to_canonical();
        let is_let_in = |(known, since): &(IpAddr, Instant)| {
            *known == from && now.saturating_duration_since(*since) < GOOD_FOR
        };
        self.first == from || self.lock().iter().any(is_let_in)
    }

    /// The broker has been asked about an address, and lets it in.
    pub(crate) fn add(&self, from: SocketAddr, now: Instant) {
        let from = from.ip().to_canonical();
        let mut others = self.lock();
        others.retain(|(known, _)| *known != from);
        if others.len() >= ADDRESSES {
            others.pop_front();
        }
        others.push_back((from, now));
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(IpAddr, Instant)>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses of one token that are remembered beside the first. The oldest is forgotten, and the
/// broker asked about it again when it comes back.
const ADDRESSES: usize = 256;

/// How long an answer of the broker holds: so long an address that is revoked may go on.
const GOOD_FOR: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: usize) -> SocketAddr {
        let text = format!("192.0.{}.{}:7", number / 256, number % 256);
        text.parse().expect("an address")
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let (addresses, now) = (Addresses::new(at(1000)), Instant::now());
        (0..=ADDRESSES).for_each(|number| addresses.add(at(number), now));
        let has = |number| addresses.has(at(number), now);
        assert!(!has(0) && has(1) && has(ADDRESSES) && has(1000));
        let mapped = "[::ffff:192.0.0.1]:9".parse().expect("an address");
        assert!(addresses.has(mapped, now), "whatever the port and the form");
    }

    #[test]
    fn the_broker_is_asked_again_after_a_while() {
        let (addresses, now) = (Addresses::new(at(1)), Instant::now());
        addresses.add(at(2), now);
        let (soon, late) = (now + GOOD_FOR / 2, now + GOOD_FOR);
        assert!(addresses.has(at(2), soon) && !addresses.has(at(2), late));
        assert!(addresses.has(at(1), late), "the connection itself ends with that one");
        addresses.add(at(2), late);
        assert!(addresses.has(at(2), late));
        assert_eq!(addresses.lock().len(), 1);
    }
}
