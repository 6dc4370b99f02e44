//! Whoever does not answer is left alone for a while: those who would wait for him are told at
//! once, and he is not buried under their questions when he comes back.

use std::time::Duration;

/// Counts questions that were not answered. Times are those since some moment.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// In a row.
    failures: u32,
    /// Until then nobody is asked.
    until: Option<Duration>,
}

impl Breaker {
    /// Whether a question would not be asked now.
    pub(crate) fn is_open(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether a question is to be asked now. After a pause one is; the next, unless it is answered
    /// before, after another pause.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        let is_open = self.is_open(now);
        if !is_open && self.until.is_some() {
            self.until = Some(now + PAUSE);
        }
        !is_open
    }

    /// A question was answered.
    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A question was not answered.
    pub(crate) fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= IN_A_ROW {
            self.until = Some(now + PAUSE);
        }
    }
}

/// Unanswered questions in a row after which nobody is asked for a while.
const IN_A_ROW: u32 = 5;
const PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn after_five_failures_in_a_row_nobody_is_asked_for_a_while() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(at(100));
        }
        breaker.answered();
        for _ in 0..4 {
            breaker.failed(at(100));
            assert!(breaker.admits(at(100)));
        }
        breaker.failed(at(100));
        assert!(!breaker.admits(at(100)) && !breaker.admits(at(104)));
        assert!(!breaker.is_open(at(105)));
    }

    #[test]
    fn then_one_question_tells_whether_more_are_worth_it() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.failed(at(0));
        }
        assert!(breaker.admits(at(5)) && !breaker.admits(at(5)), "one");
        breaker.failed(at(7));
        assert!(!breaker.admits(at(11)), "a pause from its failure on");
        assert!(breaker.admits(at(12)));
        assert!(breaker.admits(at(17)), "of the last one nothing was heard");
        breaker.answered();
        assert!(breaker.admits(at(17)) && breaker.admits(at(17)));
    }
}
