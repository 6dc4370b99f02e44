//! A web service of the operator as a proof: it is asked who a client is.
//!
//! It stands behind tokens and the users of a file, which judge their own, and before certificates:
//! the service sees the certificate too, and can leave the client to it.

use core::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentmq_codec::ReasonCode;

use crate::authenticate::{Acceptance, Credentials, Outcome, Refusal};
use crate::breaker::Breaker;
use crate::claims::checked_text;
use crate::evidence::Evidence;
use crate::hook_answer::{Allowed, HookAnswer};
use crate::hook_memory::{HookMemory, Remembered};
use crate::hook_question::question;
use crate::keyed_hash::keyed_hash;
use crate::lockout::{Lockout, network};
use crate::passwords::Entropy;
use crate::principal::Principal;
use crate::proof_chain::{Inquiry, Proof};
use crate::tokens::WallClock;

/// The service, behind whatever reaches it.
pub trait HookService: Send + Sync + std::fmt::Debug {
    /// Asks it, and waits for the answer, for as long as it may take.
    fn ask(&self, question: &[u8]) -> Result<HookReply, HookFault>;

    /// The time since some moment: it never goes back.
    fn now(&self) -> Duration;

    /// For the log: a question was answered, or why not.
    fn note(&self, went: Result<(), &str>);
}

/// A response of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReply {
    /// The HTTP status.
    pub status: u16,
    /// What came with it, as much of it as an answer may have.
    pub body: Vec<u8>,
}

/// Why there is no response. The text says nothing of what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookFault {
    /// It is not there.
    Unreached(String),
    /// It has taken the question, and does not answer it in time or whole.
    Silent(String),
    /// It answers, but with what no answer can be.
    Wrong(String),
}

/// How the service is asked.
#[derive(Debug, Clone, Copy)]
pub struct HookTerms {
    /// How long a login waits at most before the service is asked.
    pub patience: Duration,
    /// How long who was let in is let in again without a question.
    pub remember_secs: u64,
}

/// Lets in whom the service lets in.
#[derive(Debug)]
pub struct Hook(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: Arc<dyn HookService>,
    terms: HookTerms,
    clock: Arc<dyn WallClock>,
    /// Of this run alone.
    secret: [u8; 32],
    lockout: Lockout,
    breaker: Mutex<Breaker>,
    memory: Mutex<HookMemory>,
}

impl Hook {
    /// Asks this service, where so much has been guessed wrong.
    pub fn new(
        service: Arc<dyn HookService>,
        terms: HookTerms,
        clock: Arc<dyn WallClock>,
        entropy: &dyn Entropy,
        lockout: Lockout,
    ) -> Self {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        let (breaker, memory) = Default::default();
        Self(Arc::new(Shared { service, terms, clock, secret, lockout, breaker, memory }))
    }
}

impl Proof for Hook {
    /// What can be said without asking.
    fn judge(&self, credentials: &Credentials<'_>) -> Option<Outcome> {
        if !is_asked_about(credentials) {
            return None;
        }
        let shared = &self.0;
        let now = shared.clock.unix_secs();
        if shared.is_locked(guessed_at(credentials), credentials.source) {
            return Some(Outcome::Refused(Refusal::locked_out()));
        }
        if length(credentials) > LONGEST_CREDENTIALS {
            return Some(Outcome::Refused(too_long()));
        }
        if shared.terms.remember_secs > 0 {
            let digest = shared.digest(&question(credentials));
            if let Some(remembered) = shared.memory().get(&digest, now) {
                return Some(accepted(remembered.principal.clone(), remembered.expires_at, now));
            }
        }
        let from = credentials.source.map(network);
        let is_open = shared.breaker().is_open(from, shared.service.now());
        is_open.then(|| Outcome::Refused(unavailable()))
    }

    fn inquire(&self, credentials: &Credentials<'_>) -> Option<Box<dyn Inquiry>> {
        is_asked_about(credentials).then(|| -> Box<dyn Inquiry> {
            Box::new(HookInquiry {
                shared: Arc::clone(&self.0),
                question: question(credentials),
                username: credentials.username.map(Into::into),
                guessed_at: guessed_at(credentials).map(Into::into),
                has_password: credentials.password.is_some(),
                source: credentials.source,
                made_at: self.0.service.now(),
            })
        })
    }

    /// The service cannot be asked again without the password. So whom it has let in stays as long
    /// as there is a hook; that his time is over, his connection knows.
    fn remembered(&self, principal: &Principal) -> Option<Principal> {
        (*principal.evidence() == Evidence::Hook).then(|| principal.clone())
    }
}

/// Everybody, except who brings a method of authentication, which the service could not speak, and
/// who brings nothing where such come in.
fn is_asked_about(credentials: &Credentials<'_>) -> bool {
    let Credentials { username, password, certificate, may_be_anonymous, .. } = *credentials;
    let brings_something = username.is_some() || password.is_some() || certificate.is_some();
    credentials.method.is_none() && (brings_something || !may_be_anonymous)
}

/// Bytes of what makes a question long.
fn length(credentials: &Credentials<'_>) -> usize {
    let Credentials { client_id, username, password, certificate, .. } = *credentials;
    let texts = [Some(client_id.as_bytes()), username.map(str::as_bytes), password, certificate];
    texts.into_iter().flatten().map(<[u8]>::len).sum()
}

/// The name that may be a guess, or the password of which may be. Who brings neither guesses at
/// nothing: locking others out does not lock him out.
fn guessed_at<'a>(credentials: &Credentials<'a>) -> Option<&'a str> {
    let Credentials { client_id, username, password, .. } = *credentials;
    username.or_else(|| password.map(|_| client_id))
}

impl Shared {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, HookMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn digest(&self, question: &[u8]) -> [u8; 32] {
        keyed_hash(&self.secret, &[question])
    }

    fn is_locked(&self, guessed_at: Option<&str>, source: Option<IpAddr>) -> bool {
        let now = self.clock.unix_secs();
        guessed_at.is_some_and(|name| self.lockout.is_locked(name, source, now))
    }

    fn no_answer(&self, why: &str) -> Outcome {
        self.service.note(Err(why));
        Outcome::Refused(unavailable())
    }
}

/// A question to the service.
struct HookInquiry {
    shared: Arc<Shared>,
    question: Vec<u8>,
    username: Option<Box<str>>,
    guessed_at: Option<Box<str>>,
    has_password: bool,
    source: Option<IpAddr>,
    /// By the service's clock.
    made_at: Duration,
}

/// Without the question, which has the password in it.
impl std::fmt::Debug for HookInquiry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("HookInquiry");
        shown.field("guessed_at", &self.guessed_at).finish_non_exhaustive()
    }
}

impl Inquiry for HookInquiry {
    fn run(self: Box<Self>) -> Option<Outcome> {
        let shared = &*self.shared;
        let now = shared.service.now();
        if now.saturating_sub(self.made_at) > shared.terms.patience {
            return Some(Outcome::Refused(busy()));
        }
        // Others may have guessed while this one waited.
        if shared.is_locked(self.guessed_at.as_deref(), self.source) {
            return Some(Outcome::Refused(Refusal::locked_out()));
        }
        let from = self.source.map(network);
        if !shared.breaker().admits(from, now) {
            return Some(Outcome::Refused(unavailable()));
        }
        let reply = match shared.service.ask(&self.question) {
            Ok(reply) => reply,
            Err(HookFault::Unreached(why)) => {
                shared.breaker().unreached(shared.service.now());
                return Some(shared.no_answer(&why));
            }
            Err(HookFault::Silent(why)) => {
                shared.breaker().choked(from, shared.service.now());
                return Some(shared.no_answer(&why));
            }
            Err(HookFault::Wrong(why)) => {
                shared.breaker().answered(from);
                return Some(shared.no_answer(&why));
            }
        };
        // It is there, whatever it says: one client whose name it chokes on shuts nobody else out.
        shared.breaker().answered(from);
        match HookAnswer::read(reply.status, &reply.body) {
            Ok(answer) => self.decide(answer, reply.body.len()),
            Err(error) => Some(shared.no_answer(&error.to_string())),
        }
    }
}

impl HookInquiry {
    fn decide(&self, answer: HookAnswer, bytes: usize) -> Option<Outcome> {
        let shared = &*self.shared;
        let outcome = match answer {
            HookAnswer::Allow(allowed) => match self.admit(*allowed, bytes) {
                Ok(outcome) => Some(outcome),
                Err(why) => return Some(shared.no_answer(why)),
            },
            HookAnswer::Deny { reason } => {
                self.count_wrong();
                Some(Outcome::Refused(self.denial(reason)))
            }
            HookAnswer::Ignore => {
                // Nobody behind the hook knows passwords: it is as wrong as one that is denied.
                if self.has_password {
                    self.count_wrong();
                }
                None
            }
        };
        shared.service.note(Ok(()));
        outcome
    }

    /// Lets in whom the service lets in, if it says enough.
    fn admit(&self, allowed: Allowed, bytes: usize) -> Result<Outcome, &'static str> {
        let shared = &*self.shared;
        let Allowed { name, claims, expires_at } = allowed;
        let now = shared.clock.unix_secs();
        if expires_at.is_some_and(|ends| ends <= now) {
            return Err("`expires_at` of its answer is over");
        }
        let said = name.or_else(|| self.username.as_deref().map(str::to_owned));
        let name = said.or_else(|| claims.name().map(str::to_owned));
        let name =
            name.ok_or("its answer does not say what a client is called that has no name")?;
        let name =
            checked_text(&name.into()).map_err(|_| "a client's name is empty or too long")?;
        if let Some(name) = &self.guessed_at {
            shared.lockout.succeeded(name, self.source);
        }
        let principal = Principal::verified(name, claims).by(Evidence::Hook);
        let remember_secs = shared.terms.remember_secs;
        if remember_secs > 0 {
            let until = (now + remember_secs).min(expires_at.unwrap_or(u64::MAX));
            let principal = principal.clone();
            let remembered = Remembered { principal, expires_at, until, bytes };
            shared.memory().put(shared.digest(&self.question), remembered, now);
        }
        Ok(accepted(principal, expires_at, now))
    }

    fn count_wrong(&self) {
        let shared = &*self.shared;
        if let Some(name) = &self.guessed_at {
            shared.lockout.failed(name, self.source, shared.clock.unix_secs());
        }
    }

    fn denial(&self, reason: Option<String>) -> Refusal {
        let usual = match self.guessed_at {
            Some(_) => Refusal::wrong_password(),
            None => {
                let why = "this server does not let you in without a user name and a password";
                Refusal { reason: ReasonCode::NotAuthorized, why: why.into() }
            }
        };
        match reason {
            Some(why) => Refusal { why: why.into(), ..usual },
            None => usual,
        }
    }
}

fn accepted(principal: Principal, expires_at: Option<u64>, now: u64) -> Outcome {
    let lasts_secs = expires_at.map(|ends| ends.saturating_sub(now));
    Outcome::Accepted(Acceptance { lasts_secs, ..principal.into() })
}

fn unavailable() -> Refusal {
    Refusal {
        reason: ReasonCode::ServerUnavailable,
        why: "this server cannot find out now who you are: try again".into(),
    }
}

fn busy() -> Refusal {
    Refusal {
        reason: ReasonCode::ServerBusy,
        why: "too many logins wait for their verdict: try again in a minute".into(),
    }
}

fn too_long() -> Refusal {
    let why = "the credentials are longer than this server asks about (16 KiB)".into();
    Refusal { reason: ReasonCode::BadUserNameOrPassword, why }
}

/// Many may wait, each with its question.
const LONGEST_CREDENTIALS: usize = 16 * 1024;
