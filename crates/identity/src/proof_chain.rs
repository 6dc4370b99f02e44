//! Several kinds of proof, one after the other.

use core::net::IpAddr;
use std::sync::Arc;

use agentmq_codec::{ProtocolVersion, ReasonCode};

use crate::authenticate::{Authenticator, Credentials, Outcome, Presence, Refusal, Work};
use crate::principal::Principal;

/// One kind of proof: tokens, say, or passwords.
pub trait Proof: Send + Sync + std::fmt::Debug {
    /// Judges credentials of its kind; `None`: these are of another. What it refuses is refused,
    /// whatever others would say of it.
    fn judge(&self, credentials: &Credentials<'_>) -> Option<Outcome>;

    /// Whom to ask about credentials that [`Proof::judge`] has not judged; `None`: nobody.
    fn inquire(&self, credentials: &Credentials<'_>) -> Option<Box<dyn Inquiry>> {
        let _ = credentials;
        None
    }

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

/// A question to somebody elsewhere, who may not know the credentials either.
pub trait Inquiry: Send + std::fmt::Debug {
    /// Asks, and waits for the answer. `None`: the next kind of proof judges.
    fn run(self: Box<Self>) -> Option<Outcome>;
}

/// Asks one kind of proof after the other, and at last lets in who brings none, where the listener
/// allows it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ProofChain {
    proofs: Arc<[Box<dyn Proof>]>,
}

impl ProofChain {
    /// These kinds, in this order.
    #[must_use]
    pub fn new(proofs: Vec<Box<dyn Proof>>) -> Self {
        Self { proofs: proofs.into() }
    }

    /// What the kinds from this one on say.
    fn judge_from(&self, first: usize, credentials: &Credentials<'_>) -> Outcome {
        for (at, proof) in self.proofs.iter().enumerate().skip(first) {
            if let Some(outcome) = proof.judge(credentials) {
                return outcome;
            }
            if let Some(inquiry) = proof.inquire(credentials) {
                let (chain, credentials) = (self.clone(), OwnCredentials::of(credentials));
                return Outcome::Later(Box::new(Asked { inquiry, chain, at, credentials }));
            }
        }
        without_proof(credentials)
    }
}

/// Nobody knows what these credentials prove.
fn without_proof(credentials: &Credentials<'_>) -> Outcome {
    let Credentials { username, password, method, may_be_anonymous, .. } = *credentials;
    let refused = |reason, why: &'static str| Outcome::Refused(Refusal { reason, why: why.into() });
    match (username, password, method) {
        (_, _, Some(_)) => refused(
            ReasonCode::BadAuthenticationMethod, // [MQTT-4.12.0-1]
            "this server does not have that authentication method",
        ),
        (None, None, None) if may_be_anonymous => Outcome::Accepted(Principal::ANONYMOUS.into()),
        (_, None, None) => refused(
            ReasonCode::NotAuthorized,
            "this server asks for credentials: connect with a user name and a password or token",
        ),
        _ => Outcome::Refused(Refusal::wrong_password()),
    }
}

impl Authenticator for ProofChain {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        self.judge_from(0, credentials)
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

/// A question that one kind of proof asks, and what the kinds behind it need if nobody knows.
#[derive(Debug)]
struct Asked {
    inquiry: Box<dyn Inquiry>,
    chain: ProofChain,
    /// The kind that asks.
    at: usize,
    credentials: OwnCredentials,
}

impl Work for Asked {
    fn run(self: Box<Self>) -> Outcome {
        let Self { inquiry, chain, at, credentials } = *self;
        match inquiry.run() {
            Some(outcome) => outcome,
            None => match chain.judge_from(at + 1, &credentials.view()) {
                Outcome::Later(work) => work.run(),
                outcome => outcome,
            },
        }
    }

    fn waits(&self) -> bool {
        true
    }
}

/// Credentials that outlive their packet.
struct OwnCredentials {
    client_id: Box<str>,
    username: Option<Box<str>>,
    password: Option<Box<[u8]>>,
    method: Option<(Box<str>, Box<[u8]>)>,
    may_be_anonymous: bool,
    certificate: Option<Box<[u8]>>,
    source: Option<IpAddr>,
    listener: u16,
    version: ProtocolVersion,
}

impl OwnCredentials {
    fn of(credentials: &Credentials<'_>) -> Self {
        let Credentials { may_be_anonymous, source, listener, version, .. } = *credentials;
        Self {
            client_id: credentials.client_id.into(),
            username: credentials.username.map(Into::into),
            password: credentials.password.map(Into::into),
            method: credentials.method.map(|(name, data)| (name.into(), data.into())),
            may_be_anonymous,
            certificate: credentials.certificate.map(Into::into),
            source,
            listener,
            version,
        }
    }

    fn view(&self) -> Credentials<'_> {
        let Self { may_be_anonymous, source, listener, version, .. } = *self;
        Credentials {
            client_id: &self.client_id,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            method: self.method.as_ref().map(|(name, data)| (&**name, &**data)),
            may_be_anonymous,
            certificate: self.certificate.as_deref(),
            source,
            listener,
            version,
        }
    }
}

/// Without what is secret.
impl std::fmt::Debug for OwnCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("OwnCredentials");
        shown.field("client_id", &self.client_id).field("username", &self.username);
        shown.finish_non_exhaustive()
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

    /// Asks about whoever has a password; nobody knows who has another user name than one.
    #[derive(Debug)]
    struct Elsewhere;

    #[derive(Debug)]
    struct Whether(bool);

    impl Proof for Elsewhere {
        fn judge(&self, _: &Credentials<'_>) -> Option<Outcome> {
            None
        }

        fn inquire(&self, credentials: &Credentials<'_>) -> Option<Box<dyn Inquiry>> {
            credentials.password?;
            Some(Box::new(Whether(credentials.username == Some("elsewhere"))))
        }
    }

    impl Inquiry for Whether {
        fn run(self: Box<Self>) -> Option<Outcome> {
            self.0.then(|| Outcome::Accepted(Principal::named("elsewhere").into()))
        }
    }

    #[test]
    fn whom_nobody_knows_elsewhere_the_next_kind_judges() {
        let proofs: Vec<Box<dyn Proof>> = vec![
            Box::new(One(b"a")),
            Box::new(Elsewhere),
            Box::new(Elsewhere),
            Box::new(One(b"b")),
        ];
        let chain = ProofChain::new(proofs);
        let judged = |username, password: &'static [u8]| {
            let (username, password) = (Some(username), Some(password));
            let credentials = Credentials { username, password, ..Credentials::default() };
            let (outcome, is_asked) = match chain.authenticate(&credentials) {
                Outcome::Later(work) => (work.run(), true),
                outcome => (outcome, false),
            };
            match outcome {
                Outcome::Accepted(it) => (it.principal.name().map(str::to_owned), is_asked),
                Outcome::Refused(_) => (None, is_asked),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(judged("elsewhere", b"a"), (Some("known".into()), false), "the first decides");
        assert_eq!(judged("elsewhere", b"x"), (Some("elsewhere".into()), true));
        assert_eq!(judged("other", b"b"), (Some("known".into()), true));
        assert_eq!(judged("other", b"bad"), (None, false));
        assert_eq!(judged("other", b"x"), (None, true));
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
