//! An authenticated client.

use std::sync::Arc;

use crate::policy::Grants;

/// Who a connection acts as. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: Option<Arc<str>>,
    /// What a policy grants it; `None`: there is no policy.
    pub(crate) grants: Option<Arc<Grants>>,
}

impl Principal {
    /// A client that gave no credentials.
    pub const ANONYMOUS: Self = Self { name: None, grants: None };

    /// A client known by a name: its user name or a claim of its token.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), grants: None }
    }

    /// The same one, who may do this and nothing else.
    #[must_use]
    pub fn with(self, grants: Grants) -> Self {
        Self { grants: Some(Arc::new(grants)), ..self }
    }

    /// Whether a policy restricts it at all.
    pub fn is_restricted(&self) -> bool {
        self.grants.is_some()
    }

    /// The verified name; `None` for an anonymous client.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}
