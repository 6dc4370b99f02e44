//! The keys that tokens are verified with. Each is pinned to one algorithm (RFC 8725 §3.1): what a
//! token says of its own algorithm chooses nothing.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use crate::strict_json;

/// Keys of issuers.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) decoding: DecodingKey,
}

/// What is wrong with a text of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not JSON.
    #[error("it is no JSON Web Key Set: {0}")]
    Json(String),
    /// There is no list of keys in it.
    #[error("it is no JSON Web Key Set: it has no list `keys`")]
    NoList,
    /// There are too many.
    #[error("it has more than {MOST} keys")]
    TooMany,
    /// A key cannot be used, and is none of another kind that could be left out.
    #[error("key {number}: {what}")]
    Key {
        /// Its place, from 1 on.
        number: usize,
        /// Cause and fix.
        what: &'static str,
    },
    /// There is none that could verify anything.
    #[error("it has no key that could verify a token")]
    Empty,
    /// It is no PEM file of a public key.
    #[error(
        "it is no PEM file of a public key: RSA, EC (P-256 or P-384) and Ed25519 keys are read, \
         and JSON Web Key Sets"
    )]
    Pem,
}

impl KeySet {
    /// Reads a JSON Web Key Set (RFC 7517), or a public key in PEM.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        match text.contains("-----BEGIN ") {
            true => pem(text.as_bytes()).map(|key| Self { keys: vec![key] }).ok_or(KeyError::Pem),
            false => Self::read_jwks(text),
        }
    }

    fn read_jwks(text: &str) -> Result<Self, KeyError> {
        let set = strict_json::object(text.as_bytes());
        let set = set.map_err(|error| KeyError::Json(error.to_string()))?;
        let Some(Value::Array(items)) = set.get("keys") else { return Err(KeyError::NoList) };
        if items.len() > MOST {
            return Err(KeyError::TooMany);
        }
        let mut keys = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let key = jwk(item).map_err(|what| KeyError::Key { number: index + 1, what })?;
            keys.extend(key);
        }
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self { keys }) }
    }

    /// Adds those of another set.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that a token may be signed with: those of its `kid`, or all that have none if it
    /// names none. A single key is meant by who names none.
    pub(crate) fn named(&self, id: Option<&str>) -> impl Iterator<Item = &Key> {
        let is_only_one = self.keys.len() == 1;
        self.keys.iter().filter(move |key| match id {
            Some(id) => key.id.as_deref().is_none_or(|own| own == id),
            None => is_only_one || key.id.is_none(),
        })
    }
}

/// The key in a JWK; `None` for one of another kind (RFC 7517 §5), as sets of some providers have.
fn jwk(item: &Value) -> Result<Option<Key>, &'static str> {
    let kind = item.get("kty").and_then(Value::as_str).ok_or("it has no type (kty)")?;
    if !["RSA", "EC", "OKP", "oct"].contains(&kind) {
        return Ok(None);
    }
    let jwk: Jwk = serde_json::from_value(item.clone()).map_err(|_| "it cannot be read")?;
    if jwk.common.public_key_use.as_ref().is_some_and(|it| *it != PublicKeyUse::Signature) {
        return Ok(None);
    }
    let usual = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(Algorithm::ES256),
            EllipticCurve::P384 => Some(Algorithm::ES384),
            _ => return Ok(None),
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => Some(Algorithm::EdDSA),
            _ => return Ok(None),
        },
        AlgorithmParameters::OctetKey(_) => None,
        _ => return Err("it cannot be read"),
    };
    let algorithm = match jwk.common.key_algorithm {
        None => usual.ok_or("a shared secret needs its algorithm (alg)")?,
        // Newer providers spell it "Ed25519" (RFC 9864).
        Some(KeyAlgorithm::UNKNOWN_ALGORITHM) if usual == Some(Algorithm::EdDSA) => {
            Algorithm::EdDSA
        }
        Some(named) => match Algorithm::try_from(named) {
            Ok(algorithm) => algorithm,
            Err(_) => return Ok(None), // a key that encrypts
        },
    };
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "its value is wrong")?;
    if usual.map_or(AlgorithmKind::Secret, kind_of) != kind_of(algorithm) {
        return Err("its algorithm (alg) is none for keys of its type (kty)");
    }
    check_strength(&decoding, algorithm)?;
    Ok(Some(Key { id: jwk.common.key_id, algorithm, decoding }))
}

/// What an algorithm needs keys of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AlgorithmKind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

fn kind_of(algorithm: Algorithm) -> AlgorithmKind {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => AlgorithmKind::Secret,
        Algorithm::ES256 => AlgorithmKind::P256,
        Algorithm::ES384 => AlgorithmKind::P384,
        Algorithm::EdDSA => AlgorithmKind::Ed25519,
        _ => AlgorithmKind::Rsa,
    }
}

/// A secret is at least as long as what its algorithm puts out (RFC 7518 §3.2).
fn check_strength(key: &DecodingKey, algorithm: Algorithm) -> Result<(), &'static str> {
    let shortest = match algorithm {
        Algorithm::HS256 => 32,
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => return Ok(()),
    };
    let is_long = key.try_get_as_bytes().is_ok_and(|secret| secret.len() >= shortest);
    if is_long { Ok(()) } else { Err("the secret is shorter than its algorithm asks for") }
}

/// The key in a PEM file. RSA keys are for RS256: another algorithm is named in a key set.
fn pem(text: &[u8]) -> Option<Key> {
    let ec = |text: &[u8]| {
        let key = DecodingKey::from_ec_pem(text)?;
        let is_p384 = key.try_get_as_bytes().is_ok_and(|point| point.len() > P256_POINT);
        Ok::<_, jsonwebtoken::errors::Error>((key, is_p384))
    };
    let (decoding, algorithm) = if let Ok(key) = DecodingKey::from_ed_pem(text) {
        (key, Algorithm::EdDSA)
    } else if let Ok((key, is_p384)) = ec(text) {
        (key, if is_p384 { Algorithm::ES384 } else { Algorithm::ES256 })
    } else {
        (DecodingKey::from_rsa_pem(text).ok()?, Algorithm::RS256)
    };
    Some(Key { id: None, algorithm, decoding })
}

/// Keys of a set at most.
const MOST: usize = 256;
/// Bytes of an uncompressed point on P-256.
const P256_POINT: usize = 65;
