//! Where shards leave their counters for whoever reports them.

use std::sync::{Mutex, PoisonError};

use agentmq_router::Counters;

/// One place per shard. Each shard writes its own now and then; readers add them up.
#[derive(Debug)]
pub struct ReportBoard {
    places: Vec<Mutex<Counters>>,
}

impl ReportBoard {
    /// A board for this many shards.
    pub fn new(shards: usize) -> Self {
        Self { places: (0..shards).map(|_| Mutex::default()).collect() }
    }

    /// All shards' counters together.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        for place in &self.places {
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
