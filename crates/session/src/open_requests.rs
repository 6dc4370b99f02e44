//! Requests of one client that wait for answers: who knows the token of one may answer it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::Time;

/// The tokens of a session's open requests, as many as a bound allows: beyond it the request goes
/// whose last answer is the oldest, and after those with answers the oldest one.
#[derive(Debug, Default)]
pub struct OpenRequests {
    by_token: HashMap<Arc<str>, Open>,
    /// Who goes first: those with answers, then those without.
    order: BTreeMap<Rank, Arc<str>>,
    /// Counts changes of the order.
    clock: u64,
    /// Those whose time is over are looked for from then on.
    sweep_at: Time,
}

/// Waits for its first answer, and when it began to wait for the next one.
type Rank = (bool, u64);

#[derive(Debug)]
struct Open {
    until: Time,
    /// How long it waits for each answer.
    lasts_ms: u64,
    rank: Rank,
}

impl OpenRequests {
    /// Opens a request, or asks again with the token of one.
    pub fn open(&mut self, token: &str, lasts_ms: u64, bound: usize, now: Time) {
        if now >= self.sweep_at {
            self.sweep(now);
        }
        let rank = self.next_rank(true);
        let until = now.after_millis(lasts_ms);
        if let Some((token, known)) = self.by_token.get_key_value(token) {
            // What was asked before, and waits still, waits as long as it said.
            let before_ms = if now <= known.until { known.lasts_ms } else { 0 };
            let (until, lasts_ms) = (until.max(known.until), lasts_ms.max(before_ms));
            let open = Open { until, lasts_ms, rank };
            let (token, before) = (Arc::clone(token), known.rank);
            self.order.remove(&before);
            self.order.insert(rank, Arc::clone(&token));
            self.by_token.insert(token, open);
            return;
        }
        while self.by_token.len() >= bound.max(1)
            && let Some((_, token)) = self.order.pop_first()
        {
            self.by_token.remove(&token);
        }
        let token: Arc<str> = token.into();
        self.order.insert(rank, Arc::clone(&token));
        self.by_token.insert(token, Open { until, lasts_ms, rank });
    }

    /// Whether a request waits for an answer.
    pub fn is_open(&self, token: &str, now: Time) -> bool {
        self.by_token.get(token).is_some_and(|open| now <= open.until)
    }

    /// An answer comes: false when nobody waits for it. There may be more, for which it waits anew.
    pub fn answer(&mut self, token: &str, now: Time) -> bool {
        let rank = self.next_rank(false);
        let Some(open) = self.by_token.get_mut(token).filter(|open| now <= open.until) else {
            return false;
        };
        open.until = open.until.max(now.after_millis(open.lasts_ms));
        let before = std::mem::replace(&mut open.rank, rank);
        if let Some(token) = self.order.remove(&before) {
            self.order.insert(rank, token);
        }
        true
    }

    fn next_rank(&mut self, is_unanswered: bool) -> Rank {
        self.clock += 1;
        (is_unanswered, self.clock)
    }

    fn sweep(&mut self, now: Time) {
        self.sweep_at = now.after_millis(SWEEP_MS);
        self.by_token.retain(|_, open| now <= open.until);
        self.order.retain(|_, token| self.by_token.contains_key(token));
    }
}

/// Milliseconds between two looks at all requests, at least.
const SWEEP_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn a_request_waits_and_each_answer_lets_it_wait_anew() {
        let mut requests = OpenRequests::default();
        requests.open("a", 100, 10, at(0));
        assert!(!requests.answer("b", at(1)));
        for millis in [90, 180, 270, 370] {
            assert!(requests.answer("a", at(millis)), "{millis}");
        }
        assert!(!requests.is_open("a", at(471)) && !requests.answer("a", at(471)));
    }

    #[test]
    fn who_asks_again_with_a_token_shortens_nothing() {
        let mut requests = OpenRequests::default();
        requests.open("a", 1_000, 10, at(0));
        requests.open("a", 10, 10, at(1));
        assert!(requests.is_open("a", at(1_000)));
        assert_eq!((requests.by_token.len(), requests.order.len()), (1, 1));
    }

    #[test]
    fn beyond_the_bound_those_with_answers_go_first() {
        let mut requests = OpenRequests::default();
        for token in ["first", "stream", "done", "waits"] {
            requests.open(token, 1_000, 4, at(0));
        }
        for token in ["stream", "done", "stream"] {
            assert!(requests.answer(token, at(1)));
        }
        for (new, gone) in [("5", "done"), ("6", "stream"), ("7", "first"), ("8", "waits")] {
            assert!(requests.is_open(gone, at(1)));
            requests.open(new, 1_000, 4, at(1));
            assert!(!requests.is_open(gone, at(1)), "{gone}");
        }
    }

    proptest! {
        /// Compared with a list: what is open, and that nothing is left of what is over.
        #[test]
        fn as_a_list_would(steps in prop::collection::vec((0u8..6, 0u64..4, 0u64..800), 0..60)) {
            let (mut requests, mut list) = (OpenRequests::default(), Vec::<(u8, u64, u64)>::new());
            let mut now = 0;
            for (token, kind, millis) in steps {
                now += millis;
                let text = token.to_string();
                match kind {
                    0 | 1 => {
                        let lasts = 500 * (kind + 1);
                        requests.open(&text, lasts, 10, at(now));
                        let known = list.iter().position(|it| it.0 == token);
                        let known = known.map(|place| list.remove(place));
                        let known = known.filter(|it| now <= it.1);
                        let (until, before) = known.map_or((0, 0), |it| (it.1, it.2));
                        list.push((token, until.max(now + lasts), before.max(lasts)));
                    }
                    _ => {
                        let entry = list.iter_mut().find(|it| it.0 == token && now <= it.1);
                        let expected = entry.is_some();
                        if let Some((_, until, lasts)) = entry {
                            *until = (*until).max(now + *lasts);
                        }
                        prop_assert_eq!(requests.answer(&text, at(now)), expected);
                    }
                }
                for (token, until, _) in &list {
                    let is_open = requests.is_open(&token.to_string(), at(now));
                    prop_assert_eq!(is_open, now <= *until);
                }
                prop_assert_eq!(requests.by_token.len(), requests.order.len());
            }
            requests.open("last", 1, 10, at(now + 10_000));
            prop_assert_eq!(requests.by_token.len(), 1, "what is over is forgotten");
        }
    }
}
