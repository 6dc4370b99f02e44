//! Keys that sign tokens, kept as a JSON Web Key Set whose first key is the one in use. Those
//! behind it have signed tokens that are still good.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

use crate::strict_json;

/// Signs with Ed25519.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    encoding: EncodingKey,
    jwk: Map<String, Value>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A text that has no key to sign with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no Ed25519 key to sign with in it (a JWK with the private member `d`)")]
pub struct NoSigningKey;

impl SigningKey {
    /// The key of 32 random bytes, made at the Unix time `now`.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32], now: u64) -> Option<Self> {
        let encoding = encoding_key(seed);
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::EdDSA).ok()?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
        let Ok(Value::Object(mut jwk)) = serde_json::to_value(jwk) else { return None };
        jwk.insert("kid".into(), json!(id));
        jwk.insert("use".into(), json!("sig"));
        jwk.insert("iat".into(), json!(now));
        jwk.insert("d".into(), json!(URL_SAFE_NO_PAD.encode(seed)));
        Some(Self { id, encoding, jwk })
    }

    /// The keys of a key set that can sign, the one in use first.
    pub fn read_all(text: &str) -> Result<Vec<Self>, NoSigningKey> {
        let set = strict_json::object(text.as_bytes()).map_err(|_| NoSigningKey)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(NoSigningKey)?;
        let keys: Vec<_> = keys.iter().filter_map(Self::of_jwk).collect();
        if keys.is_empty() { Err(NoSigningKey) } else { Ok(keys) }
    }

    /// The text of a key set with this key before the others. Keys to sign with stay if `stays`
    /// says so, first to last; what else the set has stays as it is.
    pub fn put_before(
        &self,
        text: &str,
        mut stays: impl FnMut(&Self) -> bool,
    ) -> Result<String, NoSigningKey> {
        let mut set = strict_json::object(text.as_bytes()).map_err(|_| NoSigningKey)?;
        let keys = set.get_mut("keys").and_then(Value::as_array_mut).ok_or(NoSigningKey)?;
        keys.retain(|jwk| Self::of_jwk(jwk).is_none_or(|key| stays(&key)));
        keys.insert(0, Value::Object(self.jwk.clone()));
        Ok(format!("{:#}\n", Value::Object(set)))
    }

    fn of_jwk(jwk: &Value) -> Option<Self> {
        if jwk.get("crv")?.as_str()? != "Ed25519" {
            return None;
        }
        let seed = URL_SAFE_NO_PAD.decode(jwk.get("d")?.as_str()?).ok()?;
        let made = jwk.get("iat").and_then(Value::as_u64).unwrap_or(0);
        let mut key = Self::from_seed(&seed.try_into().ok()?, made)?;
        if let Some(id) = jwk.get("kid").and_then(Value::as_str) {
            key.id = id.to_owned();
            key.jwk.insert("kid".into(), json!(id));
        }
        Some(key)
    }

    /// The text of a key set of these keys, private members included.
    #[must_use]
    pub fn write_all(keys: &[Self]) -> String {
        let keys: Vec<_> = keys.iter().map(|key| &key.jwk).collect();
        format!("{:#}\n", json!({ "keys": keys }))
    }

    /// The text of a key set with which others can verify, and not sign.
    #[must_use]
    pub fn write_public(keys: &[Self]) -> String {
        let mut public: Vec<_> = keys.iter().map(|key| key.jwk.clone()).collect();
        public.iter_mut().for_each(|jwk| {
            jwk.remove("d");
        });
        format!("{:#}\n", json!({ "keys": public }))
    }

    /// `kid`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Unix time at which it was made, in seconds; 0: not known.
    #[must_use]
    pub fn made_at(&self) -> u64 {
        self.jwk.get("iat").and_then(Value::as_u64).unwrap_or(0)
    }

    /// A token with this payload. `None`: the key is broken.
    #[must_use]
    pub fn sign(&self, payload: &Map<String, Value>) -> Option<String> {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": "EdDSA", "kid": self.id, "typ": "JWT" });
        let signed = format!("{}.{}", part(header), part(Value::Object(payload.clone())));
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.encoding, Algorithm::EdDSA).ok()?;
        Some(format!("{signed}.{signature}"))
    }
}

/// The key as PKCS #8 (RFC 8410 §7), which is what the library takes.
fn encoding_key(seed: &[u8; 32]) -> EncodingKey {
    let mut der = PKCS8_HEAD.to_vec();
    der.extend_from_slice(seed);
    EncodingKey::from_ed_der(&der)
}

/// Version 0, the algorithm Ed25519, and an octet string of 32 bytes in one of 34.
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
