//! Logging in with a password, in CONNECT and by SCRAM.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_codec::ReasonCode;
use agentmq_identity::{
    Acceptance, Authenticator, Claims, Credentials, Entropy, Exchange, HashedPassword, Lockout,
    Outcome, Passwords, ProofChain, ScramVerifier, User, Users, WallClock,
};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[derive(Debug, Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl WallClock for Hands {
    fn unix_secs(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed) as u8);
    }
}

struct World {
    chain: ProofChain,
    clock: Hands,
}

const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

impl World {
    fn new() -> Self {
        let mut claims = Claims::default();
        claims.agent_id = Some("scout".to_owned());
        let user = User {
            password: HashedPassword::new(b"pencil", &[1; 16]),
            scram: Some(ScramVerifier::new(b"pencil", &[2; 16])),
            claims,
        };
        let users = Users::from([("me".to_owned(), user)]);
        let clock = Hands::default();
        let entropy = Arc::new(Counting::default());
        let passwords = Passwords::new(users, Arc::new(clock.clone()), entropy, Lockout::default());
        Self { chain: ProofChain::new(vec![Box::new(passwords)]), clock }
    }

    /// The agent that is let in, or why nobody is; and whether it took work.
    fn login(&self, name: &str, password: &[u8]) -> (Result<String, ReasonCode>, bool) {
        let outcome = self.chain.authenticate(&Credentials {
            username: Some(name),
            password: Some(password),
            source: HERE,
            ..Credentials::default()
        });
        match outcome {
            Outcome::Later(work) => (verdict(work.run()), true),
            other => (verdict(other), false),
        }
    }

    fn scram(&self, name: &str, password: &[u8]) -> Result<String, ReasonCode> {
        self.open_scram(name, password)?.finish()
    }

    /// Goes as far as the client's last message.
    fn open_scram(&self, name: &str, password: &[u8]) -> Result<OpenScram, ReasonCode> {
        let bare = format!("n={name},r=nonce");
        let first = format!("n,,{bare}");
        let method = Some(("SCRAM-SHA-256", first.as_bytes()));
        let credentials = Credentials { method, source: HERE, ..Credentials::default() };
        let challenge = match self.chain.authenticate(&credentials) {
            Outcome::Continue(challenge) => challenge,
            other => return Err(verdict(other).expect_err("without a proof")),
        };
        let server_first = String::from_utf8(challenge.data).expect("a text");
        let attribute = |name: &str| {
            let mut all = server_first.split(',');
            all.find_map(|it| it.strip_prefix(name)).expect("an attribute").to_owned()
        };
        let (nonce, salt, rounds) = (attribute("r="), attribute("s="), attribute("i="));
        let salt = STANDARD.decode(salt).expect("base64");
        let rounds: u32 = rounds.parse().expect("a number");
        let mut salted = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, rounds.try_into().expect("some"), &salt, password, &mut salted);
        let mac = |key: &[u8], text: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
        };
        let client_key = mac(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        let unsigned = format!("c=biws,r={nonce}");
        let signed = format!("{bare},{server_first},{unsigned}");
        let signature = mac(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, it)| key ^ it).collect();
        let last = format!("{unsigned},p={}", STANDARD.encode(proof));
        let server = mac(&mac(&salted, b"Server Key"), signed.as_bytes());
        let expected = format!("v={}", STANDARD.encode(server));
        Ok(OpenScram { exchange: challenge.exchange, last, expected })
    }
}

/// A login by SCRAM of which the last message is to be sent.
struct OpenScram {
    exchange: Box<dyn Exchange>,
    last: String,
    /// What the server says if it knows the password too.
    expected: String,
}

impl OpenScram {
    fn finish(self) -> Result<String, ReasonCode> {
        let outcome = self.exchange.step(self.last.as_bytes());
        if let Outcome::Accepted(Acceptance { data: Some(data), .. }) = &outcome {
            assert_eq!(String::from_utf8_lossy(data), self.expected, "the server knows it too");
        }
        verdict(outcome)
    }
}

fn verdict(outcome: Outcome) -> Result<String, ReasonCode> {
    match outcome {
        Outcome::Accepted(acceptance) => {
            let claims = acceptance.principal.claims().expect("are verified");
            Ok(claims.agent_id.clone().expect("an agent"))
        }
        Outcome::Refused(refusal) => Err(refusal.reason),
        other => panic!("{other:?}"),
    }
}

const WRONG: Result<String, ReasonCode> = Err(ReasonCode::BadUserNameOrPassword);
const LOCKED: Result<String, ReasonCode> = Err(ReasonCode::QuotaExceeded);

#[test]
fn the_right_password_lets_in_and_is_compared_once() {
    let world = World::new();
    assert_eq!(world.login("me", b"pencil"), (Ok("scout".into()), true));
    assert_eq!(world.login("me", b"pencil"), (Ok("scout".into()), false), "remembered");
    assert_eq!(world.login("me", b"pencil "), (WRONG, true));
    world.clock.0.store(300, Ordering::Relaxed);
    assert_eq!(world.login("me", b"pencil"), (Ok("scout".into()), true), "for five minutes");
}

#[test]
fn who_there_is_can_not_be_told_from_outside() {
    let world = World::new();
    assert_eq!(world.login("nobody", b"pencil"), (WRONG, true), "it takes the same work");
    for name in ["me", "nobody"] {
        assert_eq!(world.scram(name, b"wrong"), WRONG);
    }
}

#[test]
fn five_wrong_ones_lock_also_the_right_one_out_for_ten_minutes() {
    let world = World::new();
    for _ in 0..5 {
        assert_eq!(world.login("me", b"wrong").0, WRONG);
    }
    assert_eq!(world.login("me", b"pencil"), (LOCKED, false), "without any work");
    assert_eq!(world.scram("me", b"pencil"), LOCKED);
    world.clock.0.store(600, Ordering::Relaxed);
    assert_eq!(world.scram("me", b"pencil"), Ok("scout".into()));
}

#[test]
fn scram_lets_in_and_the_server_proves_itself() {
    let world = World::new();
    assert_eq!(world.scram("me", b"pencil"), Ok("scout".into()));
    for _ in 0..5 {
        assert_eq!(world.scram("me", b"Pencil"), WRONG);
    }
    assert_eq!(world.scram("me", b"pencil"), LOCKED);
}

#[test]
fn many_open_exchanges_are_no_more_guesses() {
    let world = World::new();
    let mut open: Vec<_> = (0..8).map(|_| world.open_scram("me", b"Pencil")).collect();
    open.push(world.open_scram("me", b"pencil"));
    let verdicts: Vec<_> =
        open.into_iter().map(|it| it.expect("is listened to").finish()).collect();
    assert_eq!(verdicts[..5], [WRONG, WRONG, WRONG, WRONG, WRONG]);
    assert_eq!(verdicts[5..], [LOCKED, LOCKED, LOCKED, LOCKED], "the right one too");
}

#[test]
fn no_secret_is_printed() {
    let world = World::new();
    let outcome = world.chain.authenticate(&Credentials {
        username: Some("me"),
        password: Some(b"canary"),
        ..Credentials::default()
    });
    let printed = format!("{outcome:?}");
    assert!(printed.contains("me"));
    let bytes = format!("{:?}", b"canary");
    assert!(!printed.contains("canary") && !printed.contains(&bytes), "{printed}");
}
