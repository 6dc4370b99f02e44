//! What one organisation, or one client, has used and uses.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::plan::{Bounds, BoundsInForce, Quantity};
use crate::tally::Tally;
use crate::utc::DAY_SECS;

/// One point in time: of the broker's own clock, by which seconds are told apart and which never
/// goes back, and of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds of the broker's clock.
    pub millis: u64,
    /// Milliseconds since 1970 in UTC.
    pub unix_millis: u64,
}

impl Moment {
    /// The day of UTC, counted from 1970.
    #[must_use]
    pub const fn day(self) -> u64 {
        self.unix_millis / (DAY_SECS * 1000)
    }

    fn second(self) -> u64 {
        self.millis / 1000
    }

    /// When the period of a quantity is over, in seconds since 1970; `None`: it has none.
    pub(crate) fn next(self, quantity: Quantity) -> Option<u64> {
        match quantity {
            Quantity::MessagesPerDay | Quantity::BytesPerDay => Some((self.day() + 1) * DAY_SECS),
            Quantity::MessagesPerSecond | Quantity::BytesPerSecond => {
                let left = 1000 - self.millis % 1000;
                Some((self.unix_millis + left).div_ceil(1000))
            }
            _ => None,
        }
    }
}

/// The numbers.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    messages_of_day: Tally,
    messages_of_second: Tally,
    bytes_of_day: Tally,
    bytes_of_second: Tally,
    connections: AtomicU64,
    sessions: AtomicU64,
    subscriptions: AtomicU64,
    retained_messages: AtomicU64,
    retained_bytes: AtomicU64,
    queue_bytes: AtomicU64,
}

/// Whether what has no bound is counted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// Of a day: somebody may want to know.
    TheDay,
    /// What has a bound.
    BoundsOnly,
}

/// What one publication is for one quantity.
struct Part<'a> {
    quantity: Quantity,
    tally: &'a Tally,
    period: u64,
    amount: u64,
    bound: u64,
    is_counted: bool,
}

impl Part<'_> {
    fn give_back(&self) {
        if self.is_counted {
            self.tally.give_back(self.period, self.amount);
        }
    }
}

impl Usage {
    /// Counts one publication, or says which bound it would exceed.
    pub(crate) fn publish(
        &self,
        bounds: &BoundsInForce,
        bytes: u64,
        moment: Moment,
        counts: Counts,
    ) -> Result<(), Quantity> {
        let parts = self.parts(bounds, bytes, moment, counts);
        for (at, part) in parts.iter().enumerate() {
            if part.is_counted && !part.tally.take(part.period, part.amount, part.bound) {
                parts.iter().take(at).for_each(Part::give_back);
                return Err(part.quantity);
            }
        }
        Ok(())
    }

    /// Gives a publication back that was counted just now.
    pub(crate) fn take_back(
        &self,
        bounds: &BoundsInForce,
        bytes: u64,
        moment: Moment,
        counts: Counts,
    ) {
        self.parts(bounds, bytes, moment, counts).iter().for_each(Part::give_back);
    }

    fn parts(
        &self,
        bounds: &BoundsInForce,
        bytes: u64,
        moment: Moment,
        counts: Counts,
    ) -> [Part<'_>; 4] {
        let (day, second) = (moment.day(), moment.second());
        let of_day = counts == Counts::TheDay;
        let part = |quantity, tally, period, amount, always: bool| {
            let bound = bounds.get(quantity);
            let is_counted = always || bound != Bounds::NONE;
            Part { quantity, tally, period, amount, bound, is_counted }
        };
        [
            part(Quantity::MessagesPerDay, &self.messages_of_day, day, 1, of_day),
            part(Quantity::BytesPerDay, &self.bytes_of_day, day, bytes, of_day),
            part(Quantity::MessagesPerSecond, &self.messages_of_second, second, 1, false),
            part(Quantity::BytesPerSecond, &self.bytes_of_second, second, bytes, false),
        ]
    }

    /// Counts what was published on a day before this run.
    pub(crate) fn take_up(&self, day: u64, messages: u64, bytes: u64) {
        self.messages_of_day.take(day, messages, Bounds::NONE);
        self.bytes_of_day.take(day, bytes, Bounds::NONE);
    }

    /// Publications, and their bytes, of a day.
    pub(crate) fn of_day(&self, day: u64) -> (u64, u64) {
        (self.messages_of_day.used(day), self.bytes_of_day.used(day))
    }

    /// Publications of the day that was counted last, whichever it was.
    pub(crate) fn latest_messages(&self) -> u64 {
        self.messages_of_day.latest()
    }

    /// What is held of a quantity that somebody holds until he lets it go.
    pub(crate) fn held(&self, quantity: Quantity) -> u64 {
        self.sum(quantity).map_or(0, |sum| sum.load(Ordering::Relaxed))
    }

    /// Holds an amount more, unless that exceeds the bound.
    pub(crate) fn hold(&self, quantity: Quantity, amount: u64, bound: u64) -> bool {
        let Some(sum) = self.sum(quantity) else { return true };
        let more = |held: u64| held.checked_add(amount).filter(|all| *all <= bound);
        sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Lets an amount go.
    pub(crate) fn release(&self, quantity: Quantity, amount: u64) {
        if let Some(sum) = self.sum(quantity) {
            sum.fetch_sub(amount, Ordering::Relaxed);
        }
    }

    fn sum(&self, quantity: Quantity) -> Option<&AtomicU64> {
        match quantity {
            Quantity::Connections => Some(&self.connections),
            Quantity::Sessions => Some(&self.sessions),
            Quantity::Subscriptions => Some(&self.subscriptions),
            Quantity::RetainedMessages => Some(&self.retained_messages),
            Quantity::RetainedBytes => Some(&self.retained_bytes),
            Quantity::QueueBytes => Some(&self.queue_bytes),
            Quantity::MessagesPerDay
            | Quantity::MessagesPerSecond
            | Quantity::BytesPerDay
            | Quantity::BytesPerSecond => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(quantity: Quantity, bound: u64) -> BoundsInForce {
        let bounds = BoundsInForce::default();
        bounds.replace(&Bounds::default().with(quantity, bound));
        bounds
    }

    const NOON: Moment = Moment { millis: 5_500, unix_millis: (20_784 * DAY_SECS + 43_200) * 1000 };

    #[test]
    fn a_publication_that_exceeds_one_bound_is_counted_nowhere() {
        let usage = Usage::default();
        let bounds = bounds(Quantity::BytesPerSecond, 10);
        let publish = |bytes, moment| usage.publish(&bounds, bytes, moment, Counts::TheDay);
        assert_eq!(publish(8, NOON), Ok(()));
        assert_eq!(publish(8, NOON), Err(Quantity::BytesPerSecond));
        assert_eq!(usage.of_day(NOON.day()), (1, 8));
        let later = Moment { millis: NOON.millis + 500, ..NOON };
        assert_eq!(publish(8, later), Ok(()), "another second");
        assert_eq!(usage.of_day(NOON.day()), (2, 16));
    }

    #[test]
    fn a_day_ends_at_midnight_of_utc() {
        let usage = Usage::default();
        let bounds = bounds(Quantity::MessagesPerDay, 1);
        let last = Moment { unix_millis: (20_785 * DAY_SECS) * 1000 - 1, ..NOON };
        let first = Moment { unix_millis: last.unix_millis + 1, ..NOON };
        let publish = |moment| usage.publish(&bounds, 0, moment, Counts::BoundsOnly);
        assert_eq!(publish(NOON), Ok(()));
        assert_eq!(publish(last), Err(Quantity::MessagesPerDay));
        assert_eq!(last.next(Quantity::MessagesPerDay), Some(20_785 * DAY_SECS));
        assert_eq!(publish(first), Ok(()));
    }

    #[test]
    fn the_next_second_is_told_by_the_clock_of_the_day() {
        let next = NOON.next(Quantity::MessagesPerSecond);
        assert_eq!(next, Some(NOON.unix_millis / 1000 + 1), "half a second, rounded up");
        assert_eq!(NOON.next(Quantity::Connections), None);
    }

    #[test]
    fn what_is_held_is_let_go() {
        let usage = Usage::default();
        assert!(usage.hold(Quantity::Subscriptions, 2, 2));
        assert!(!usage.hold(Quantity::Subscriptions, 1, 2));
        usage.release(Quantity::Subscriptions, 1);
        assert!(usage.hold(Quantity::Subscriptions, 1, 2));
        assert_eq!(usage.held(Quantity::Subscriptions), 2);
    }

    #[test]
    fn what_is_taken_back_was_never_used() {
        let usage = Usage::default();
        let bounds = bounds(Quantity::MessagesPerSecond, 1);
        for _ in 0..3 {
            assert_eq!(usage.publish(&bounds, 7, NOON, Counts::TheDay), Ok(()));
            usage.take_back(&bounds, 7, NOON, Counts::TheDay);
        }
        assert_eq!(usage.of_day(NOON.day()), (0, 0));
    }
}
