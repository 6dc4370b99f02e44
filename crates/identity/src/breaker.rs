//! Whoever does not answer is left alone for a while: those who would wait for him are told at
//! once, and he is not buried under their questions when he comes back. One client whose question
//! he chokes on is no reason for that.

use core::net::IpAddr;
use std::time::Duration;

/// Counts questions that were not answered. Times are those since some moment.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Attempts in a row to reach him at all.
    unreached: u32,
    /// From where the questions came that he took and did not answer, each once.
    choked_on: Vec<Option<IpAddr>>,
    /// Until then nobody is asked.
    until: Option<Duration>,
}

impl Breaker {
    /// Whether a question would not be asked now.
    pub(crate) fn is_open(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether a question is to be asked now. After a pause one is; the next, unless he is reached
    /// before, after another pause.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        let is_open = self.is_open(now);
        if !is_open && self.until.is_some() {
            self.choked_on.clear();
            self.until = Some(now + PAUSE).filter(|_| self.unreached > 0);
        }
        !is_open
    }

    /// A question was answered.
    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    /// He could not be reached.
    pub(crate) fn unreached(&mut self, now: Duration) {
        self.unreached = self.unreached.saturating_add(1);
        if self.unreached >= IN_A_ROW {
            self.until = Some(now + PAUSE);
        }
    }

    /// He was reached, and did not answer a question that came from there.
    pub(crate) fn choked(&mut self, from: Option<IpAddr>, now: Duration) {
        (self.unreached, self.until) = (0, None);
        if !self.choked_on.contains(&from) {
            self.choked_on.push(from);
        }
        if self.choked_on.len() >= FROM_SO_MANY {
            self.until = Some(now + PAUSE);
        }
    }
}

/// Attempts in a row after which nobody is asked for a while.
const IN_A_ROW: u32 = 5;
/// Addresses whose questions in a row were not answered, after which it is no matter of theirs.
const FROM_SO_MANY: usize = 5;
const PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn who_is_not_there_is_left_alone_for_a_while() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.unreached(at(100));
        }
        breaker.answered();
        for _ in 0..4 {
            breaker.unreached(at(100));
            assert!(breaker.admits(at(100)));
        }
        breaker.unreached(at(100));
        assert!(!breaker.admits(at(100)) && !breaker.admits(at(104)));
        assert!(!breaker.is_open(at(105)));
    }

    #[test]
    fn then_one_question_tells_whether_more_are_worth_it() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.unreached(at(0));
        }
        assert!(breaker.admits(at(5)) && !breaker.admits(at(5)), "one");
        breaker.unreached(at(7));
        assert!(!breaker.admits(at(11)), "a pause from its failure on");
        assert!(breaker.admits(at(12)));
        assert!(breaker.admits(at(17)), "of the last one nothing was heard");
        breaker.answered();
        assert!(breaker.admits(at(17)) && breaker.admits(at(17)));
    }

    #[test]
    fn one_who_is_choked_on_shuts_nobody_else_out() {
        let mut breaker = Breaker::default();
        for secs in 0..1_000 {
            breaker.choked(from(7), at(secs));
            assert!(breaker.admits(at(secs)));
        }
        for last in 0..4 {
            breaker.choked(from(last), at(1_000));
        }
        assert!(!breaker.admits(at(1_001)), "five are no matter of one");
        for secs in 1_005..2_000 {
            assert!(breaker.admits(at(secs)), "and after the pause it begins again");
            breaker.choked(from(7), at(secs));
        }
    }

    #[test]
    fn who_chokes_is_there() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.unreached(at(0));
        }
        assert!(breaker.admits(at(5)));
        breaker.choked(from(7), at(6));
        assert!(breaker.admits(at(6)) && breaker.admits(at(6)));
    }
}
