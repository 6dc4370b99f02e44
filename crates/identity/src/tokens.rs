//! Tokens as a proof: in the password, as every MQTT client can, or by the method `JWT`, with which
//! a client can also bring a new one while it stays connected.

use std::sync::Arc;

use crate::authenticate::{Acceptance, Credentials, Outcome};
use crate::chain::Proof;
use crate::chains::Chains;
use crate::evidence::{Evidence, TokenMark};
use crate::keys::KeySet;
use crate::principal::Principal;
use crate::token::{Token, TokenRules, looks_like_one};

/// Tells the time of day.
pub trait WallClock: Send + Sync + std::fmt::Debug {
    /// Unix time in seconds.
    fn unix_secs(&self) -> u64;
}

/// Lets in who brings a good token. The user name beside it is no matter: the token has its own.
#[derive(Debug)]
pub struct Tokens {
    keys: KeySet,
    rules: TokenRules,
    clock: Arc<dyn WallClock>,
    chains: Chains,
}

impl Tokens {
    /// Tokens signed with one of these keys.
    pub fn new(keys: KeySet, rules: TokenRules, clock: Arc<dyn WallClock>) -> Self {
        Self { keys, rules, clock, chains: Chains::default() }
    }

    /// The same, some of which may be refreshed.
    #[must_use]
    pub fn in_chains(self, chains: Chains) -> Self {
        Self { chains, ..self }
    }
}

impl Proof for Tokens {
    fn judge(&self, credentials: &Credentials<'_>) -> Option<Outcome> {
        let text = match (credentials.method, credentials.password) {
            (Some((METHOD, data)), _) => data,
            (Some(_), _) => return None,
            (None, password) => password.filter(|text| looks_like_one(text))?,
        };
        let now = self.clock.unix_secs();
        Some(match Token::verify_in(text, &self.keys, &self.rules, now, &self.chains) {
            Ok(token) => {
                let Token { name, claims, expires_at, id, made_at, chain } = token;
                let mark = TokenMark { id, chain, made_at };
                let principal = Principal::verified(name, claims).by(Evidence::Token(mark));
                let lasts_secs = Some(expires_at.saturating_sub(now));
                Outcome::Accepted(Acceptance { lasts_secs, ..principal.into() })
            }
            Err(error) => Outcome::Refused(error.into()),
        })
    }

    fn lasts_secs(&self, principal: &Principal) -> Option<u64> {
        let Evidence::Token(TokenMark { chain, .. }) = principal.evidence() else { return None };
        let ends = self.chains.ends(chain.as_deref()?)?;
        Some(ends.saturating_sub(self.clock.unix_secs()))
    }

    fn remembered(&self, principal: &Principal) -> Option<Principal> {
        // It is good as long as it said; one that must not be is revoked.
        matches!(principal.evidence(), Evidence::Token(_)).then(|| principal.clone())
    }
}

/// The Authentication Method.
const METHOD: &str = "JWT";
