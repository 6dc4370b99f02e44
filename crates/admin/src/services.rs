//! What requests are answered with; a reload replaces it.

use std::sync::{Arc, PoisonError, RwLock};

use agentmq_identity::TokenService;

/// The services. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<RwLock<Option<Arc<TokenService>>>>);

impl Services {
    /// From now on tokens are made by this one; `None`: nobody makes any.
    pub fn replace(&self, tokens: Option<TokenService>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tokens.map(Arc::new);
    }

    pub(crate) fn tokens(&self) -> Option<Arc<TokenService>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
