//! How much of one queue survives the broker.

use std::sync::Arc;

use crate::{Away, Delivery, QueueMemory};

/// The messages of one queue that survive the broker, in numbers. Nothing for a queue without any.
#[derive(Debug, Default)]
pub(crate) struct Kept(Option<Box<Tally>>);

#[derive(Debug, Default)]
struct Tally {
    count: u32,
    bytes: usize,
    /// Of these, on the disk alone.
    away: u32,
    away_bytes: usize,
    /// What all queues hold together.
    all: Arc<QueueMemory>,
}

impl Kept {
    /// None.
    pub(crate) const NONE: Self = Self(None);

    /// What is counted here is part of `all`. To be called before anything is.
    pub(crate) fn belongs_to(&mut self, all: Arc<QueueMemory>) {
        self.0 = Some(Box::new(Tally { all, ..Tally::default() }));
    }

    /// Messages, in memory or not.
    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |tally| tally.count as usize)
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |tally| tally.bytes)
    }

    /// Messages that are on the disk alone.
    pub(crate) fn away(&self) -> usize {
        self.0.as_ref().map_or(0, |tally| tally.away as usize)
    }

    /// Bytes of those in memory.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |tally| tally.bytes - tally.away_bytes)
    }

    pub(crate) fn add(&mut self, delivery: &Delivery) {
        let size = delivery.message.size();
        let tally = self.0.get_or_insert_default();
        tally.count += 1;
        tally.bytes += size;
        tally.all.add(size, true);
    }

    pub(crate) fn take(&mut self, delivery: &Delivery) {
        let size = delivery.message.size();
        let Some(tally) = &mut self.0 else { return };
        tally.count -= 1;
        tally.bytes -= size;
        tally.all.take(size, true);
    }

    pub(crate) fn add_away(&mut self, away: &Away) {
        let size = away.size as usize;
        let tally = self.0.get_or_insert_default();
        tally.count += 1;
        tally.bytes += size;
        tally.away += 1;
        tally.away_bytes += size;
        tally.all.add(size, false);
    }

    pub(crate) fn take_away(&mut self, away: &Away) {
        let size = away.size as usize;
        let Some(tally) = &mut self.0 else { return };
        tally.count -= 1;
        tally.bytes -= size;
        tally.away -= 1;
        tally.away_bytes -= size;
        tally.all.take(size, false);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.all.take(self.away_bytes, false);
        self.all.take(self.bytes - self.away_bytes, true);
    }
}
