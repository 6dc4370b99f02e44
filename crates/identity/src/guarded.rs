//! An authenticator whose principals come with what a policy grants them.

use std::sync::{Arc, PoisonError, RwLock};

use crate::authenticate::{Authenticator, Challenge, Credentials, Exchange, Outcome};
use crate::policy::Policy;
use crate::principal::Principal;

/// The policy in effect; what is put in its place counts for who is authenticated from then on.
#[derive(Debug, Clone, Default)]
pub struct PolicyInForce(Arc<RwLock<Option<Arc<Policy>>>>);

impl PolicyInForce {
    /// This one, or none: then everything is allowed.
    pub fn new(policy: Option<Policy>) -> Self {
        Self(Arc::new(RwLock::new(policy.map(Arc::new))))
    }

    /// Puts another one in its place.
    pub fn replace(&self, policy: Option<Policy>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = policy.map(Arc::new);
    }

    fn granted(&self, principal: Principal, client_id: &str) -> Principal {
        let policy = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        match policy {
            Some(policy) => principal.under(&policy, client_id),
            None => principal,
        }
    }
}

/// Asks another authenticator, and gives whom it accepts what the policy grants.
#[derive(Debug)]
pub struct Guarded {
    inner: Arc<dyn Authenticator>,
    policy: PolicyInForce,
}

impl Guarded {
    /// `inner` with a policy.
    pub fn new(inner: Arc<dyn Authenticator>, policy: PolicyInForce) -> Self {
        Self { inner, policy }
    }
}

impl Authenticator for Guarded {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        guard(self.inner.authenticate(credentials), &self.policy, credentials.client_id)
    }

    fn remembered(&self, name: Option<&str>, client_id: &str) -> Principal {
        self.policy.granted(self.inner.remembered(name, client_id), client_id)
    }
}

/// An exchange whose end is guarded too.
#[derive(Debug)]
struct GuardedExchange {
    inner: Box<dyn Exchange>,
    policy: PolicyInForce,
    client_id: Box<str>,
}

impl Exchange for GuardedExchange {
    fn step(self: Box<Self>, data: &[u8]) -> Outcome {
        guard(self.inner.step(data), &self.policy, &self.client_id)
    }
}

fn guard(outcome: Outcome, policy: &PolicyInForce, client_id: &str) -> Outcome {
    match outcome {
        Outcome::Accepted(principal, data) => {
            Outcome::Accepted(policy.granted(principal, client_id), data)
        }
        Outcome::Continue(Challenge { data, exchange }) => {
            let (policy, client_id) = (policy.clone(), client_id.into());
            let exchange = Box::new(GuardedExchange { inner: exchange, policy, client_id });
            Outcome::Continue(Challenge { data, exchange })
        }
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Effect, Open};

    fn publishes(authenticator: &impl Authenticator, topic: &str) -> bool {
        let credentials = Credentials { client_id: "a", ..Credentials::default() };
        match authenticator.authenticate(&credentials) {
            Outcome::Accepted(principal, _) => principal.authorize(Action::Publish, topic).allowed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn another_policy_counts_for_who_comes_then() {
        let policy = PolicyInForce::new(None);
        let guarded = Guarded::new(Arc::new(Open), policy.clone());
        assert!(publishes(&guarded, "a"), "without a policy everything is allowed");
        let before = guarded.remembered(None, "a");
        policy.replace(Some(Policy::new(Vec::new(), Effect::Deny)));
        assert!(!publishes(&guarded, "a"));
        assert!(!guarded.remembered(None, "a").authorize(Action::Publish, "a").allowed);
        assert!(before.authorize(Action::Publish, "a").allowed, "who is here keeps what it had");
    }
}
