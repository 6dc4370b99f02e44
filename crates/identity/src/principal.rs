//! An authenticated client.

use std::sync::Arc;

/// Who a connection acts as. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: Option<Arc<str>>,
}

impl Principal {
    /// A client that gave no credentials.
    pub const ANONYMOUS: Self = Self { name: None };

    /// A client known by a name: its user name or a claim of its token.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()) }
    }

    /// The verified name; `None` for an anonymous client.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}
