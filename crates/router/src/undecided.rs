//! QoS 2 publications that came from another shard, or went to one, and have not arrived for good:
//! after a crash their publishers send them again, so nobody may have them yet.

use std::collections::{BTreeSet, HashMap};

use agentmq_session::Arrival;

/// Such exchanges, numbered in the order in which they came here.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    newest: u64,
    numbers: HashMap<Arrival, u64>,
    open: BTreeSet<u64>,
}

impl Undecided {
    /// A message of this exchange has been recorded here, or was sent elsewhere from here.
    pub(crate) fn begin(&mut self, exchange: Arrival) {
        self.numbers.entry(exchange).or_insert_with(|| {
            self.newest += 1;
            self.open.insert(self.newest);
            self.newest
        });
    }

    /// Whether it has not arrived.
    pub(crate) fn has(&self, exchange: Arrival) -> bool {
        self.numbers.contains_key(&exchange)
    }

    /// What a QoS 2 delivery that is held now waits for: all that are undecided, so that
    /// deliveries keep their order. 0 for none.
    pub(crate) fn newest(&self) -> u64 {
        self.open.last().copied().unwrap_or_default()
    }

    /// The exchange has arrived.
    pub(crate) fn decide(&mut self, exchange: Arrival) {
        if let Some(number) = self.numbers.remove(&exchange) {
            self.open.remove(&number);
        }
    }

    /// Whether everything up to this number has arrived.
    pub(crate) fn has_passed(&self, number: u64) -> bool {
        self.open.first().is_none_or(|oldest| *oldest > number)
    }
}

#[cfg(test)]
mod tests {
    use agentmq_session::SessionKey;

    use super::*;

    #[test]
    fn a_delivery_waits_for_what_was_undecided_when_it_was_held() {
        let mut undecided = Undecided::default();
        let exchange = |packet_id| (SessionKey(1), packet_id);
        assert!(undecided.has_passed(undecided.newest()));
        undecided.begin(exchange(1));
        undecided.begin(exchange(2));
        undecided.begin(exchange(1));
        let held = undecided.newest();
        undecided.begin(exchange(3));
        undecided.decide(exchange(2));
        assert!(!undecided.has_passed(held));
        undecided.decide(exchange(1));
        assert!(undecided.has_passed(held));
        assert!(!undecided.has_passed(undecided.newest()));
        undecided.decide(exchange(3));
        assert!(undecided.newest() == 0 && !undecided.has(exchange(3)));
    }
}
