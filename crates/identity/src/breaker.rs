//! Whoever does not answer is left alone for a while: those who would wait for him are told at
//! once, and he is not buried under their questions when he comes back. One client whose question
//! he chokes on is a reason for that where the client comes from, and nowhere else.

use core::net::IpAddr;
use std::collections::HashMap;
use std::time::Duration;

/// Where a question comes from, as far as it counts.
pub(crate) type From = Option<IpAddr>;

/// Counts questions that were not answered. Times are those since some moment.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// While he cannot be reached.
    missing: Pauses,
    /// While he answers nobody.
    hanging: Pauses,
    /// From where the questions came that he took in a row and did not answer, each once.
    choked_on: Vec<From>,
    /// By where the questions come from that he has taken and not answered.
    each: HashMap<From, Pauses>,
}

/// Failures in a row, and the pause after them.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
    until: Option<Duration>,
}

impl Breaker {
    /// Whether nobody who comes from there is to be asked for.
    pub(crate) fn is_open(&self, from: From, now: Duration) -> bool {
        let of_all = [&self.missing, &self.hanging];
        of_all.into_iter().chain(self.each.get(&from)).any(|it| it.is_on(now))
    }

    /// Whether a question is to be asked now. After a pause one is; the next, unless something is
    /// known of that one before, after another pause.
    pub(crate) fn admits(&mut self, from: From, now: Duration) -> bool {
        if self.is_open(from, now) {
            return false;
        }
        if self.hanging.until.is_some() {
            self.choked_on.clear(); // what comes of this one tells
        }
        let of_all = [&mut self.missing, &mut self.hanging];
        of_all.into_iter().chain(self.each.get_mut(&from)).for_each(|it| it.begin_again(now));
        true
    }

    /// He has answered a question from there.
    pub(crate) fn answered(&mut self, from: From) {
        (self.missing, self.hanging) = Default::default();
        self.choked_on.clear();
        self.each.remove(&from);
    }

    /// He could not be reached.
    pub(crate) fn unreached(&mut self, now: Duration) {
        self.missing.fail(now);
    }

    /// He was reached, and did not answer a question that came from there.
    pub(crate) fn choked(&mut self, from: From, now: Duration) {
        self.missing = Pauses::default();
        if self.choked_on.len() < FROM_SO_MANY && !self.choked_on.contains(&from) {
            self.choked_on.push(from);
        }
        self.hanging.until = (self.choked_on.len() >= FROM_SO_MANY).then_some(now + PAUSE);
        if self.each.len() >= REMEMBERED && !self.each.contains_key(&from) {
            self.each.clear();
        }
        self.each.entry(from).or_default().fail(now);
    }
}

impl Pauses {
    fn is_on(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// If there was a pause, one question goes out.
    fn begin_again(&mut self, now: Duration) {
        if self.until.is_some() {
            self.until = Some(now + PAUSE);
        }
    }

    fn fail(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= IN_A_ROW {
            self.until = Some(now + PAUSE);
        }
    }
}

/// Unanswered questions in a row after which nobody is asked for a while.
const IN_A_ROW: u32 = 5;
/// Places whose questions in a row were not answered, after which it is no matter of theirs.
const FROM_SO_MANY: usize = 5;
const PAUSE: Duration = Duration::from_secs(5);
/// Places that are remembered.
const REMEMBERED: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> From {
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
        breaker.answered(from(1));
        for last in 0..4 {
            breaker.unreached(at(100));
            assert!(breaker.admits(from(last), at(100)));
        }
        breaker.unreached(at(100));
        assert!(!breaker.admits(from(1), at(100)) && !breaker.admits(from(2), at(104)));
        assert!(!breaker.is_open(from(3), at(105)));
    }

    #[test]
    fn then_one_question_tells_whether_more_are_worth_it() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.unreached(at(0));
        }
        assert!(breaker.admits(from(1), at(5)) && !breaker.admits(from(2), at(5)), "one");
        breaker.unreached(at(7));
        assert!(!breaker.admits(from(1), at(11)), "a pause from its failure on");
        assert!(breaker.admits(from(1), at(12)));
        assert!(breaker.admits(from(2), at(17)), "of the last one nothing was heard");
        breaker.answered(from(2));
        assert!(breaker.admits(from(1), at(17)) && breaker.admits(from(1), at(17)));
    }

    #[test]
    fn who_is_choked_on_waits_and_nobody_elsewhere_does() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.choked(from(7), at(0));
        }
        assert!(breaker.admits(from(7), at(0)));
        breaker.choked(from(7), at(0));
        assert!(!breaker.admits(from(7), at(4)) && breaker.admits(from(8), at(4)));
        assert!(breaker.admits(from(7), at(5)) && !breaker.admits(from(7), at(5)), "one");
        breaker.choked(from(7), at(6));
        assert!(breaker.is_open(from(7), at(10)) && breaker.admits(from(7), at(11)));
        breaker.answered(from(7));
        assert!(breaker.admits(from(7), at(11)) && breaker.admits(from(7), at(11)));
        for secs in 0..1_000 {
            breaker.choked(from(7), at(secs));
            assert!(breaker.admits(from(8), at(secs)));
        }
    }

    #[test]
    fn five_places_are_no_matter_of_one() {
        let mut breaker = Breaker::default();
        for last in 0..4 {
            breaker.choked(from(last), at(0));
            assert!(breaker.admits(from(9), at(0)));
        }
        breaker.choked(from(4), at(0));
        assert!(!breaker.admits(from(9), at(4)));
        assert!(breaker.admits(from(9), at(5)) && !breaker.admits(from(8), at(5)), "one");
        breaker.choked(from(9), at(6));
        assert!(breaker.admits(from(8), at(6)), "one of one place says nothing of others");
    }

    #[test]
    fn who_chokes_is_there() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.unreached(at(0));
        }
        assert!(breaker.admits(from(7), at(5)));
        breaker.choked(from(7), at(6));
        assert!(breaker.admits(from(7), at(6)) && breaker.admits(from(8), at(6)));
    }

    #[test]
    fn places_are_no_more_than_are_remembered() {
        let mut breaker = Breaker::default();
        for number in 0..10_000_u32 {
            breaker.choked(Some(IpAddr::from(number.to_be_bytes())), at(0));
        }
        assert!(breaker.each.len() <= REMEMBERED && breaker.choked_on.len() <= FROM_SO_MANY);
    }
}
