//! Tokens as a proof: in the password, as every MQTT client can, or by the method `JWT`, with which
//! a client can also bring a new one while it stays connected.

use std::sync::Arc;

use crate::authenticate::{Acceptance, Credentials, Outcome};
use crate::chain::Proof;
use crate::chains::Chains;
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
            Ok(token) => Outcome::Accepted(Acceptance {
                lasts_secs: Some(token.expires_at.saturating_sub(now)),
                ..Principal::verified(token.name, token.claims)
                    .by_chain(token.chain.as_deref())
                    .into()
            }),
            Err(error) => Outcome::Refused(error.into()),
        })
    }

    fn lasts_secs(&self, principal: &Principal) -> Option<u64> {
        let ends = self.chains.ends(principal.chain()?)?;
        Some(ends.saturating_sub(self.clock.unix_secs()))
    }
}

/// The Authentication Method.
const METHOD: &str = "JWT";
