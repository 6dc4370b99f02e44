//! A sum that begins anew with each period: a second, a day.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was used in the period at hand. Period and sum are one word, so that shards which take at
/// the same time never exceed a bound, and none of them takes from a period that is over.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    /// Takes an amount, unless more than `bound` were used with it.
    pub(crate) fn take(&self, period: u64, amount: u64, bound: u64) -> bool {
        self.change(period, |used| used.checked_add(amount).filter(|sum| *sum <= bound.min(MOST)))
    }

    /// Gives back what was taken in this period.
    pub(crate) fn give_back(&self, period: u64, amount: u64) {
        self.change(period, |used| used.checked_sub(amount));
    }

    /// What is used in this period.
    pub(crate) fn used(&self, period: u64) -> u64 {
        at(self.0.load(Ordering::Relaxed), period).1
    }

    /// What was used in the latest period.
    pub(crate) fn latest(&self) -> u64 {
        self.0.load(Ordering::Relaxed) & MOST
    }

    fn change(&self, period: u64, change: impl Fn(u64) -> Option<u64>) -> bool {
        let next = |word| {
            let (period, used) = at(word, period);
            Some(period << BITS | change(used)?)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// The period that counts, and what is used in it. Clocks of shards differ by as much as a turn
/// takes, and the time of day may be set back: a word that is one period ahead goes on.
fn at(word: u64, period: u64) -> (u64, u64) {
    let (known, period) = (word >> BITS, period & PERIODS);
    let is_ahead = known == (period + 1) & PERIODS;
    if known == period || is_ahead { (known, word & MOST) } else { (period, 0) }
}

/// Bits of the sum; the other 16 tell periods apart: days until the year 2149, and seconds for
/// eighteen hours. Who publishes nothing for just so long may find the sum of then once more, for
/// that second.
const BITS: u32 = 48;
/// The largest sum.
const MOST: u64 = (1 << BITS) - 1;
const PERIODS: u64 = (1 << (64 - BITS)) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_is_taken_in_a_period() {
        let tally = Tally::default();
        assert!((0..3).all(|_| tally.take(7, 2, 6)));
        assert!(!tally.take(7, 1, 6));
        assert_eq!(tally.used(7), 6);
        tally.give_back(7, 2);
        assert!(!tally.take(7, 3, 6) && tally.take(7, 2, 6));
        assert!(tally.take(8, 6, 6), "the next period begins with nothing");
        assert_eq!((tally.used(8), tally.used(9)), (6, 0));
    }

    #[test]
    fn nothing_is_given_back_that_another_period_has_taken() {
        let tally = Tally::default();
        assert!(tally.take(7, 5, 9) && tally.take(9, 1, 9));
        tally.give_back(7, 5);
        assert_eq!(tally.used(9), 1);
        tally.give_back(9, 5);
        assert_eq!(tally.used(9), 1, "never less than nothing");
    }

    #[test]
    fn a_clock_that_was_set_back_over_a_midnight_gives_nothing_back() {
        let tally = Tally::default();
        assert!(tally.take(8, 6, 6));
        assert!(!tally.take(7, 1, 6));
        assert_eq!(tally.used(8), 6);
        assert!(tally.take(1 << 16 | 9, 1, 6), "periods are counted round");
    }

    #[test]
    fn shards_that_take_at_once_take_no_more() {
        let tally = Tally::default();
        let taken: usize = std::thread::scope(|scope| {
            let shard = || (0..1_000).filter(|_| tally.take(7, 1, 2_500)).count();
            let shards: Vec<_> = (0..4).map(|_| scope.spawn(shard)).collect();
            shards.into_iter().map(|shard| shard.join().expect("a shard")).sum()
        });
        assert_eq!((taken, tally.used(7)), (2_500, 2_500));
    }
}
