//! Where shards leave their counters for whoever reports them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use agentmq_router::Counters;

/// One place per shard. Each shard writes its own now and then; readers add them up.
#[derive(Debug)]
pub struct ReportBoard {
    places: Vec<Mutex<Counters>>,
    /// The most clients that were connected at one report.
    connections_max: AtomicU64,
}

impl ReportBoard {
    /// A board for this many shards.
    pub fn new(shards: usize) -> Self {
        let places = (0..shards).map(|_| Mutex::default()).collect();
        Self { places, connections_max: AtomicU64::new(0) }
    }

    /// All shards' counters together.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        let mut highest = 0;
        for place in &self.places {
            let counters = *place.lock().unwrap_or_else(PoisonError::into_inner);
            highest = highest.max(counters.connections_max);
            total += counters;
        }
        // The shards' highest marks were not at the same time: the highest sum of a report, but no
        // less than one shard has seen.
        let sum = total.connections_now;
        let before = self.connections_max.fetch_max(sum, Ordering::Relaxed);
        total.connections_max = highest.max(before).max(sum);
        total
    }

    /// The other shards' counters together.
    pub(crate) fn others(&self, shard: usize) -> Counters {
        let mut total = Counters::default();
        for (_, place) in self.places.iter().enumerate().filter(|(at, _)| *at != shard) {
            total += *place.lock().unwrap_or_else(PoisonError::into_inner);
        }
        total
    }

    pub(crate) fn write(&self, shard: usize, counters: Counters) {
        if let Some(place) = self.places.get(shard) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = counters;
        }
    }
}
