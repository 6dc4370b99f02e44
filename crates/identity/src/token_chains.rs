//! Chains of tokens that were made one from the other. A client that refreshes its token may go on
//! with the first one it had, as the published clients of MQTT.Agent do: a token is good as long as
//! the newest of its chain.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How long each chain is good for.
#[derive(Debug, Clone, Default)]
pub struct TokenChains(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Unix time in seconds, by the chain's identifier.
    ends: RwLock<HashMap<Box<str>, u64>>,
    journal: Mutex<Option<Box<dyn ChainJournal>>>,
}

/// Keeps what must be known again after a restart.
pub trait ChainJournal: Send + std::fmt::Debug {
    /// Returns when it is safe that the chain is good until then.
    fn record(&mut self, chain: &str, ends: u64) -> io::Result<()>;
}

impl TokenChains {
    /// Takes up what an earlier run has left, and keeps in the journal what becomes of it.
    pub fn take_up(
        &self,
        left: impl IntoIterator<Item = (String, u64)>,
        journal: Box<dyn ChainJournal>,
    ) {
        let mut ends = self.0.ends.write().unwrap_or_else(PoisonError::into_inner);
        ends.extend(left.into_iter().map(|(chain, end)| (chain.into(), end)));
        *self.0.journal.lock().unwrap_or_else(PoisonError::into_inner) = Some(journal);
    }

    /// Until when the chain is good, if it was ever refreshed.
    pub(crate) fn ends(&self, chain: &str) -> Option<u64> {
        self.0.ends.read().unwrap_or_else(PoisonError::into_inner).get(chain).copied()
    }

    /// A token of the chain was made that is good until then.
    pub(crate) fn refresh(&self, chain: &str, ends: u64, now: u64) -> io::Result<()> {
        let mut journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = &mut *journal {
            journal.record(chain, ends)?;
        }
        let mut all = self.0.ends.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SWEPT_FROM && !all.contains_key(chain) {
            all.retain(|_, end| *end > now);
        }
        let end = all.entry(chain.into()).or_default();
        *end = ends.max(*end);
        Ok(())
    }
}

/// TokenChains from which on those that have ended are looked for.
const SWEPT_FROM: usize = 10_000;
