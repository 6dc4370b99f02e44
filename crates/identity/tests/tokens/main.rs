//! Which tokens are let in: good ones of every algorithm, and none of those that others have let in
//! by mistake.

mod forging;

use std::sync::Arc;

use agentmq_codec::ReasonCode;
use agentmq_identity::{
    Acceptance, Authenticator, Credentials, KeySet, Outcome, ProofChain, RemoteKeys, TokenChains,
    TokenRules, Tokens, WallClock,
};
use serde_json::{Value, json};

use crate::forging::{Forger, NOW, encoded, part};

#[derive(Debug)]
struct Fixed;

impl WallClock for Fixed {
    fn unix_secs(&self) -> u64 {
        NOW
    }
}

/// Name and remaining seconds of who is let in, or reason code and string of who is not.
type Verdict = Result<(String, u64), (ReasonCode, String)>;

fn judge_under(rules: TokenRules, keys: &str, token: &str) -> Verdict {
    let keys = KeySet::read(keys).expect("keys");
    let chain = ProofChain::new(vec![Box::new(Tokens::new(
        keys,
        Vec::new(),
        rules,
        Arc::new(Fixed),
        TokenChains::default(),
    ))]);
    let password = Credentials { password: Some(token.as_bytes()), ..Credentials::default() };
    let method = Credentials { method: Some(("JWT", token.as_bytes())), ..Credentials::default() };
    let [first, second] = [password, method].map(|credentials| verdict(&chain, &credentials));
    if token.starts_with("eyJ") {
        assert_eq!(first, second, "both ways come to the same");
    }
    second
}

fn verdict(chain: &ProofChain, credentials: &Credentials<'_>) -> Verdict {
    match chain.authenticate(credentials) {
        Outcome::Accepted(Acceptance { principal, lasts_secs, .. }) => {
            let name = principal.name().expect("has a name").to_owned();
            Ok((name, lasts_secs.expect("does not last for ever")))
        }
        Outcome::Refused(refusal) => Err((refusal.reason, refusal.why.into_owned())),
        Outcome::Continue(_) | Outcome::Later(_) => panic!("one step"),
    }
}

fn judge(keys: &str, token: &str) -> Verdict {
    judge_under(TokenRules::default(), keys, token)
}

fn good() -> Value {
    json!({ "sub": "scout", "aud": "agentmq", "exp": NOW + 60 })
}

/// The good payload with some members changed, or taken away by null.
fn with(changes: Value) -> Value {
    let mut payload = good();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => payload.as_object_mut().expect("an object").remove(name),
            value => {
                payload.as_object_mut().expect("an object").insert(name.clone(), value.clone())
            }
        };
    }
    payload
}

#[test]
fn every_algorithm_is_taken_for_the_key_that_it_is_pinned_to() {
    for forger in Forger::all() {
        let token = forger.token(&good());
        let name = &forger.algorithm;
        assert_eq!(judge(&forger.jwks(), &token), Ok(("scout".into(), 60)), "{name}");
        if let Some(pem) = forger.pem() {
            let algorithm = name.as_str();
            let usual = ["RS256", "ES256", "ES384", "EdDSA"].contains(&algorithm);
            assert_eq!(judge(&pem, &token).is_ok(), usual, "{name} by PEM");
        }
    }
}

#[test]
fn a_key_verifies_its_own_algorithm_only() {
    let all = Forger::all();
    for (at, signer) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate().filter(|(it, _)| *it != at) {
            let token = signer.token(&good());
            let (reason, _) = judge(&other.jwks(), &token).expect_err("another key");
            assert_eq!(reason, ReasonCode::BadUserNameOrPassword, "{at} by {other_at}");
        }
    }
}

/// RFC 8725 §2, and what brokers have let in.
#[test]
fn forged_tokens_are_refused() {
    let rsa = Forger::of("RS256");
    let (rsa_keys, rsa_pem) = (rsa.jwks(), rsa.pem().expect("RSA has PEM"));
    let ec = Forger::of("ES256");
    let mine = Forger::of("EdDSA");
    let payload = part(&good());
    let unsigned = |header: &Value| format!("{}.{payload}.", part(header));
    let mut forged: Vec<(&str, &str, String)> = Vec::new();
    for none in ["none", "None", "nOnE", "NONE", ""] {
        forged.push(("no algorithm", &rsa_keys, unsigned(&json!({ "alg": none }))));
    }
    // The public key as the secret of an HMAC.
    let modulus = rsa.public_jwk()["n"].as_str().expect("RSA").to_owned();
    for secret in [rsa_pem.as_bytes(), rsa_pem.trim().as_bytes(), modulus.as_bytes()] {
        let token = Forger::hmac_with(secret, &json!({ "alg": "HS256", "kid": "k" }), &good());
        forged.push(("RSA as HMAC", &rsa_keys, token.clone()));
        forged.push(("RSA as HMAC, PEM", &rsa_pem, token));
    }
    let genuine = rsa.token(&good());
    let (signed, signature) = genuine.rsplit_once('.').expect("three parts");
    for header in [
        json!({ "alg": ["RS256"], "kid": "k" }),
        json!({ "kid": "k" }),
        json!({ "alg": "RS256", "kid": 7 }),
        json!({ "alg": "RS256", "kid": "../../etc/passwd" }),
        json!({ "alg": "RS256", "kid": "k' OR '1'='1" }),
        json!({ "alg": "RS256", "kid": "k", "crit": ["exp"] }),
        json!({ "alg": "RS256", "kid": "k", "crit": ["b64"], "b64": false }),
        json!({ "alg": "RS256", "kid": "k", "jwk": mine.public_jwk() }),
        json!({ "alg": "RS256", "kid": "k", "jku": "http://127.0.0.1:1/keys" }),
        json!({ "alg": "RS256", "kid": "k", "x5u": "http://127.0.0.1:1/chain" }),
    ] {
        forged.push(("its header", &rsa_keys, format!("{}.{payload}.{signature}", part(&header))));
    }
    for header in [
        json!({ "alg": "EdDSA", "jwk": mine.public_jwk() }),
        json!({ "alg": "EdDSA", "kid": "k", "jwk": mine.public_jwk() }),
        json!({ "alg": "EdDSA", "kid": "k", "jku": "http://127.0.0.1:1/keys" }),
    ] {
        forged.push(("a key of its own", &rsa_keys, mine.signed(&header, &good())));
    }
    forged.push(("no signature", &rsa_keys, format!("{signed}.")));
    forged.push(("half a signature", &rsa_keys, genuine[..genuine.len() - 20].to_owned()));
    forged.push(("another payload", &rsa_keys, {
        let header = signed.split('.').next().expect("a header");
        format!("{header}.{}.{signature}", part(&with(json!({ "sub": "root" }))))
    }));
    forged.push(("four parts", &rsa_keys, format!("{genuine}.{signature}")));
    forged.push(("five parts, as JWE has", &rsa_keys, format!("{genuine}.a.a")));
    forged.push(("padding", &rsa_keys, format!("{genuine}=")));
    forged.push(("long", &rsa_keys, rsa.token(&with(json!({ "x": "y".repeat(20_000) })))));
    let ec_keys = ec.jwks();
    let zeros = encoded(&[0; 64]);
    let header = json!({ "alg": "ES256", "kid": "k" });
    forged.push(("ECDSA r = s = 0", &ec_keys, format!("{}.{payload}.{zeros}", part(&header))));
    for (what, keys, token) in &forged {
        let (reason, why) = judge(keys, token).expect_err(what);
        assert_eq!(reason, ReasonCode::BadUserNameOrPassword, "{what}: {why}");
    }
    assert!(judge(&rsa_keys, &genuine).is_ok(), "the genuine one among them");
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let forger = Forger::of("EdDSA");
    let head = r#"{"alg":"EdDSA","kid":"k"}"#;
    let twice = |payload: &str, header: &str| {
        judge(&forger.jwks(), &forger.signed_texts(header, payload)).expect_err("twice").1
    };
    let exp = NOW + 60;
    let payload = format!(r#"{{"sub":"a","sub":"root","aud":"agentmq","exp":{exp}}}"#);
    assert!(twice(&payload, head).contains("no JSON object"));
    let header = r#"{"alg":"EdDSA","kid":"k","alg":"none"}"#;
    assert!(twice(&good().to_string(), header).contains("no JSON object"));
}

#[test]
fn claims_that_are_not_good_are_refused_with_the_reason() {
    let forger = Forger::of("EdDSA");
    for (changes, expected) in [
        (json!({ "exp": null }), "the token has no expiry (exp)"),
        (json!({ "exp": NOW }), "the token has expired: get a new one"),
        (json!({ "exp": 0 }), "the token has expired: get a new one"),
        (json!({ "exp": NOW + 24 * 3600 + 31 }), "the token is good for longer than this server"),
        (json!({ "exp": "1e308" }), "the token's claim `exp` is not what it must be"),
        (json!({ "exp": 1e308 }), "the token's claim `exp` is not what it must be"),
        (json!({ "exp": -1 }), "the token's claim `exp` is not what it must be"),
        (json!({ "exp": u64::MAX }), "the token's claim `exp` is not what it must be"),
        (json!({ "exp": [NOW + 60] }), "the token's claim `exp` is not what it must be"),
        (json!({ "nbf": NOW + 31 }), "the token is not good yet"),
        (json!({ "nbf": "soon" }), "the token's claim `nbf` is not what it must be"),
        (json!({ "iat": NOW + 31 }), "the token is not good yet"),
        (json!({ "aud": "other" }), "the token is for another audience (aud)"),
        (json!({ "aud": ["other", 7] }), "the token is for another audience (aud)"),
        (json!({ "aud": null }), "the token has no audience (aud)"),
        (json!({ "aud": { "agentmq": true } }), "the token is for another audience (aud)"),
        (json!({ "sub": "" }), "the token's claim `sub` is not what it must be"),
        (json!({ "sub": "a\nb" }), "the token's claim `sub` is not what it must be"),
        (json!({ "sub": 7 }), "the token's claim `sub` is not what it must be"),
        (json!({ "sub": null }), "the token has no name (sub)"),
        (json!({ "agent_id": "" }), "in the token the claim `agent_id` is empty"),
        (json!({ "acl": [{ "permission": "allow" }] }), "in the token the claim `acl` has a topic"),
    ] {
        let (reason, why) =
            judge(&forger.jwks(), &forger.token(&with(changes.clone()))).expect_err("not good");
        assert!(why.starts_with(expected), "{changes}: {why}");
        assert_eq!(reason, ReasonCode::NotAuthorized, "{changes}");
    }
    for (changes, name, lasts) in [
        (json!({ "exp": NOW + 1 }), "scout", 1),
        (json!({ "exp": NOW as f64 + 60.9 }), "scout", 60),
        (json!({ "exp": NOW + 24 * 3600 + 30 }), "scout", 24 * 3600 + 30),
        (json!({ "nbf": NOW + 30, "iat": NOW + 30 }), "scout", 60),
        (json!({ "aud": ["other", "agentmq"] }), "scout", 60),
        (json!({ "sub": null, "agent_id": "a" }), "a", 60),
    ] {
        let verdict = judge(&forger.jwks(), &forger.token(&with(changes.clone())));
        assert_eq!(verdict, Ok((name.into(), lasts)), "{changes}");
    }
}

#[test]
fn issuers_and_audience_are_as_configured() {
    let forger = Forger::of("EdDSA");
    let verdict = |rules: &TokenRules, changes| {
        judge_under(rules.clone(), &forger.jwks(), &forger.token(&with(changes)))
    };
    let issuers = vec!["https://id.example".to_owned()];
    let rules = TokenRules { issuers, ..TokenRules::default() };
    assert!(verdict(&rules, json!({ "iss": "https://id.example" })).is_ok());
    for wrong in [json!({}), json!({ "iss": "https://id.example/" }), json!({ "iss": 1 })] {
        assert!(verdict(&rules, wrong).is_err());
    }
    let nobody = TokenRules { audience: String::new(), ..TokenRules::default() };
    assert!(verdict(&nobody, json!({ "aud": null })).is_ok());
    assert!(verdict(&nobody, json!({})).is_err(), "for somebody is not for everybody");
}

#[test]
fn the_key_is_chosen_by_name_and_one_without_a_name_by_its_algorithm() {
    let (old, new) = (Forger::named("EdDSA", "old"), Forger::named("EdDSA", "new"));
    let both = forging::jwks(&[&old, &new]);
    for forger in [&old, &new] {
        assert!(judge(&both, &forger.token(&good())).is_ok());
        let nameless = forger.signed(&json!({ "alg": "EdDSA" }), &good());
        assert!(judge(&both, &nameless).is_err(), "one of two");
        assert!(judge(&forger.jwks(), &nameless).is_ok(), "the only one");
    }
    assert!(judge(&new.jwks(), &old.token(&good())).is_err(), "rotated out");
    let spelled = new.signed(&json!({ "alg": "Ed25519", "kid": "new" }), &good());
    assert!(judge(&both, &spelled).is_ok(), "RFC 9864");
}

#[test]
fn an_issuer_that_hangs_keeps_no_thread_from_those_who_bring_passwords() {
    let forger = Forger::of("EdDSA");
    let remote = RemoteKeys::new("https://id.example/keys".to_owned());
    let clock = Arc::new(Fixed);
    let (rules, chains) = (TokenRules::default(), TokenChains::default());
    let tokens = Tokens::new(KeySet::default(), vec![remote.clone()], rules, clock, chains);
    let chain = ProofChain::new(vec![Box::new(tokens)]);
    let token = forger.token(&good());
    let login = || {
        chain.authenticate(&Credentials { password: Some(token.as_bytes()), ..Default::default() })
    };
    let is_put_off = |outcome: &Outcome| match outcome {
        Outcome::Refused(refusal) => refusal.reason == ReasonCode::ServerUnavailable,
        _ => false,
    };
    let works = [login(), login()].map(|outcome| match outcome {
        Outcome::Later(work) => work,
        other => panic!("{other:?}"),
    });
    for work in works {
        assert!(is_put_off(&work.run()));
    }
    assert!(is_put_off(&login()), "at once");
    remote.fetched(Some(KeySet::read(&forger.jwks()).expect("keys")));
    assert!(matches!(login(), Outcome::Accepted(_)));
}

#[test]
fn key_sets_are_read_as_providers_write_them() {
    let forger = Forger::of("RS256");
    let set = |keys: Value| json!({ "keys": keys }).to_string();
    let mut bare = forger.public_jwk();
    for member in ["alg", "use"] {
        bare.as_object_mut().expect("an object").remove(member);
    }
    let mut encrypts = forger.public_jwk();
    encrypts["use"] = json!("enc");
    let mut unknown = forger.public_jwk();
    unknown["alg"] = json!("RSA-OAEP-256");
    let others = json!([{ "kty": "AKP", "alg": "ML-DSA-44" }, encrypts, unknown, bare]);
    let token = forger.token(&good());
    assert!(judge(&set(others), &token).is_ok());
    let short = encoded(&[7; 31]);
    for (text, expected) in [
        ("", "it is no JSON Web Key Set: EOF"),
        ("[]", "it is no JSON Web Key Set: it is no object"),
        ("{}", "it is no JSON Web Key Set: it has no list `keys`"),
        (r#"{"keys":[]}"#, "it has no key that could verify a token"),
        (r#"{"keys":[{"kty":"oct"}]}"#, "key 1: it cannot be read"),
        (r#"{"keys":[{}]}"#, "key 1: it has no type (kty)"),
        (
            &set(json!([{ "kty": "oct", "k": short }])),
            "key 1: a shared secret needs its algorithm (alg)",
        ),
        (
            &set(json!([{ "kty": "oct", "alg": "HS256", "k": short }])),
            "key 1: the secret is shorter than its algorithm asks for",
        ),
        (
            &set(json!([{ "kty": "oct", "alg": "RS256", "k": short }])),
            "key 1: its algorithm (alg) is none for keys of its type (kty)",
        ),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "it is no PEM file"),
        (&format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(256)), "it has more than 256 keys"),
    ] {
        let error = KeySet::read(text).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{text:.40}: {error}");
    }
}
