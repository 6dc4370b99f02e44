//! Fuzz target: tokens, key sets, claims and SCRAM messages of any bytes. Nothing panics, and no
//! token is let in but the one that was signed. Runs as a plain test, or under a fuzzer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use agentmq_identity::{
    Authenticator, Claims, Credentials, Entropy, HashedPassword, KeySet, Lockout, Outcome,
    Passwords, Principal, ProofChain, ScramVerifier, SigningKey, Token, TokenRules, User, Users,
    WallClock,
};
use serde_json::{Map, Value, json};

const NOW: u64 = 1_800_000_000;

fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[7; 32], 0).expect("any seed is one")
}

fn payload() -> Map<String, Value> {
    let claims = json!({
        "sub": "scout", "aud": "agentmq", "exp": NOW + 60, "agent_id": "scout",
        "acl": { "publish": ["a/#"] },
    });
    claims.as_object().expect("an object").clone()
}

/// One byte replaced, taken out or put in: the place, which, and the byte.
type Change = (u16, u8, u8);

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (place, how, byte) in changes.iter().take(4) {
        let at = usize::from(*place) % bytes.len().max(1);
        match how % 3 {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, *byte),
        }
    }
    bytes
}

#[test]
fn only_what_was_signed_is_let_in() {
    let key = signing_key();
    let keys = KeySet::read(&SigningKey::write_public(std::slice::from_ref(&key))).expect("one");
    let (token, rules) = (key.sign(&payload()).expect("signs"), TokenRules::default());
    assert!(Token::verify(token.as_bytes(), &keys, &rules, NOW).is_ok());
    let any = bolero::check!().with_type::<(Vec<Change>, Vec<u8>)>();
    any.with_iterations(20_000).for_each(|(changes, bytes)| {
        let text = changed(&token, changes);
        let verified = Token::verify(&text, &keys, &rules, NOW);
        assert_eq!(verified.is_ok(), text == token.as_bytes(), "{verified:?}");
        assert!(Token::verify(bytes, &keys, &rules, NOW).is_err());
    });
}

/// Payloads of any members, signed: what is let in has a name and an end.
#[test]
fn any_payload_is_judged() {
    let key = signing_key();
    let keys = KeySet::read(&SigningKey::write_public(std::slice::from_ref(&key))).expect("one");
    let any = bolero::check!().with_type::<Vec<(u8, u8, i64, u8)>>();
    any.with_iterations(10_000).for_each(|members| {
        let mut payload = payload();
        for (name, kind, number, letter) in members.iter().take(6) {
            payload.insert(
                NAMES[usize::from(*name) % NAMES.len()].into(),
                value(*kind, *number, *letter),
            );
        }
        let token = key.sign(&payload).expect("signs");
        let Ok(token) = Token::verify(token.as_bytes(), &keys, &TokenRules::default(), NOW) else {
            return;
        };
        assert!(!token.name.is_empty() && token.expires_at > NOW, "{token:?}");
        assert!(token.expires_at <= NOW + 24 * 3600 + 30, "{token:?}");
        let again = Claims::read(&token.claims.to_object());
        assert_eq!(again.as_ref(), Ok(&token.claims));
        let principal = Principal::verified(token.name, token.claims);
        let record = principal.record().expect("has a name");
        assert_eq!(Principal::recorded(&record).claims(), principal.claims());
    });
}

const NAMES: [&str; 12] = [
    "exp", "nbf", "iat", "aud", "iss", "sub", "jti", "chain", "agent_id", "tool_id", "roles", "acl",
];

fn value(kind: u8, number: i64, letter: u8) -> Value {
    let text = char::from(letter).to_string();
    match kind % 8 {
        0 => json!(NOW as i64 + number % 100_000),
        1 => json!(number),
        2 => json!(number as f64 * 1e30),
        3 => json!(text),
        4 => json!([text, "a"]),
        5 => json!({ "all": [text] }),
        6 => json!([{ "permission": "allow", "topic": text }]),
        _ => Value::Null,
    }
}

#[test]
fn any_text_is_a_key_set_or_not() {
    let good = SigningKey::write_public(&[signing_key()]);
    let pem = "-----BEGIN PUBLIC KEY-----\n\
               MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
               -----END PUBLIC KEY-----\n";
    let token = SigningKey::from_seed(&[8; 32], 0).expect("any seed is one").sign(&payload());
    let token = token.expect("signs");
    let any = bolero::check!().with_type::<(Vec<Change>, Vec<u8>)>();
    any.with_iterations(10_000).for_each(|(changes, bytes)| {
        for text in [changed(&good, changes), changed(pem, changes), bytes.clone()] {
            let Ok(keys) = KeySet::read(&String::from_utf8_lossy(&text)) else { continue };
            assert!(!keys.is_empty());
            let verified = Token::verify(token.as_bytes(), &keys, &TokenRules::default(), NOW);
            assert!(verified.is_err(), "another's token");
        }
    });
}

#[derive(Debug)]
struct Still;

impl WallClock for Still {
    fn unix_secs(&self) -> u64 {
        NOW
    }
}

impl Entropy for Still {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(3);
    }
}

#[test]
fn no_message_but_the_right_one_ends_a_scram_exchange_well() {
    let scram = Some(ScramVerifier::new(b"pencil", &[1; 16]));
    let user = User { scram, password: HashedPassword::new(b"p", &[2; 16]), ..User::default() };
    let users = Users::from([("me".to_owned(), user)]);
    let passwords = Passwords::new(users, Arc::new(Still), Arc::new(Still), Lockout::default());
    let chain = AssertUnwindSafe(ProofChain::new(vec![Box::new(passwords)]));
    let any = bolero::check!().with_type::<(Vec<Change>, Vec<Change>, Vec<u8>)>();
    any.with_iterations(3_000).for_each(|(first, last, bytes)| {
        let first = changed("n,,n=me,r=nonce", first);
        let method = Some(("SCRAM-SHA-256", first.as_slice()));
        let credentials = Credentials { method, ..Credentials::default() };
        let Outcome::Continue(challenge) = chain.authenticate(&credentials) else { return };
        let answer = match bytes.first() {
            Some(_) => bytes.clone(),
            None => changed("c=biws,r=nonceAwMDAwMDAwMDAwMDAwMDAwMDAwMD,p=AAAA", last),
        };
        assert!(matches!(challenge.exchange.step(&answer), Outcome::Refused(_)));
    });
}
