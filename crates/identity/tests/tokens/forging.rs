//! Makes tokens, good and bad, with keys that are made for it.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// Unix time of all tests.
pub(crate) const NOW: u64 = 1_800_000_000;

/// Signs with one algorithm.
pub(crate) struct Forger {
    pub(crate) algorithm: String,
    kid: String,
    key: EncodingKey,
    public_pem: Option<String>,
}

impl Forger {
    /// One of each algorithm. RSA keys take long to make, so they share one.
    pub(crate) fn all() -> Vec<Self> {
        ["HS256", "HS384", "HS512", "RS256", "RS512", "PS256", "PS512", "ES256", "ES384", "EdDSA"]
            .map(Self::of)
            .into()
    }

    pub(crate) fn of(algorithm: &str) -> Self {
        Self::named(algorithm, "k")
    }

    pub(crate) fn named(algorithm: &str, kid: &str) -> Self {
        static RSA: OnceLock<(String, String)> = OnceLock::new();
        let pair = |kind| KeyPair::generate_for(kind).expect("a key pair");
        let pems = |pair: KeyPair| (pair.serialize_pem(), pair.public_key_pem());
        let (key, public_pem) = match &algorithm[..2] {
            "HS" => {
                let secret: Vec<u8> = algorithm.bytes().cycle().take(64).collect();
                (EncodingKey::from_secret(&secret), None)
            }
            "RS" | "PS" => {
                let (private, public) = RSA.get_or_init(|| pems(pair(&rcgen::PKCS_RSA_SHA256)));
                let key = EncodingKey::from_rsa_pem(private.as_bytes()).expect("an RSA key");
                (key, Some(public.clone()))
            }
            "ES" => {
                let is_small = algorithm == "ES256";
                let (private, public) = pems(pair(if is_small {
                    &rcgen::PKCS_ECDSA_P256_SHA256
                } else {
                    &rcgen::PKCS_ECDSA_P384_SHA384
                }));
                let key = EncodingKey::from_ec_pem(private.as_bytes()).expect("an EC key");
                (key, Some(public))
            }
            _ => {
                let pair = pair(&rcgen::PKCS_ED25519);
                let der = pair.serialize_der();
                // The library takes the form without the public key.
                let seed = der.get(16..48).expect("a seed");
                let short = [PKCS8_HEAD.as_slice(), seed].concat();
                (EncodingKey::from_ed_der(&short), Some(pair.public_key_pem()))
            }
        };
        Self { algorithm: algorithm.into(), kid: kid.into(), key, public_pem }
    }

    fn parsed(&self) -> Algorithm {
        self.algorithm.parse().expect("a known algorithm")
    }

    /// A token as an issuer makes it.
    pub(crate) fn token(&self, payload: &Value) -> String {
        self.signed(&json!({ "alg": self.algorithm, "kid": self.kid, "typ": "JWT" }), payload)
    }

    /// A token with any header, signed with this key.
    pub(crate) fn signed(&self, header: &Value, payload: &Value) -> String {
        self.signed_texts(&header.to_string(), &payload.to_string())
    }

    pub(crate) fn signed_texts(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encoded(header.as_bytes()), encoded(payload.as_bytes()));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.parsed());
        format!("{signed}.{}", signature.expect("can sign"))
    }

    pub(crate) fn hmac_with(secret: &[u8], header: &Value, payload: &Value) -> String {
        let key = EncodingKey::from_secret(secret);
        let (algorithm, kid) = ("HS256".to_owned(), String::new());
        Self { algorithm, kid, key, public_pem: None }.signed(header, payload)
    }

    /// Its key as issuers publish it, or as a shared secret is written down.
    pub(crate) fn public_jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.parsed()).expect("a JWK");
        let mut jwk = serde_json::to_value(jwk).expect("is JSON");
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub(crate) fn jwks(&self) -> String {
        jwks(&[self])
    }

    /// Its public key in PEM; `None` for a secret.
    pub(crate) fn pem(&self) -> Option<String> {
        self.public_pem.clone()
    }
}

/// The key set of several.
pub(crate) fn jwks(forgers: &[&Forger]) -> String {
    let keys: Vec<Value> = forgers.iter().map(|forger| forger.public_jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// A part of a token.
pub(crate) fn part(value: &Value) -> String {
    encoded(value.to_string().as_bytes())
}

pub(crate) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
