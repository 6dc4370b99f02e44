//! Who is let in and what they may do, both of which may be replaced while clients come and go.

use std::sync::{Arc, PoisonError, RwLock};

use crate::authenticate::{
    Acceptance, Authenticator, Challenge, Credentials, Exchange, Outcome, Work,
};
use crate::policy::Policy;
use crate::principal::Principal;

/// Asks another authenticator, and gives whom it accepts what a policy grants. Cheap to clone; all
/// clones are one.
#[derive(Debug, Clone)]
pub struct Guarded(Arc<RwLock<InForce>>);

#[derive(Debug, Clone)]
struct InForce {
    inner: Arc<dyn Authenticator>,
    /// `None`: everything is allowed.
    policy: Option<Arc<Policy>>,
}

impl Guarded {
    /// This authenticator, and a policy or none.
    pub fn new(inner: Arc<dyn Authenticator>, policy: Option<Policy>) -> Self {
        let policy = policy.map(Arc::new);
        Self(Arc::new(RwLock::new(InForce { inner, policy })))
    }

    /// Puts others in their place. They count for who comes from then on; who is here is asked
    /// about by [`Authenticator::remembered`].
    pub fn replace(&self, inner: Arc<dyn Authenticator>, policy: Option<Policy>) {
        let policy = policy.map(Arc::new);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = InForce { inner, policy };
    }

    fn in_force(&self) -> InForce {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The policy counts that is in force when the last step is done.
    fn guard(&self, outcome: Outcome, client_id: &str) -> Outcome {
        match outcome {
            Outcome::Accepted(acceptance) => {
                let principal = self.in_force().granted(&acceptance.principal, client_id);
                Outcome::Accepted(Acceptance { principal, ..acceptance })
            }
            Outcome::Continue(Challenge { data, exchange }) => {
                let (guarded, client_id) = (self.clone(), client_id.into());
                let exchange = Box::new(GuardedExchange { inner: exchange, guarded, client_id });
                Outcome::Continue(Challenge { data, exchange })
            }
            Outcome::Later(work) => {
                let (guarded, client_id) = (self.clone(), client_id.into());
                Outcome::Later(Box::new(GuardedWork { inner: work, guarded, client_id }))
            }
            Outcome::Refused(refusal) => Outcome::Refused(refusal),
        }
    }
}

impl InForce {
    fn granted(&self, principal: &Principal, client_id: &str) -> Principal {
        match &self.policy {
            Some(policy) => principal.under(policy, client_id),
            None => principal.unrestricted(),
        }
    }
}

impl Authenticator for Guarded {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        let inner = self.in_force().inner;
        self.guard(inner.authenticate(credentials), credentials.client_id)
    }

    fn remembered(&self, principal: &Principal, client_id: &str) -> Principal {
        let in_force = self.in_force();
        in_force.granted(&in_force.inner.remembered(principal, client_id), client_id)
    }

    fn lasts_secs(&self, principal: &Principal) -> u64 {
        self.in_force().inner.lasts_secs(principal)
    }
}

/// An exchange whose end is guarded too.
#[derive(Debug)]
struct GuardedExchange {
    inner: Box<dyn Exchange>,
    guarded: Guarded,
    client_id: Box<str>,
}

impl Exchange for GuardedExchange {
    fn step(self: Box<Self>, data: &[u8]) -> Outcome {
        self.guarded.guard(self.inner.step(data), &self.client_id)
    }
}

/// Work whose outcome is guarded too.
#[derive(Debug)]
struct GuardedWork {
    inner: Box<dyn Work>,
    guarded: Guarded,
    client_id: Box<str>,
}

impl Work for GuardedWork {
    fn run(self: Box<Self>) -> Outcome {
        self.guarded.guard(self.inner.run(), &self.client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Effect, Open};

    fn publishes(authenticator: &impl Authenticator, topic: &str) -> bool {
        let credentials = Credentials { client_id: "a", ..Credentials::default() };
        match authenticator.authenticate(&credentials) {
            Outcome::Accepted(Acceptance { principal, .. }) => {
                principal.authorize(Action::Publish, topic).allowed
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn another_policy_counts_for_who_comes_then_and_who_is_here_can_be_asked_about() {
        let guarded = Guarded::new(Arc::new(Open), None);
        assert!(publishes(&guarded, "a"), "without a policy everything is allowed");
        let before = guarded.remembered(&Principal::ANONYMOUS, "a");
        guarded.replace(Arc::new(Open), Some(Policy::new(Vec::new(), Effect::Deny)));
        assert!(!publishes(&guarded, "a"));
        assert!(before.authorize(Action::Publish, "a").allowed, "it keeps what it had");
        let after = guarded.remembered(&before, "a");
        assert!(!after.authorize(Action::Publish, "a").allowed);
        guarded.replace(Arc::new(Open), None);
        assert!(guarded.remembered(&after, "a").authorize(Action::Publish, "a").allowed);
    }
}
