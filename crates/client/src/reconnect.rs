//! When to connect again: exponential back-off with jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// What to do when a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// Upper bound of the first pause.
    pub first: Duration,
    /// Upper bound of every pause; the bound doubles from attempt to attempt until it is reached.
    pub longest: Duration,
    /// Attempts in a row before giving up; 0 never reconnects, `None` never gives up.
    pub attempts: Option<u32>,
    /// Whether a failed first connection is retried too, instead of being an error at once.
    pub first_connection: bool,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            attempts: None,
            first_connection: false,
        }
    }
}

impl Reconnect {
    /// Ends the client with its connection.
    pub const NEVER: Self = Self {
        first: Duration::ZERO,
        longest: Duration::ZERO,
        attempts: Some(0),
        first_connection: false,
    };

    /// The pause before attempt `attempt`, counted from 0; `None` to give up. `dice` is uniform
    /// over all of `u64`. The pause lies between half of its bound and the bound, so that a
    /// thousand clients of a restarted broker come back spread, but none at once.
    pub(crate) fn pause(&self, attempt: u32, dice: u64) -> Option<Duration> {
        if self.attempts.is_some_and(|attempts| attempt >= attempts) {
            return None;
        }
        let factor = 2u32.saturating_pow(attempt.min(20));
        let bound = self.first.saturating_mul(factor).min(self.longest);
        Some(bound / 2 + bound.mul_f64(dice as f64 / u64::MAX as f64) / 2)
    }
}

/// A random number good enough for jitter and for telling clients apart; not for secrets.
pub(crate) fn dice() -> u64 {
    // Each RandomState has keys of its own, taken from the system's entropy and a counter.
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_stay_within_their_bounds() {
        let policy = Reconnect::default();
        for (attempt, bound) in [(0, 200), (1, 400), (2, 800), (30, 30_000)] {
            let bound = Duration::from_millis(bound);
            assert_eq!(policy.pause(attempt, 0), Some(bound / 2));
            let longest = policy.pause(attempt, u64::MAX).unwrap();
            assert!(longest <= bound && longest > bound * 9 / 10, "{longest:?} {bound:?}");
        }
    }

    #[test]
    fn gives_up_after_the_attempts() {
        assert_eq!(Reconnect::NEVER.pause(0, 0), None);
        let policy = Reconnect { attempts: Some(2), ..Reconnect::default() };
        assert!(policy.pause(1, 0).is_some());
        assert_eq!(policy.pause(2, 0), None);
    }
}
