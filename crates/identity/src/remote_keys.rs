//! Keys that an issuer publishes, and that somebody else fetches. What was fetched last stays good
//! until something else is: an issuer that is down locks nobody out whom it has let in before.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::keys::KeySet;

/// The keys behind one address. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct RemoteKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    keys: Arc<KeySet>,
    /// Fetches that have ended, well or not.
    ended: u64,
    /// The fetch that somebody has waited for in vain, by its number: nobody else waits for it.
    given_up: u64,
    /// Somebody is fetching, or is to.
    is_under_way: bool,
    /// Unix time of the last fetch that somebody has asked for.
    asked_at: u64,
    /// Nobody needs them any more, or can fetch them.
    is_closed: bool,
}

impl RemoteKeys {
    /// None yet: to be fetched at once.
    #[must_use]
    pub fn new(url: String) -> Self {
        let state = State {
            keys: Arc::default(),
            ended: 0,
            given_up: 0,
            is_under_way: true,
            asked_at: 0,
            is_closed: false,
        };
        Self(Arc::new(Inner { url, state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Where they are published.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// What was fetched last.
    pub(crate) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.state().keys)
    }

    /// A key was shown that is not among them. Answers which fetch to wait for, and asks for one
    /// unless one was asked for a moment ago: whoever makes keys up must not make it run.
    pub(crate) fn ask(&self, now: u64) -> Option<u64> {
        let mut state = self.state();
        if !state.is_under_way {
            if now < state.asked_at + ASKED_EVERY_SECS {
                return None;
            }
            (state.is_under_way, state.asked_at) = (true, now);
            self.0.changed.notify_all();
        }
        Some(state.ended + 1)
    }

    /// Whether nobody waits for this fetch any more, though it has not ended.
    pub(crate) fn is_hopeless(&self, fetch: u64) -> bool {
        let state = self.state();
        state.ended < fetch && !state.awaits(fetch)
    }

    /// Waits until this fetch has ended, but not for long: who waits keeps a thread from those who
    /// bring passwords. False: it has not ended.
    pub(crate) fn wait_for(&self, fetch: u64) -> bool {
        self.wait(fetch, PATIENCE)
    }

    /// Whoever waits first waits for so long at most, and all others no longer than he.
    fn wait(&self, fetch: u64, at_most: Duration) -> bool {
        let is_waiting = |state: &mut State| state.awaits(fetch);
        let waited = self.0.changed.wait_timeout_while(self.state(), at_most, is_waiting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.awaits(fetch) {
            state.given_up = fetch;
            self.0.changed.notify_all();
        }
        state.ended >= fetch
    }

    /// For who fetches: waits until somebody asks, or for so long. False: nobody needs it any more.
    pub fn wait_until_asked(&self, at_most: Duration) -> bool {
        let state = self.state();
        let is_idle = |state: &mut State| !state.is_under_way && !state.is_closed;
        let waited = self.0.changed.wait_timeout_while(state, at_most, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_under_way = true;
        !state.is_closed
    }

    /// For who fetches: what came of it. `None`: nothing; what there was stays.
    pub fn fetched(&self, keys: Option<KeySet>) {
        let mut state = self.state();
        if let Some(keys) = keys {
            state.keys = Arc::new(keys);
        }
        state.ended += 1;
        state.is_under_way = false;
        self.0.changed.notify_all();
    }

    /// Nobody needs them any more, or can fetch them: whoever does ends, and nobody waits.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.0.changed.notify_all();
    }

    /// Whether nobody fetches them any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn awaits(&self, fetch: u64) -> bool {
        self.ended < fetch && self.given_up < fetch && !self.is_closed
    }
}

/// Seconds between two fetches for keys that are not known.
const ASKED_EVERY_SECS: u64 = 30;
/// How long logins wait for a fetch.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_fetch_that_hangs_holds_up_those_who_wait_once() {
        let keys = RemoteKeys::new(String::new());
        let fetch = keys.ask(0).expect("the first is under way");
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!keys.wait(fetch, LONG), "ends with the other one"));
            assert!(!keys.wait(fetch, SHORT));
        });
        assert_eq!(keys.ask(100), Some(fetch), "it is still under way");
        assert!(keys.is_hopeless(fetch) && !keys.wait(fetch, LONG));
        keys.fetched(None);
        assert!(keys.wait(fetch, LONG) && !keys.is_hopeless(fetch), "it has ended");
        let next = keys.ask(100).expect("another");
        assert!(!keys.is_hopeless(next));
    }

    #[test]
    fn nobody_waits_for_what_nobody_fetches() {
        let keys = RemoteKeys::new(String::new());
        keys.close();
        let fetch = keys.ask(0).expect("has not ended");
        assert!(keys.is_hopeless(fetch) && !keys.wait(fetch, LONG));
    }
}
