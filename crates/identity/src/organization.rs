//! Organisations that get tokens from the token service.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::claims::Claims;
use crate::keys::KeySet;
use crate::remote_keys::RemoteKeys;
use crate::token::{Token, TokenError, TokenRules};

/// One organisation.
#[derive(Debug, Clone, Default)]
pub struct Organization {
    /// For who makes tokens with a secret key; `None`: nobody does.
    pub secret: Option<HashedSecret>,
    /// Identity providers whose tokens are exchanged.
    pub providers: Vec<Provider>,
}

/// Who else says who somebody is.
#[derive(Debug, Clone)]
pub struct Provider {
    /// What it is called: not `secret_key`, which stands for that.
    pub name: String,
    /// Its keys.
    pub keys: KeySet,
    /// Its keys, where it publishes them.
    pub remote: Option<RemoteKeys>,
    /// Which of its tokens are good, and where their claims are.
    pub rules: TokenRules,
    /// Whether it also says what rights they have: `roles` and `acl`.
    pub gives_rights: bool,
}

impl Provider {
    /// What is believed of what its tokens claim.
    pub(crate) fn believed(&self, claims: Claims) -> Claims {
        if self.gives_rights { claims } else { claims.without_rights() }
    }

    /// Verifies a token of its own. May wait until its keys have been fetched.
    pub(crate) fn verify(&self, token: &[u8], now: u64) -> Result<Token, TokenError> {
        let verified = Token::verify(token, &self.keys, &self.rules, now);
        let Some(remote) = &self.remote else { return verified };
        if verified != Err(TokenError::UnknownKey) {
            return verified;
        }
        let verified = Token::verify(token, &remote.keys(), &self.rules, now);
        if verified != Err(TokenError::UnknownKey) {
            return verified;
        }
        let Some(fetch) = remote.ask(now) else { return verified };
        remote.wait_for(fetch);
        Token::verify(token, &remote.keys(), &self.rules, now)
    }
}

/// All organisations, by name (`org_id`).
pub type Organizations = BTreeMap<String, Organization>;

/// The hash of a secret key. Such keys are random, so one round of SHA-256 keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedSecret([u8; 32]);

impl HashedSecret {
    /// The hash of a key.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, secret.as_bytes());
        Self(std::array::from_fn(|at| hash.as_ref().get(at).copied().unwrap_or_default()))
    }

    /// Reads a hash.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let hash = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        hash.try_into().ok().map(Self)
    }

    /// The hash as it is kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    pub(crate) fn is_of(&self, secret: &str) -> bool {
        verify_slices_are_equal(&Self::of(secret).0, &self.0).is_ok()
    }
}

const PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash() {
        let hash = HashedSecret::of("sk_1");
        assert_eq!(HashedSecret::read(&hash.to_text()), Some(hash.clone()));
        assert!(hash.is_of("sk_1") && !hash.is_of("sk_2"));
        for wrong in ["", "sk_1", "sha256:", "sha256:AAAA"] {
            assert_eq!(HashedSecret::read(wrong), None);
        }
    }
}
