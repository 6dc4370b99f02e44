//! Loss, duplicates and order of what arrives.

use std::collections::VecDeque;

/// Follows the sequence numbers of every publisher.
#[derive(Debug)]
pub(crate) struct Sequences {
    /// Words of bits that a stream may hold ahead of a gap.
    max_words: usize,
    seen: Vec<Seen>,
    /// For each pair of receiver and publisher: the number expected next.
    next: Vec<u64>,
    pub(crate) unique: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
}

impl Sequences {
    /// `streams` sets of numbers, each of which should arrive once; `orders` sequences, each of
    /// which should ascend. They differ only where several receivers share one stream.
    pub(crate) fn new(streams: usize, orders: usize) -> Self {
        Self {
            max_words: MAX_WORDS,
            seen: vec![Seen::default(); streams],
            next: vec![0; orders],
            unique: 0,
            duplicates: 0,
            out_of_order: 0,
        }
    }

    /// One stream of `count` numbers that may come in any order.
    pub(crate) fn unordered(count: u64) -> Self {
        let max_words = usize::try_from(count / 64 + 1).unwrap_or(usize::MAX);
        Self { max_words, ..Self::new(1, 1) }
    }

    /// Notes an arrival. Returns whether it is the first of its kind.
    pub(crate) fn arrived(&mut self, stream: usize, order: usize, sequence: u64) -> bool {
        let Some(seen) = self.seen.get_mut(stream) else { return false };
        if !seen.insert(sequence, self.max_words) {
            self.duplicates += 1;
            return false;
        }
        self.unique += 1;
        if let Some(next) = self.next.get_mut(order) {
            self.out_of_order += u64::from(sequence < *next);
            *next = (*next).max(sequence + 1);
        }
        true
    }
}

/// A set of numbers that arrive roughly in order: all below `base`, and a bit for each above.
#[derive(Debug, Clone, Default)]
struct Seen {
    base: u64,
    above: VecDeque<u64>,
}

impl Seen {
    /// `false` if it was there. Numbers too far ahead of a gap push the gap out: what then comes
    /// late counts as a duplicate, but memory stays bounded.
    fn insert(&mut self, number: u64, max_words: usize) -> bool {
        if number == self.base && self.above.is_empty() {
            self.base += 1;
            return true;
        }
        let Some(ahead) = number.checked_sub(self.base) else { return false };
        let (word, bit) = ((ahead / 64) as usize, 1u64 << (ahead % 64));
        while self.above.len() <= word {
            if self.above.len() >= max_words {
                self.above.pop_front();
                self.base += 64;
                return self.insert(number, max_words);
            }
            self.above.push_back(0);
        }
        let Some(bits) = self.above.get_mut(word) else { return false };
        let new = *bits & bit == 0;
        *bits |= bit;
        while self.above.front() == Some(&u64::MAX) {
            self.above.pop_front();
            self.base += 64;
        }
        if let (Some(&bits), 1) = (self.above.front(), self.above.len())
            && (bits + 1).is_power_of_two()
        {
            self.base += u64::from(bits.trailing_ones());
            self.above.clear();
        }
        new
    }
}

/// 65 536 numbers ahead of a gap.
const MAX_WORDS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_gaps_duplicates_and_order() {
        let mut sequences = Sequences::new(1, 1);
        for number in [0, 1, 2, 5, 3, 5, 1] {
            sequences.arrived(0, 0, number);
        }
        assert_eq!((sequences.unique, sequences.duplicates, sequences.out_of_order), (5, 2, 1));
    }

    #[test]
    fn two_receivers_of_one_stream_have_an_order_each() {
        let mut sequences = Sequences::new(1, 2);
        for (receiver, number) in [(0, 0), (1, 2), (0, 1), (1, 4), (0, 3)] {
            assert!(sequences.arrived(0, receiver, number));
        }
        assert_eq!((sequences.unique, sequences.out_of_order), (5, 0));
        assert!(!sequences.arrived(0, 1, 3));
    }

    #[test]
    fn agrees_with_a_plain_set_in_any_order() {
        // 7 and 1009 are coprime: every number once, far out of order, then all again.
        let mut seen = Seen::default();
        for round in 0..2 {
            for step in 0..1009u64 {
                assert_eq!(seen.insert(step * 7 % 1009, MAX_WORDS), round == 0, "{step}");
            }
        }
        assert_eq!((seen.base, seen.above.len()), (1009, 0));
    }

    #[test]
    fn a_gap_does_not_cost_unbounded_memory() {
        let mut seen = Seen::default();
        for number in 1..1_000_000 {
            assert!(seen.insert(number, MAX_WORDS));
        }
        assert!(seen.above.len() <= MAX_WORDS);
    }
}
