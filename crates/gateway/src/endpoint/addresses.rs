//! The addresses from which a token has come.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those that the broker has let in, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<VecDeque<IpAddr>>);

impl Addresses {
    pub(crate) fn has(&self, from: SocketAddr) -> bool {
        self.lock().contains(&from.ip().to_canonical())
    }

    pub(crate) fn add(&self, from: SocketAddr) {
        let mut all = self.lock();
        if all.len() >= ADDRESSES {
            all.pop_front();
        }
        all.push_back(from.ip().to_canonical());
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, VecDeque<IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses of one token that are remembered. The oldest is forgotten, and the broker asked about
/// it again when it comes back.
const ADDRESSES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let addresses = Addresses::default();
        let at = |number: usize| {
            let text = format!("192.0.{}.{}:7", number / 256, number % 256);
            text.parse().expect("an address")
        };
        (0..=ADDRESSES).for_each(|number| addresses.add(at(number)));
        assert!(!addresses.has(at(0)) && addresses.has(at(1)) && addresses.has(at(ADDRESSES)));
        let mapped = "[::ffff:192.0.0.1]:9".parse().expect("an address");
        assert!(addresses.has(mapped), "whatever the port and the form");
    }
}
