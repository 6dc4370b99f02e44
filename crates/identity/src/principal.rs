//! An authenticated client.

use std::sync::Arc;

use crate::policy::{Policy, Rights};
use crate::rule::Subject;

/// Who a connection acts as. One pointer, since idle connections are many; cheap to clone.
#[derive(Debug, Clone)]
pub struct Principal(Option<Arc<Known>>);

/// What there is to know of one who is not anonymous, or under a policy.
#[derive(Debug)]
struct Known {
    name: Option<Arc<str>>,
    /// What a policy comes to for it; `None`: there is no policy.
    rights: Option<Rights>,
}

impl Principal {
    /// A client that gave no credentials.
    pub const ANONYMOUS: Self = Self(None);

    /// A client known by a name: its user name or a claim of its token.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self(Some(Arc::new(Known { name: Some(name.into()), rights: None })))
    }

    /// The same one, as the client `client_id` under a policy.
    #[must_use]
    pub fn under(&self, policy: &Policy, client_id: &str) -> Self {
        let rights = policy.rights(&Subject { client_id, user: self.name() });
        let name = self.0.as_ref().and_then(|known| known.name.clone());
        Self(Some(Arc::new(Known { name, rights: Some(rights) })))
    }

    /// Whether a policy restricts it at all.
    pub fn is_restricted(&self) -> bool {
        self.rights().is_some()
    }

    /// The verified name; `None` for an anonymous client.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref()?.name.as_deref()
    }

    pub(crate) fn rights(&self) -> Option<&Rights> {
        self.0.as_ref()?.rights.as_ref()
    }
}
