//! How long to wait before something is tried again.

use std::time::Duration;

/// Pauses between attempts: each is twice as long as the one before, up to the longest.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
    steady: Duration,
}

impl Backoff {
    /// Begins anew whenever an attempt has succeeded.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { next: FIRST, longest, steady: Duration::ZERO }
    }

    /// Begins anew only when it has gone well for so long.
    pub(crate) fn steady_after(self, steady: Duration) -> Self {
        Self { steady, ..self }
    }

    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }

    /// The attempt has succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.went_well_for(Duration::ZERO);
    }

    /// The attempt has succeeded, and it went well for so long.
    pub(crate) fn went_well_for(&mut self, time: Duration) {
        if time >= self.steady {
            self.next = FIRST;
        }
    }
}

/// The first pause.
const FIRST: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(1);

    fn pauses(backoff: &mut Backoff, count: usize) -> Vec<u128> {
        (0..count).map(|_| backoff.pause().as_millis()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(LONGEST);
        assert_eq!(pauses(&mut backoff, 5), [200, 400, 800, 1000, 1000]);
        backoff.succeeded();
        assert_eq!(pauses(&mut backoff, 2), [200, 400]);
    }

    #[test]
    fn what_ends_soon_has_not_succeeded() {
        let mut backoff = Backoff::new(LONGEST).steady_after(Duration::from_secs(60));
        assert_eq!(pauses(&mut backoff, 2), [200, 400]);
        backoff.went_well_for(Duration::from_millis(59_999));
        assert_eq!(pauses(&mut backoff, 1), [800]);
        backoff.went_well_for(Duration::from_secs(60));
        assert_eq!(pauses(&mut backoff, 1), [200]);
    }
}
