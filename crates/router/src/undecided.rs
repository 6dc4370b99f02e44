//! QoS 2 publications that came from another shard, or went to one, and have not arrived for good:
//! after a crash their publishers send them again, so nobody may have them yet.

use std::collections::VecDeque;

use agentmq_session::Arrival;

/// Such exchanges in the order in which they came here.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    newest: u64,
    open: VecDeque<(u64, Arrival)>,
}

impl Undecided {
    /// A message of this exchange has been recorded here.
    pub(crate) fn begin(&mut self, exchange: Arrival) {
        if !self.open.iter().any(|(_, it)| *it == exchange) {
            self.newest += 1;
            self.open.push_back((self.newest, exchange));
        }
    }

    /// What a QoS 2 delivery that is held now waits for: all that are undecided, so that
    /// deliveries keep their order. 0 for none.
    pub(crate) fn newest(&self) -> u64 {
        self.open.back().map_or(0, |(number, _)| *number)
    }

    /// The exchange has arrived.
    pub(crate) fn decide(&mut self, exchange: Arrival) {
        self.open.retain(|(_, it)| *it != exchange);
    }

    /// Whether everything up to this number has arrived.
    pub(crate) fn has_passed(&self, number: u64) -> bool {
        self.open.front().is_none_or(|(oldest, _)| *oldest > number)
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
        assert_eq!(undecided.newest(), 0);
    }
}
