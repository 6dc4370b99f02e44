//! Several kinds of proof, one after the other.

use agentmq_codec::ReasonCode;

use crate::authenticate::{Authenticator, Credentials, Outcome, Presence, Refusal};
use crate::principal::Principal;

/// One kind of proof: tokens, say, or passwords.
pub trait Proof: Send + Sync + std::fmt::Debug {
    /// Judges credentials of its kind; `None`: these are of another. What it refuses is refused,
    /// whatever others would say of it.
    fn judge(&self, credentials: &Credentials<'_>) -> Option<Outcome>;

    /// Whom it still vouches for, of those that it has let in; see
    /// [`Authenticator::remembered`].
    fn remembered(&self, principal: &Principal) -> Option<Principal> {
        let _ = principal;
        None
    }

    /// How many seconds longer a proof of its kind has become good; see
    /// [`Authenticator::lasts_secs`].
    fn lasts_secs(&self, principal: &Principal) -> Option<u64> {
        let _ = principal;
        None
    }
}

/// Asks one kind of proof after the other, and at last lets in who brings none, where the listener
/// allows it.
#[derive(Debug, Default)]
pub struct ProofChain {
    proofs: Vec<Box<dyn Proof>>,
}

impl ProofChain {
    /// These kinds, in this order.
    #[must_use]
    pub fn new(proofs: Vec<Box<dyn Proof>>) -> Self {
        Self { proofs }
    }
}

impl Authenticator for ProofChain {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        if let Some(outcome) = self.proofs.iter().find_map(|proof| proof.judge(credentials)) {
            return outcome;
        }
        let Credentials { username, password, method, may_be_anonymous, .. } = *credentials;
        let refused =
            |reason, why: &'static str| Outcome::Refused(Refusal { reason, why: why.into() });
        match (username, password, method) {
            (_, _, Some(_)) => refused(
                ReasonCode::BadAuthenticationMethod, // [MQTT-4.12.0-1]
                "this server does not have that authentication method",
            ),
            (None, None, None) if may_be_anonymous => {
                Outcome::Accepted(Principal::ANONYMOUS.into())
            }
            (_, None, None) => refused(
                ReasonCode::NotAuthorized,
                "this server asks for credentials: connect with a user name and a password or \
                 token",
            ),
            _ => refused(ReasonCode::BadUserNameOrPassword, "the user name or password is wrong"),
        }
    }

    /// Who has no name may stay where such may be; who has one needs somebody who vouches for it.
    fn remembered(&self, principal: &Principal, presence: &Presence<'_>) -> Option<Principal> {
        match principal.name() {
            None => presence.may_be_anonymous.then(|| principal.clone()),
            Some(_) => self.proofs.iter().find_map(|proof| proof.remembered(principal)),
        }
    }

    fn lasts_secs(&self, principal: &Principal) -> u64 {
        let known = self.proofs.iter().find_map(|proof| proof.lasts_secs(principal));
        known.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticate::Acceptance;

    /// Knows one password, and refuses another.
    #[derive(Debug)]
    struct One(&'static [u8]);

    impl Proof for One {
        fn judge(&self, credentials: &Credentials<'_>) -> Option<Outcome> {
            match credentials.password? {
                password if password == self.0 => {
                    Some(Outcome::Accepted(Principal::named("known").into()))
                }
                b"bad" => Some(Outcome::Refused(Refusal {
                    reason: ReasonCode::Banned,
                    why: "known to be bad".into(),
                })),
                _ => None,
            }
        }
    }

    fn outcome(credentials: Credentials<'_>) -> Result<Option<String>, ReasonCode> {
        let chain = ProofChain::new(vec![Box::new(One(b"a")), Box::new(One(b"b"))]);
        match chain.authenticate(&credentials) {
            Outcome::Accepted(Acceptance { principal, .. }) => {
                Ok(principal.name().map(str::to_owned))
            }
            Outcome::Refused(refusal) => Err(refusal.reason),
            Outcome::Continue(_) | Outcome::Later(_) => panic!("nobody asks"),
        }
    }

    #[test]
    fn the_first_that_knows_the_kind_decides() {
        let with = |password| Credentials { password: Some(password), ..Credentials::default() };
        assert_eq!(outcome(with(b"a")), Ok(Some("known".into())));
        assert_eq!(outcome(with(b"b")), Ok(Some("known".into())));
        assert_eq!(outcome(with(b"bad")), Err(ReasonCode::Banned));
        assert_eq!(outcome(with(b"c")), Err(ReasonCode::BadUserNameOrPassword));
    }

    #[test]
    fn who_brought_nothing_stays_where_that_is_allowed() {
        let chain = ProofChain::default();
        let stays = |may_be_anonymous| {
            let presence = Presence { may_be_anonymous, ..Presence::default() };
            chain.remembered(&Principal::ANONYMOUS, &presence).is_some()
        };
        assert!(stays(true) && !stays(false));
    }

    #[test]
    fn who_brings_nothing_comes_in_where_that_is_allowed() {
        let nothing = Credentials { may_be_anonymous: true, ..Credentials::default() };
        assert_eq!(outcome(nothing), Ok(None));
        let named = Credentials { username: Some("root"), ..nothing };
        assert_eq!(outcome(named), Err(ReasonCode::NotAuthorized), "a name is a claim");
        let unknown = Credentials { method: Some(("X", b"")), ..nothing };
        assert_eq!(outcome(unknown), Err(ReasonCode::BadAuthenticationMethod));
        assert_eq!(outcome(Credentials::default()), Err(ReasonCode::NotAuthorized));
    }
}
