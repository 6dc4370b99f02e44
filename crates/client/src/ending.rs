//! Why a client has ended, for everything that still waits for an answer.

use std::sync::{Arc, OnceLock};

use crate::Error;

/// Set once by the connection's task, before it drops what others wait for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending(Arc<OnceLock<Arc<Error>>>);

impl Ending {
    /// The client ends, not by its own wish.
    pub(crate) fn set(&self, why: Error) {
        let _ = self.0.set(Arc::new(why));
    }

    /// What to tell those who wait: the cause, or that the client was closed.
    pub(crate) fn error(&self) -> Error {
        self.0.get().map_or(Error::Closed, |why| Error::Ended(why.clone()))
    }
}
