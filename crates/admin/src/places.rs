//! Room for connections: so many in all, and so many of one address, so that nobody keeps the
//! others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who has connections. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// Room for one connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    places: Places,
    source: IpAddr,
}

impl Places {
    /// Takes a place; `None`: the address has as many as it may.
    pub(crate) fn take(&self, source: IpAddr) -> Option<Taken> {
        let source = source.to_canonical();
        let mut counts = self.counts();
        let count = counts.entry(source).or_default();
        if *count >= OF_ONE_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Taken { places: self.clone(), source })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// Connections in all; the next one waits.
pub(crate) const CONNECTIONS: usize = 256;
/// Connections of one address; the next one is closed.
const OF_ONE_ADDRESS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_the_others() {
        let places = Places::default();
        let (greedy, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut taken: Vec<_> = (0..OF_ONE_ADDRESS).filter_map(|_| places.take(greedy)).collect();
        assert_eq!(taken.len(), OF_ONE_ADDRESS);
        assert!(places.take(greedy).is_none());
        assert!(places.take(other).is_some());
        taken.pop();
        assert!(places.take(greedy).is_some(), "one has gone");
        drop(taken);
        assert!(places.counts().is_empty());
    }
}
