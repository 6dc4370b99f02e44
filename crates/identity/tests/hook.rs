//! Being let in by a service that is asked.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentmq_codec::ReasonCode;
use agentmq_identity::{
    Acceptance, Authenticator, CertificatePart, Certificates, Claims, Credentials, Entropy,
    HashedPassword, Hook, HookFault, HookReply, HookService, HookTerms, Lockout, Outcome,
    Passwords, Presence, Principal, Proof, ProofChain, User, Users, WallClock,
};
use serde_json::{Value, json};

/// The time of day and of the service, in seconds.
#[derive(Debug, Clone, Default)]
struct Hands(Arc<AtomicU64>);

impl WallClock for Hands {
    fn unix_secs(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Answers as the test has written, in that order.
#[derive(Debug, Default)]
struct Script {
    clock: Hands,
    answers: Mutex<VecDeque<Result<HookReply, HookFault>>>,
    asked: Mutex<Vec<Value>>,
    noted: Mutex<Vec<Option<String>>>,
}

impl HookService for Script {
    fn ask(&self, question: &[u8]) -> Result<HookReply, HookFault> {
        self.asked.lock().unwrap().push(serde_json::from_slice(question).expect("is JSON"));
        self.answers.lock().unwrap().pop_front().expect("the test has an answer")
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.clock.unix_secs())
    }

    fn note(&self, went: Result<(), &str>) {
        self.noted.lock().unwrap().push(went.err().map(str::to_owned));
    }
}

/// Users of a file, then the service, then certificates.
struct World {
    chain: ProofChain,
    script: Arc<Script>,
}

const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

impl World {
    fn new(remember_secs: u64) -> Self {
        let script = Arc::new(Script::default());
        let clock = Arc::new(script.clock.clone());
        let (lockout, password) = (Lockout::default(), HashedPassword::new(b"pencil", &[1; 16]));
        let users = Users::from([("filed".to_owned(), User { password, ..User::default() })]);
        let passwords = Passwords::new(users, clock.clone(), Arc::new(Zeros), lockout.clone());
        let terms = HookTerms { patience: Duration::from_secs(2), remember_secs };
        let hook = Hook::new(script.clone(), terms, clock.clone(), &Zeros, lockout);
        let name = CertificatePart::CommonName;
        let proofs: Vec<Box<dyn Proof>> = vec![
            Box::new(passwords.leaving_strangers()),
            Box::new(hook),
            Box::new(Certificates { name, claims: Vec::new(), clock }),
        ];
        Self { chain: ProofChain::new(proofs), script }
    }

    fn answer(&self, status: u16, body: &Value) {
        let body = body.to_string().into_bytes();
        self.script.answers.lock().unwrap().push_back(Ok(HookReply { status, body }));
    }

    fn fail(&self, fault: HookFault) {
        self.script.answers.lock().unwrap().push_back(Err(fault));
    }

    fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        self.chain.authenticate(&Credentials { source: HERE, client_id: "c", ..*credentials })
    }

    fn outcome(&self, credentials: &Credentials<'_>) -> Result<Acceptance, ReasonCode> {
        verdict(match self.begin(credentials) {
            Outcome::Later(work) => work.run(),
            other => other,
        })
    }

    /// Who is let in, or why nobody is.
    fn login(&self, name: &str, password: &[u8]) -> Result<String, ReasonCode> {
        let outcome = self.outcome(&with(name, password));
        outcome.map(|it| it.principal.name().expect("has a name").to_owned())
    }

    fn asked(&self) -> usize {
        self.script.asked.lock().unwrap().len()
    }

    fn at(&self, secs: u64) {
        self.script.clock.0.store(secs, Ordering::Relaxed);
    }
}

fn with<'a>(name: &'a str, password: &'a [u8]) -> Credentials<'a> {
    Credentials { username: Some(name), password: Some(password), ..Credentials::default() }
}

fn verdict(outcome: Outcome) -> Result<Acceptance, ReasonCode> {
    match outcome {
        Outcome::Accepted(acceptance) => Ok(acceptance),
        Outcome::Refused(refusal) => Err(refusal.reason),
        other => panic!("{other:?}"),
    }
}

fn allow() -> Value {
    json!({"result": "allow"})
}

const WRONG: Result<String, ReasonCode> = Err(ReasonCode::BadUserNameOrPassword);
const DOWN: Result<String, ReasonCode> = Err(ReasonCode::ServerUnavailable);

#[test]
fn who_is_let_in_is_whom_the_service_says() {
    let world = World::new(0);
    world.at(1000);
    world.answer(200, &allow());
    assert_eq!(world.login("scout", b"secret"), Ok("scout".into()));
    let expected = json!({
        "client_id": "c", "username": "scout", "password": "secret", "source": "127.0.0.1",
        "listener": 0, "protocol": "3.1.1",
    });
    assert_eq!(world.script.asked.lock().unwrap()[0], expected);
    let claims = json!({"agent_id": "scout", "org_id": "acme", "roles": "auditor"});
    world.answer(
        200,
        &json!({"result": "allow", "name": "n", "claims": claims, "expires_at": 1060}),
    );
    let acceptance = world.outcome(&with("scout", b"secret")).expect("is let in");
    assert_eq!((acceptance.principal.name(), acceptance.lasts_secs), (Some("n"), Some(60)));
    let claims = acceptance.principal.claims().expect("are verified");
    assert_eq!((claims.org_id.as_deref(), claims.roles.len()), (Some("acme"), 1));
    world.answer(200, &json!({"result": "deny"}));
    assert_eq!(world.login("scout", b"wrong"), WRONG);
    // A name alone, a password alone, and nothing at all.
    world.answer(204, &Value::Null);
    let name = Credentials { username: Some("scout"), ..Credentials::default() };
    assert!(world.outcome(&name).is_ok());
    world.answer(200, &json!({"result": "allow", "claims": {"agent_id": "a"}}));
    let key = Credentials { password: Some(b"key"), ..Credentials::default() };
    assert_eq!(world.outcome(&key).expect("comes in").principal.name(), Some("a"));
    world.answer(200, &json!({"result": "deny", "reason": "not on a Sunday"}));
    assert_eq!(world.outcome(&Credentials::default()).err(), Some(ReasonCode::NotAuthorized));
    assert_eq!(world.script.noted.lock().unwrap().as_slice(), [const { None }; 6]);
}

#[test]
fn others_are_not_asked_about() {
    let world = World::new(0);
    assert!(world.login("filed", b"pencil").is_ok());
    assert_eq!(world.login("filed", b"wrong"), WRONG);
    let unsaid = Credentials { username: Some("filed"), ..Credentials::default() };
    assert_eq!(world.outcome(&unsaid).err(), Some(ReasonCode::BadUserNameOrPassword));
    let nothing = Credentials { may_be_anonymous: true, ..Credentials::default() };
    assert_eq!(world.outcome(&nothing).expect("comes in").principal.name(), None);
    let method = Credentials { method: Some(("X", b"")), ..with("scout", b"") };
    assert_eq!(world.outcome(&method).err(), Some(ReasonCode::BadAuthenticationMethod));
    assert_eq!(world.asked(), 0);
}

#[test]
fn whom_the_service_does_not_know_others_judge() {
    let world = World::new(0);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "by-certificate");
    let der = params.self_signed(&key).expect("a certificate").der().to_vec();
    world.answer(200, &json!({"result": "ignore"}));
    let certificate = Credentials { certificate: Some(&der), ..Credentials::default() };
    let acceptance = world.outcome(&certificate).expect("has a certificate");
    assert_eq!(acceptance.principal.name(), Some("by-certificate"));
    assert!(world.script.asked.lock().unwrap()[0]["certificate"].is_string());
    world.answer(200, &json!({"result": "deny"}));
    assert_eq!(world.outcome(&certificate).err(), Some(ReasonCode::NotAuthorized));
    // A password that nobody knows is as wrong as one that is denied, and as often.
    for _ in 0..5 {
        world.answer(200, &json!({"result": "ignore"}));
        assert_eq!(world.login("nobody", b"x"), WRONG);
    }
    assert_eq!(world.login("nobody", b"x"), Err(ReasonCode::QuotaExceeded));
}

#[test]
fn five_denials_lock_out_and_a_service_is_not_asked_then() {
    let world = World::new(0);
    for _ in 0..5 {
        world.answer(200, &json!({"result": "deny"}));
        assert_eq!(world.login("scout", b"guess"), WRONG);
    }
    assert_eq!(world.login("scout", b"right"), Err(ReasonCode::QuotaExceeded));
    assert_eq!(world.asked(), 5);
    // Who brings no password guesses at none, and goes on.
    let certificate = Credentials { certificate: Some(b"x"), ..Credentials::default() };
    for _ in 0..10 {
        world.answer(200, &json!({"result": "deny"}));
        assert_eq!(world.outcome(&certificate).err(), Some(ReasonCode::NotAuthorized));
    }
    world.at(600);
    world.answer(200, &allow());
    assert!(world.login("scout", b"right").is_ok());
    // Guesses under way count, too.
    let begun: Vec<_> = (0..6).map(|_| world.begin(&with("ranger", b"guess"))).collect();
    let run = |outcome| match outcome {
        Outcome::Later(work) => verdict(work.run()).map(|_| ()),
        other => panic!("{other:?}"),
    };
    for _ in 0..5 {
        world.answer(200, &json!({"result": "deny"}));
    }
    let verdicts: Vec<_> = begun.into_iter().map(run).collect();
    assert_eq!(
        verdicts[4..],
        [Err(ReasonCode::BadUserNameOrPassword), Err(ReasonCode::QuotaExceeded)]
    );
}

#[test]
fn what_is_no_answer_lets_nobody_in() {
    let world = World::new(60);
    world.at(1000);
    for (status, body) in [
        (500, allow()),
        (302, allow()),
        (200, json!({})),
        (200, json!({"result": "maybe"})),
        (200, json!({"result": "allow", "expires_at": 1000})),
        (200, json!({"result": "allow", "claims": {"agent_id": ""}})),
        (200, json!({"result": "allow", "claims": {"acl": {"publish": ["a/#/b"]}}})),
    ] {
        world.answer(status, &body);
        assert_eq!(world.login("scout", b"secret"), DOWN, "{status} {body}");
    }
    world.answer(200, &allow());
    let key = Credentials { password: Some(b"key"), ..Credentials::default() };
    assert_eq!(world.outcome(&key).err(), Some(ReasonCode::ServerUnavailable), "no name");
    world.answer(200, &allow());
    assert_eq!(world.login(&"x".repeat(1000), b"secret"), DOWN, "too long a name");
    assert_eq!(world.login("scout", &[b'x'; 20_000]), WRONG, "and nobody is asked");
    world.fail(HookFault::Wrong("more than it may have".into()));
    assert_eq!(world.login("scout", b"secret"), DOWN);
    let noted = world.script.noted.lock().unwrap().clone();
    assert!(noted.iter().all(Option::is_some) && noted.len() == 10, "{noted:?}");
    // None of this was a wrong password, nor did it keep anybody from asking.
    world.answer(200, &allow());
    assert!(world.login("scout", b"secret").is_ok());
}

#[test]
fn a_silent_service_is_left_alone_for_a_while() {
    let world = World::new(0);
    let begun: Vec<_> = (0..7).map(|_| world.begin(&with("scout", b"secret"))).collect();
    for _ in 0..5 {
        world.fail(HookFault::Unreached("connection refused".into()));
    }
    for outcome in begun {
        let Outcome::Later(work) = outcome else { panic!("{outcome:?}") };
        assert_eq!(verdict(work.run()).err(), Some(ReasonCode::ServerUnavailable));
    }
    assert_eq!(world.asked(), 5, "those who waited are told without it");
    assert!(matches!(world.begin(&with("scout", b"secret")), Outcome::Refused(_)), "at once");
    world.at(5);
    let begun = [(), ()].map(|()| world.begin(&with("scout", b"secret")));
    world.answer(200, &allow());
    let verdicts = begun.map(|outcome| match outcome {
        Outcome::Later(work) => work,
        other => panic!("{other:?}"),
    });
    let [first, second] = verdicts;
    assert!(matches!(second.run(), Outcome::Accepted(_)), "whichever comes first is the one");
    world.answer(200, &allow());
    assert!(matches!(first.run(), Outcome::Accepted(_)));
    assert_eq!(world.asked(), 7);
}

#[test]
fn who_has_waited_too_long_is_told_so_and_not_asked_about() {
    let world = World::new(0);
    let Outcome::Later(work) = world.begin(&with("scout", b"secret")) else { panic!("waits") };
    assert!(work.waits());
    world.at(3);
    assert_eq!(verdict(work.run()).err(), Some(ReasonCode::ServerBusy));
    assert_eq!(world.asked(), 0);
}

#[test]
fn who_was_let_in_is_remembered_as_long_as_the_settings_and_the_answer_say() {
    let world = World::new(60);
    world.at(1000);
    world.answer(200, &json!({"result": "allow", "expires_at": 1030}));
    assert!(world.login("scout", b"secret").is_ok());
    world.at(1029);
    let acceptance = world.outcome(&with("scout", b"secret")).expect("is remembered");
    assert_eq!(acceptance.lasts_secs, Some(1));
    assert_eq!(world.asked(), 1);
    world.at(1030);
    world.answer(200, &allow());
    assert!(world.login("scout", b"secret").is_ok());
    world.answer(200, &json!({"result": "deny"}));
    assert_eq!(world.login("scout", b"Secret"), WRONG, "another password");
    world.answer(200, &json!({"result": "deny"}));
    let elsewhere = Credentials { client_id: "d", ..with("scout", b"secret") };
    let work = match world.chain.authenticate(&elsewhere) {
        Outcome::Later(work) => work,
        other => panic!("another client: {other:?}"),
    };
    assert!(verdict(work.run()).is_err());
    world.at(1090);
    world.answer(200, &json!({"result": "deny"}));
    assert_eq!(world.login("scout", b"secret"), WRONG, "and a denial is not remembered");
    world.answer(200, &allow());
    assert!(world.login("scout", b"secret").is_ok());
}

#[test]
fn who_came_by_it_stays_as_long_as_there_is_a_hook() {
    let world = World::new(0);
    world.answer(200, &json!({"result": "allow", "claims": {"agent_id": "scout"}}));
    let principal = world.outcome(&with("n", b"secret")).expect("comes in").principal;
    let recorded = Principal::recorded(&principal.record().expect("has a name"));
    let presence = Presence::default();
    let stays = world.chain.remembered(&recorded, &presence).expect("stays");
    assert_eq!(stays.claims().and_then(|it| it.agent_id.as_deref()), Some("scout"));
    assert!(ProofChain::default().remembered(&recorded, &presence).is_none());
    let filed = Principal::verified("filed", Claims::default());
    assert!(world.chain.remembered(&filed, &presence).is_none(), "who came otherwise");
}

#[test]
fn no_secret_is_printed() {
    let world = World::new(60);
    let outcome = world.begin(&with("scout", b"canary"));
    let printed = format!("{outcome:?} {:?}", world.chain);
    let bytes = format!("{:?}", b"canary");
    let inner = bytes.trim_matches(['[', ']']);
    assert!(printed.contains("scout"));
    assert!(!printed.contains("canary") && !printed.contains(inner), "{printed}");
}
