//! Key sets that are fetched from issuers: each by a thread of its own, which asks again when what
//! it has is old, or when a key is shown that is not there. They outlive a reload.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use agentmq_admin::Fetcher;
use agentmq_identity::{KeySet, RemoteKeys};

/// All of them, by address. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeySets(Arc<Owner>);

/// Ends the threads when it goes.
#[derive(Debug, Default)]
struct Owner {
    known: Mutex<HashMap<String, RemoteKeys>>,
}

impl KeySets {
    /// The keys behind an address, which somebody begins to fetch if nobody has yet.
    pub(crate) fn get(&self, url: &str, ca: Option<PathBuf>) -> RemoteKeys {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = known.get(url).filter(|keys| !keys.is_closed()) {
            return keys.clone();
        }
        let keys = RemoteKeys::new(url.to_owned());
        let (keeper, fetcher) = (Keeper(keys.clone()), Fetcher { ca });
        let thread = Builder::new().name("keys".into()).spawn(move || keeper.keep(&fetcher));
        if let Err(error) = thread {
            tracing::error!(%error, url, "no thread to fetch keys; check ulimit -u");
        }
        known.insert(url.to_owned(), keys.clone());
        keys
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        known.values().for_each(RemoteKeys::close);
    }
}

/// Who fetches the keys of an issuer. Nobody waits for them when it goes, however it does.
struct Keeper(RemoteKeys);

impl Keeper {
    /// Fetches them again and again, until nobody needs them any more.
    fn keep(&self, fetcher: &Fetcher) {
        let keys = &self.0;
        let url = keys.url();
        let mut again = Duration::ZERO;
        let mut is_well = false;
        while keys.wait_until_asked(again) {
            let fetched = fetcher.fetch(url).and_then(|fetched| {
                let keys = KeySet::read(&fetched.text).map_err(|error| error.to_string())?;
                Ok((keys, fetched.max_age.unwrap_or(USUAL_AGE).clamp(SHORTEST_AGE, LONGEST_AGE)))
            });
            match fetched {
                Ok((set, age)) => {
                    if !is_well {
                        tracing::info!(url, "the keys of an issuer were fetched");
                    }
                    (is_well, again) = (true, age);
                    keys.fetched(Some(set));
                }
                Err(why) => {
                    tracing::error!(url, "the keys of an issuer could not be fetched: {why}");
                    (is_well, again) = (false, AFTER_FAILURE);
                    keys.fetched(None);
                }
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// How long keys are used whose server does not say.
const USUAL_AGE: Duration = Duration::from_secs(3600);
const SHORTEST_AGE: Duration = Duration::from_secs(60);
const LONGEST_AGE: Duration = Duration::from_secs(24 * 3600);
const AFTER_FAILURE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_fetches_any_more_somebody_else_begins() {
        let keys = RemoteKeys::new(String::new());
        let keeper = Keeper(keys.clone());
        let ended = std::panic::catch_unwind(move || {
            let _keeper = keeper;
            panic!("as a bug might");
        });
        assert!(ended.is_err() && keys.is_closed());
        let (all, url) = (KeySets::default(), "http://127.0.0.1:1/keys");
        all.get(url, None).close();
        let again = all.get(url, None);
        assert!(!again.is_closed());
        drop(all);
        assert!(again.is_closed());
    }
}
