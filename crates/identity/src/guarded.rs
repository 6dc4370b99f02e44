//! Who is let in and what they may do, all of which may be replaced while clients come and go.

use core::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use agentmq_codec::ReasonCode;

use crate::authenticate::{
    Acceptance, Authenticator, Challenge, Credentials, Exchange, Outcome, Presence, Refusal, Work,
};
use crate::policy::Policy;
use crate::principal::Principal;
use crate::revocations::Revocations;
use crate::tokens::WallClock;

/// Asks another authenticator, turns away whom it must not let in any more, and gives the others
/// what a policy grants. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Guarded(Arc<RwLock<Arc<InForce>>>);

/// What holds.
#[derive(Debug)]
pub struct InForce {
    /// Lets clients in.
    pub authenticator: Arc<dyn Authenticator>,
    /// What they may do; `None`: everything.
    pub policy: Option<Policy>,
    /// Whether those of an organisation have topics of their own.
    pub keeps_apart: bool,
    /// Who is not let in whatever he shows.
    pub revocations: Revocations,
    /// The time of day, by which revocations end.
    pub clock: Arc<dyn WallClock>,
}

/// For who needs no time.
#[derive(Debug)]
struct NoClock;

impl WallClock for NoClock {
    fn unix_secs(&self) -> u64 {
        0
    }
}

/// Who asks to be let in, and what was in force when he began to.
#[derive(Debug, Clone)]
struct Asking {
    client_id: Box<str>,
    source: Option<IpAddr>,
    in_force: Arc<InForce>,
}

impl Guarded {
    /// Guards by this.
    #[must_use]
    pub fn new(in_force: InForce) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(in_force))))
    }

    /// Puts something else in its place. It counts for who comes from then on; who is here is
    /// asked about by [`Authenticator::remembered`].
    pub fn replace(&self, in_force: InForce) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is in force when the last step is done counts: who began under something else, with
    /// other users and keys, begins again.
    fn guard(&self, outcome: Outcome, asking: Asking) -> Outcome {
        match outcome {
            Outcome::Accepted(acceptance) => {
                let Asking { client_id, source, in_force } = &asking;
                if !Arc::ptr_eq(in_force, &self.in_force()) {
                    let why = "the rules of access have changed in between: connect again";
                    return Outcome::Refused(Refusal {
                        reason: ReasonCode::ServerBusy,
                        why: why.into(),
                    });
                }
                match in_force.admitted(&acceptance.principal, client_id, *source) {
                    Ok(principal) => Outcome::Accepted(Acceptance { principal, ..acceptance }),
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
            Outcome::Continue(Challenge { data, exchange }) => {
                let guarded = self.clone();
                let exchange = Box::new(GuardedExchange { inner: exchange, guarded, asking });
                Outcome::Continue(Challenge { data, exchange })
            }
            Outcome::Later(work) => {
                Outcome::Later(Box::new(GuardedWork { inner: work, guarded: self.clone(), asking }))
            }
            Outcome::Refused(refusal) => Outcome::Refused(refusal),
        }
    }
}

impl InForce {
    /// An authenticator and a policy, and nobody revoked.
    #[must_use]
    pub fn new(authenticator: Arc<dyn Authenticator>, policy: Option<Policy>) -> Self {
        let revocations = Revocations::default();
        let clock = Arc::new(NoClock);
        Self { authenticator, policy, keeps_apart: false, revocations, clock }
    }

    /// The principal with its rights, if it is let in as this client.
    fn admitted(
        &self,
        principal: &Principal,
        client_id: &str,
        source: Option<IpAddr>,
    ) -> Result<Principal, Refusal> {
        if self.revocations.hold_for(principal, client_id, source, self.clock.unix_secs()) {
            let why = "access was revoked: ask who runs this server".into();
            return Err(Refusal { reason: ReasonCode::NotAuthorized, why });
        }
        let placed =
            if self.keeps_apart { principal.apart(client_id) } else { Some(principal.among_all()) };
        let Some(principal) = placed else {
            let why =
                "the claim org_id cannot be a level of a topic: it has a / + # or is too long";
            return Err(Refusal { reason: ReasonCode::NotAuthorized, why: why.into() });
        };
        match &self.policy {
            Some(policy) if !principal.may_be(policy, client_id) => {
                let why = "this client identifier is not one of yours: the policy says which are \
                           (client_ids)";
                Err(Refusal { reason: ReasonCode::ClientIdentifierNotValid, why: why.into() })
            }
            Some(policy) => Ok(principal.under(policy, client_id)),
            None => Ok(principal.unrestricted()),
        }
    }
}

impl Authenticator for Guarded {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        let Credentials { client_id, source, .. } = *credentials;
        let in_force = self.in_force();
        let outcome = in_force.authenticator.authenticate(credentials);
        self.guard(outcome, Asking { client_id: client_id.into(), source, in_force })
    }

    fn remembered(&self, principal: &Principal, presence: &Presence<'_>) -> Option<Principal> {
        let in_force = self.in_force();
        let principal = in_force.authenticator.remembered(principal, presence)?;
        in_force.admitted(&principal, presence.client_id, presence.source).ok()
    }

    fn keeps_apart(&self) -> bool {
        self.in_force().keeps_apart
    }

    fn lasts_secs(&self, principal: &Principal) -> u64 {
        self.in_force().authenticator.lasts_secs(principal)
    }
}

/// An exchange whose end is guarded too.
#[derive(Debug)]
struct GuardedExchange {
    inner: Box<dyn Exchange>,
    guarded: Guarded,
    asking: Asking,
}

impl Exchange for GuardedExchange {
    fn step(self: Box<Self>, data: &[u8]) -> Outcome {
        let Self { inner, guarded, asking } = *self;
        guarded.guard(inner.step(data), asking)
    }
}

/// Work whose outcome is guarded too.
#[derive(Debug)]
struct GuardedWork {
    inner: Box<dyn Work>,
    guarded: Guarded,
    asking: Asking,
}

impl Work for GuardedWork {
    fn run(self: Box<Self>) -> Outcome {
        let Self { inner, guarded, asking } = *self;
        guarded.guard(inner.run(), asking)
    }

    fn waits(&self) -> bool {
        self.inner.waits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Effect, Open, Revocation, Revoked};

    fn in_force(policy: Option<Policy>, revoked: Option<&str>) -> InForce {
        let of = revoked.map(|id| Revoked::ClientId(id.into()));
        let all = of.map(|of| Revocation { of, made_until: None, ends: None });
        let revocations = Revocations(all.into_iter().collect());
        InForce { revocations, ..InForce::new(Arc::new(Open), policy) }
    }

    fn publishes(authenticator: &impl Authenticator, topic: &str) -> bool {
        let credentials = Credentials { client_id: "a", ..Credentials::default() };
        match authenticator.authenticate(&credentials) {
            Outcome::Accepted(Acceptance { principal, .. }) => may(&principal, topic),
            other => panic!("{other:?}"),
        }
    }

    fn remembered(guarded: &Guarded, principal: &Principal, client_id: &str) -> Option<Principal> {
        guarded.remembered(principal, &Presence { client_id, ..Presence::default() })
    }

    /// Lets everybody in, once somebody has had time for it.
    #[derive(Debug, Clone)]
    struct Slow;

    impl Authenticator for Slow {
        fn authenticate(&self, _: &Credentials<'_>) -> Outcome {
            Outcome::Later(Box::new(self.clone()))
        }
    }

    impl Work for Slow {
        fn run(self: Box<Self>) -> Outcome {
            Outcome::Accepted(Principal::named("slow").into())
        }
    }

    fn may(principal: &Principal, topic: &str) -> bool {
        principal.authorize(Action::Publish, topic).allowed
    }

    #[test]
    fn another_policy_counts_for_who_comes_then_and_who_is_here_can_be_asked_about() {
        let guarded = Guarded::new(in_force(None, None));
        assert!(publishes(&guarded, "a"), "without a policy everything is allowed");
        let before = remembered(&guarded, &Principal::ANONYMOUS, "a").expect("may stay");
        guarded.replace(in_force(Some(Policy::new(Vec::new(), Effect::Deny)), None));
        assert!(!publishes(&guarded, "a"));
        assert!(may(&before, "a"), "it keeps what it had");
        let after = remembered(&guarded, &before, "a").expect("may stay");
        assert!(!may(&after, "a"));
        guarded.replace(in_force(None, None));
        assert!(may(&remembered(&guarded, &after, "a").expect("may stay"), "a"));
    }

    #[test]
    fn what_was_begun_under_other_users_and_keys_is_begun_again() {
        let slow = || InForce::new(Arc::new(Slow), None);
        let guarded = Guarded::new(slow());
        let begun = || match guarded.authenticate(&Credentials::default()) {
            Outcome::Later(work) => work,
            other => panic!("{other:?}"),
        };
        assert!(matches!(begun().run(), Outcome::Accepted(_)));
        let work = begun();
        guarded.replace(slow());
        match work.run() {
            Outcome::Refused(refusal) => assert_eq!(refusal.reason, ReasonCode::ServerBusy),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_is_revoked_is_turned_away_and_not_remembered() {
        let guarded = Guarded::new(in_force(None, Some("bad")));
        let outcome =
            |client_id| guarded.authenticate(&Credentials { client_id, ..Credentials::default() });
        assert!(matches!(outcome("good"), Outcome::Accepted(_)));
        assert!(matches!(outcome("bad"), Outcome::Refused(_)));
        assert!(remembered(&guarded, &Principal::ANONYMOUS, "good").is_some());
        assert!(remembered(&guarded, &Principal::ANONYMOUS, "bad").is_none());
    }
}
