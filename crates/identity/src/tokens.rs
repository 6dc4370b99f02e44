//! Tokens as a proof: in the password, as every MQTT client can, or by the method `JWT`, with which
//! a client can also bring a new one while it stays connected.

use std::sync::Arc;

use agentmq_codec::ReasonCode;

use crate::authenticate::{Acceptance, Credentials, Outcome, Refusal, Work};
use crate::evidence::{Evidence, TokenMark};
use crate::keys::KeySet;
use crate::principal::Principal;
use crate::proof_chain::Proof;
use crate::remote_keys::RemoteKeys;
use crate::token::{Token, TokenError, TokenRules, looks_like_one};
use crate::token_chains::TokenChains;

/// Tells the time of day.
pub trait WallClock: Send + Sync + std::fmt::Debug {
    /// Unix time in seconds.
    fn unix_secs(&self) -> u64;
}

/// Lets in who brings a good token. The user name beside it is no matter: the token has its own.
#[derive(Debug)]
pub struct Tokens(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keys: KeySet,
    remote: Vec<RemoteKeys>,
    rules: TokenRules,
    clock: Arc<dyn WallClock>,
    chains: TokenChains,
}

impl Tokens {
    /// Tokens signed with one of these keys, or of those that issuers publish. Some may be
    /// refreshed.
    pub fn new(
        keys: KeySet,
        remote: Vec<RemoteKeys>,
        rules: TokenRules,
        clock: Arc<dyn WallClock>,
        chains: TokenChains,
    ) -> Self {
        Self(Arc::new(Shared { keys, remote, rules, clock, chains }))
    }
}

impl Shared {
    fn verify(&self, text: &[u8], now: u64) -> Result<Token, TokenError> {
        let verify = |keys: &KeySet| Token::verify_in(text, keys, &self.rules, now, &self.chains);
        let mut verified = verify(&self.keys);
        for remote in &self.remote {
            if verified != Err(TokenError::UnknownKey) {
                break;
            }
            verified = verify(&remote.keys());
        }
        verified
    }

    fn outcome(&self, verified: Result<Token, TokenError>, now: u64) -> Outcome {
        let token = match verified {
            Ok(token) => token,
            Err(error) => return Outcome::Refused(error.into()),
        };
        let lasts_secs = Some(token.expires_at.saturating_sub(now));
        Outcome::Accepted(Acceptance { lasts_secs, ..token.principal().into() })
    }
}

impl Proof for Tokens {
    fn judge(&self, credentials: &Credentials<'_>) -> Option<Outcome> {
        let text = match (credentials.method, credentials.password) {
            (Some((METHOD, data)), _) => data,
            (Some(_), _) => return None,
            (None, password) => password.filter(|text| looks_like_one(text))?,
        };
        let shared = &self.0;
        let now = shared.clock.unix_secs();
        let verified = shared.verify(text, now);
        if verified == Err(TokenError::UnknownKey) {
            // Perhaps the issuer has a new one.
            let ask = |remote: &RemoteKeys| Some((remote.clone(), remote.ask(now)?));
            let asked: Vec<_> = shared.remote.iter().filter_map(ask).collect();
            if asked.iter().any(|(remote, fetch)| !remote.is_hopeless(*fetch)) {
                let (shared, text) = (Arc::clone(shared), text.into());
                return Some(Outcome::Later(Box::new(SecondLook { shared, text, asked })));
            }
            if !asked.is_empty() {
                return Some(Outcome::Refused(no_keys_yet()));
            }
        }
        Some(shared.outcome(verified, now))
    }

    fn lasts_secs(&self, principal: &Principal) -> Option<u64> {
        let Evidence::Token(TokenMark { chain, .. }) = principal.evidence() else { return None };
        let ends = self.0.chains.ends(chain.as_deref()?)?;
        Some(ends.saturating_sub(self.0.clock.unix_secs()))
    }

    fn remembered(&self, principal: &Principal) -> Option<Principal> {
        // It is good as long as it said; one that must not be is revoked.
        matches!(principal.evidence(), Evidence::Token(_)).then(|| principal.clone())
    }
}

/// A token whose key was not known, to be looked at again when keys have been fetched.
struct SecondLook {
    shared: Arc<Shared>,
    text: Box<[u8]>,
    asked: Vec<(RemoteKeys, u64)>,
}

impl std::fmt::Debug for SecondLook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SecondLook").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Work for SecondLook {
    fn run(self: Box<Self>) -> Outcome {
        let mut have_ended = true;
        for (remote, fetch) in &self.asked {
            have_ended &= remote.wait_for(*fetch);
        }
        let now = self.shared.clock.unix_secs();
        let verified = self.shared.verify(&self.text, now);
        let is_missing = self.asked.iter().any(|(remote, _)| remote.keys().is_empty());
        if verified == Err(TokenError::UnknownKey) && (is_missing || !have_ended) {
            return Outcome::Refused(no_keys_yet());
        }
        self.shared.outcome(verified, now)
    }
}

fn no_keys_yet() -> Refusal {
    Refusal {
        reason: ReasonCode::ServerUnavailable,
        why: "the keys of the token's issuer could not be fetched: try again".into(),
    }
}

/// The Authentication Method.
const METHOD: &str = "JWT";
