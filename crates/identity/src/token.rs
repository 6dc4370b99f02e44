//! JSON Web Tokens (RFC 7519, as compact JWS of RFC 7515): from a text to what it claims. Follows
//! the advice of RFC 8725.

use std::borrow::Cow;

use agentmq_codec::ReasonCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::authenticate::Refusal;
use crate::claim_mapping::ClaimMapping;
use crate::claims::{ClaimError, Claims};
use crate::evidence::{Evidence, TokenMark};
use crate::keys::KeySet;
use crate::principal::Principal;
use crate::strict_json;
use crate::token_chains::TokenChains;

/// Which tokens are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// `iss` must be one of these; empty: any issuer whose key is known.
    pub issuers: Vec<String>,
    /// `aud` must have this; empty: the token must be for nobody in particular.
    pub audience: String,
    /// Seconds that an issuer's clock may be ahead.
    pub leeway_secs: u64,
    /// Seconds that a token may still be good for.
    pub longest_secs: u64,
    /// Which members are the claims.
    pub claims: ClaimMapping,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            audience: "agentmq".into(),
            leeway_secs: 30,
            longest_secs: 24 * 3600,
            claims: ClaimMapping::default(),
        }
    }
}

/// A token that was verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What its bearer is called: `sub`, or the most particular claim.
    pub name: String,
    /// What it says of its bearer.
    pub claims: Claims,
    /// Unix time from which on it is not good any more, in seconds.
    pub expires_at: u64,
    /// `jti`, by which it can be revoked.
    pub id: Option<String>,
    /// `iat` of the first of its chain, in Unix seconds; 0 when it does not say.
    pub made_at: u64,
    /// `chain`: what it was refreshed from, and is good as long as.
    pub chain: Option<String>,
}

/// Why a token is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no compact JWS, or not one that is understood.
    #[error("the token cannot be read: {0}")]
    Unreadable(&'static str),
    /// No key of its name and algorithm.
    #[error(
        "the token is signed with a key or algorithm that this server does not know (kid, alg)"
    )]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired: get a new one")]
    Expired,
    /// `nbf`, or `iat`, lies ahead.
    #[error("the token is not good yet: check the clocks of its issuer and of this server")]
    NotYet,
    /// `exp` lies too far ahead.
    #[error("the token is good for longer than this server takes (access.tokens.longest_secs)")]
    TooLong,
    /// `iss`.
    #[error("the token's issuer is not one that this server believes (iss)")]
    Issuer,
    /// `aud`.
    #[error("the token is for another audience (aud)")]
    Audience,
    /// A claim that is missing.
    #[error("the token has no {0}")]
    Missing(&'static str),
    /// A claim of the wrong type.
    #[error("the token's claim `{0}` is not what it must be")]
    Malformed(&'static str),
    /// One of the claims that rules speak of is wrong.
    #[error("in the token {0}")]
    Claim(#[from] ClaimError),
}

impl From<TokenError> for Refusal {
    /// Who cannot show a good signature learns no more than that (0x86); the others may mend it.
    fn from(error: TokenError) -> Self {
        let reason = match error {
            TokenError::Unreadable(_) | TokenError::UnknownKey | TokenError::Signature => {
                ReasonCode::BadUserNameOrPassword
            }
            _ => ReasonCode::NotAuthorized,
        };
        Self { reason, why: Cow::Owned(error.to_string()) }
    }
}

/// Whether a text may be meant as a token: three parts, of which the first is a JSON object.
pub(crate) fn looks_like_one(text: &[u8]) -> bool {
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() >= 2
}

impl Token {
    /// Verifies a token at the Unix time `now`.
    pub fn verify(
        text: &[u8],
        keys: &KeySet,
        rules: &TokenRules,
        now: u64,
    ) -> Result<Self, TokenError> {
        Self::verify_in(text, keys, rules, now, &TokenChains::default())
    }

    /// Verifies a token that may have been refreshed.
    pub(crate) fn verify_in(
        text: &[u8],
        keys: &KeySet,
        rules: &TokenRules,
        now: u64,
        chains: &TokenChains,
    ) -> Result<Self, TokenError> {
        Self::read(&Self::payload(text, keys)?, rules, now, chains)
    }

    /// The payload of a token whose signature is right.
    pub(crate) fn payload(text: &[u8], keys: &KeySet) -> Result<Map<String, Value>, TokenError> {
        let text = std::str::from_utf8(text).map_err(|_| TokenError::Unreadable("no text"))?;
        if text.len() > LONGEST {
            return Err(TokenError::Unreadable("it is too long"));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Unreadable("it does not have three parts"));
        };
        let signed = &text.as_bytes()[..header.len() + 1 + payload.len()];
        check_signature(&part(header)?, signed, signature, keys)?;
        part(payload)
    }

    /// What the payload of a token says whose signature is right.
    pub(crate) fn read(
        payload: &Map<String, Value>,
        rules: &TokenRules,
        now: u64,
        chains: &TokenChains,
    ) -> Result<Self, TokenError> {
        let own_end = date(payload, "exp")?.ok_or(TokenError::Missing("expiry (exp)"))?;
        let chain = text(payload, "chain")?;
        let refreshed = chain.and_then(|chain| chains.ends(chain));
        let expires_at = refreshed.unwrap_or_default().max(own_end);
        let leeway = rules.leeway_secs;
        if now >= expires_at {
            // Without leeway: who is connected has to go now.
            return Err(TokenError::Expired);
        }
        for claim in ["nbf", "iat"] {
            if date(payload, claim)?.is_some_and(|from| from > now.saturating_add(leeway)) {
                return Err(TokenError::NotYet);
            }
        }
        if expires_at > now.saturating_add(rules.longest_secs).saturating_add(leeway) {
            return Err(TokenError::TooLong);
        }
        if !rules.issuers.is_empty() {
            let issuer = text(payload, "iss")?.ok_or(TokenError::Missing("issuer (iss)"))?;
            if !rules.issuers.iter().any(|known| known == issuer) {
                return Err(TokenError::Issuer);
            }
        }
        check_audience(payload.get("aud"), &rules.audience)?;
        let claims = rules.claims.claims(payload)?;
        let subject = text(payload, "sub")?;
        if subject.is_some_and(|name| name.is_empty() || name.contains(char::is_control)) {
            return Err(TokenError::Malformed("sub"));
        }
        let name = subject.or_else(|| claims.name());
        let name = name.ok_or(TokenError::Missing("name (sub)"))?.to_owned();
        let [id, chain] = [text(payload, "jti")?, chain].map(|it| it.map(str::to_owned));
        let made_at = date(payload, "iat")?.unwrap_or_default();
        let made_at = date(payload, CHAIN_MADE_AT)?.map_or(made_at, |first| first.min(made_at));
        Ok(Self { name, claims, expires_at, id, made_at, chain })
    }

    /// Who brings it.
    pub(crate) fn principal(&self) -> Principal {
        let (id, chain) = (self.id.clone(), self.chain.clone());
        let mark = TokenMark { id, chain, made_at: self.made_at };
        Principal::verified(self.name.as_str(), self.claims.clone()).by(Evidence::Token(mark))
    }
}

fn check_signature(
    header: &Map<String, Value>,
    signed: &[u8],
    signature: &str,
    keys: &KeySet,
) -> Result<(), TokenError> {
    // Extensions that must be understood (RFC 7515 §4.1.11): none is.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(TokenError::Unreadable("its header asks for an extension (crit)"));
    }
    let named = |name| match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(TokenError::Unreadable("its header has something else than texts")),
    };
    let algorithm = named("alg")?.ok_or(TokenError::Unreadable("its header has no alg"))?;
    let algorithm = match algorithm {
        "Ed25519" => "EdDSA",
        other => other,
    };
    let mut is_known = false;
    for key in keys.named(named("kid")?) {
        if format!("{:?}", key.algorithm) != algorithm {
            continue;
        }
        is_known = true;
        let verified =
            jsonwebtoken::crypto::verify(signature, signed, &key.decoding, key.algorithm);
        if verified.unwrap_or(false) {
            return Ok(());
        }
    }
    Err(if is_known { TokenError::Signature } else { TokenError::UnknownKey })
}

/// `aud` is a text or a list of texts. A token that is for somebody is not for everybody (§4.1.3).
fn check_audience(claim: Option<&Value>, expected: &str) -> Result<(), TokenError> {
    let is_for = |value: &Value| value.as_str() == Some(expected);
    match claim {
        None if expected.is_empty() => Ok(()),
        None => Err(TokenError::Missing("audience (aud)")),
        Some(Value::String(_)) if claim.is_some_and(is_for) => Ok(()),
        Some(Value::Array(all)) if all.iter().any(is_for) => Ok(()),
        Some(_) => Err(TokenError::Audience),
    }
}

fn part(text: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(text);
    let bytes = bytes.map_err(|_| TokenError::Unreadable("a part is no base64url"))?;
    strict_json::object(&bytes).map_err(|_| TokenError::Unreadable("a part is no JSON object"))
}

fn text<'a>(
    payload: &'a Map<String, Value>,
    claim: &'static str,
) -> Result<Option<&'a str>, TokenError> {
    match payload.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= LONGEST_NAME => Ok(Some(text)),
        Some(_) => Err(TokenError::Malformed(claim)),
    }
}

/// A NumericDate: seconds, perhaps with a fraction, which is cut off.
fn date(payload: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, TokenError> {
    let Some(value) = payload.get(claim) else { return Ok(None) };
    let whole = value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|_| value.is_number())?;
        (0.0..LATEST as f64).contains(&seconds).then_some(seconds as u64)
    });
    whole.filter(|seconds| *seconds < LATEST).map(Some).ok_or(TokenError::Malformed(claim))
}

/// When the first token of a chain was made, in those that come after it.
pub(crate) const CHAIN_MADE_AT: &str = "chain_iat";
/// Bytes of a token at most.
const LONGEST: usize = 16 * 1024;
/// Bytes of a name at most.
const LONGEST_NAME: usize = 512;
/// No date lies behind this one, in the year 36812: arithmetic with it stays exact.
const LATEST: u64 = 1 << 40;
