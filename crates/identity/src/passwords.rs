//! Passwords as a proof: in CONNECT, or by the method SCRAM-SHA-256.

use core::net::IpAddr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_codec::ReasonCode;
use aws_lc_rs::hmac;

use crate::authenticate::{Acceptance, Challenge, Credentials, Exchange, Outcome, Refusal, Work};
use crate::evidence::Evidence;
use crate::lockout::Lockout;
use crate::password::HashedPassword;
use crate::principal::Principal;
use crate::proof_chain::Proof;
use crate::scram::{ClientFirst, ScramVerifier, ServerFirst};
use crate::tokens::WallClock;
use crate::users::Users;

/// Gives random bytes.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills a buffer.
    fn fill(&self, bytes: &mut [u8]);
}

/// Lets in who knows the password of a user.
#[derive(Debug, Clone)]
pub struct Passwords(Arc<Shared>);

/// What outlives the users that it was made with.
#[derive(Debug)]
struct Shared {
    users: Users,
    clock: Arc<dyn WallClock>,
    entropy: Arc<dyn Entropy>,
    /// What a password is compared with whose user there is not: it takes as long.
    decoy: Option<HashedPassword>,
    /// Of this run alone; for what must look random to others and the same to itself.
    secret: [u8; 32],
    lockout: Lockout,
    right: Mutex<Right>,
}

/// Passwords that were right, as their keyed hashes, and until when (Unix time) that counts: a
/// client that comes back does not cost a hash each time.
type Right = HashMap<[u8; 32], u64>;

impl Passwords {
    /// These users, where so much has been guessed wrong.
    pub fn new(
        users: Users,
        clock: Arc<dyn WallClock>,
        entropy: Arc<dyn Entropy>,
        lockout: Lockout,
    ) -> Self {
        let (mut secret, mut salt, mut nobody) = ([0; 32], [0; 16], [0; 16]);
        entropy.fill(&mut secret);
        entropy.fill(&mut salt);
        entropy.fill(&mut nobody);
        let decoy = HashedPassword::new(&nobody, &salt);
        let right = Mutex::default();
        Self(Arc::new(Shared { users, clock, entropy, decoy, secret, lockout, right }))
    }

    fn plain(&self, name: &str, password: &[u8], source: Option<IpAddr>) -> Outcome {
        let shared = &self.0;
        let now = shared.clock.unix_secs();
        if shared.lockout.is_locked(name, source, now) {
            return Outcome::Refused(locked());
        }
        let digest = shared.digest(name, password);
        if shared.right().get(&digest).is_some_and(|until| now < *until) {
            return shared.accepted(name, None);
        }
        let (shared, name) = (Arc::clone(shared), name.into());
        let password = password.into();
        Outcome::Later(Box::new(Comparison { shared, name, password, source, digest }))
    }

    fn scram(&self, data: &[u8], source: Option<IpAddr>) -> Outcome {
        let shared = &self.0;
        let Some(first) = ClientFirst::read(data) else {
            return Outcome::Refused(Refusal {
                reason: ReasonCode::NotAuthorized,
                why: "the first message is none of SCRAM-SHA-256 without channel binding".into(),
            });
        };
        let name: Box<str> = first.name.as_str().into();
        if shared.lockout.is_locked(&name, source, shared.clock.unix_secs()) {
            return Outcome::Refused(locked());
        }
        let known = shared.users.get(&*name).and_then(|user| user.scram.clone());
        let verifier = known.unwrap_or_else(|| ScramVerifier::decoy(&shared.secret, &name));
        let mut random = [0; 18];
        shared.entropy.fill(&mut random);
        let server = ServerFirst::new(first, verifier, &random);
        let data = server.message().as_bytes().to_vec();
        let exchange = ScramExchange { shared: Arc::clone(shared), name, source, server };
        Outcome::Continue(Challenge { data, exchange: Box::new(exchange) })
    }
}

impl Proof for Passwords {
    fn judge(&self, credentials: &Credentials<'_>) -> Option<Outcome> {
        let Credentials { username, password, method, source, .. } = *credentials;
        match method {
            Some((METHOD, data)) => Some(self.scram(data, source)),
            Some(_) => None,
            None => Some(self.plain(username?, password?, source)),
        }
    }

    /// As long as there is such a user, with what is claimed of it by now.
    fn remembered(&self, principal: &Principal) -> Option<Principal> {
        if *principal.evidence() != Evidence::Password {
            return None;
        }
        let name = principal.name()?;
        let user = self.0.users.get(name)?;
        Some(Principal::verified(name, user.claims.clone()).by(Evidence::Password))
    }
}

impl Shared {
    fn right(&self) -> MutexGuard<'_, Right> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepted(&self, name: &str, data: Option<Vec<u8>>) -> Outcome {
        let Some(user) = self.users.get(name) else { return Outcome::Refused(wrong()) };
        let principal = Principal::verified(name, user.claims.clone()).by(Evidence::Password);
        Outcome::Accepted(Acceptance { data, ..principal.into() })
    }

    /// What a right password is remembered by. Nobody learns it from that.
    fn digest(&self, name: &str, password: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        let mut context = hmac::Context::with_key(&key);
        context.update(&(name.len() as u64).to_le_bytes());
        context.update(name.as_bytes());
        context.update(password);
        let tag = context.sign();
        std::array::from_fn(|at| tag.as_ref().get(at).copied().unwrap_or_default())
    }

    /// Counts a login, right or wrong.
    fn count(&self, name: &str, source: Option<IpAddr>, is_right: bool) {
        let now = self.clock.unix_secs();
        let lockout = &self.lockout;
        match is_right {
            true => lockout.succeeded(name, source),
            false => lockout.failed(name, source, now),
        }
    }

    fn remember(&self, digest: [u8; 32]) {
        let now = self.clock.unix_secs();
        let mut right = self.right();
        if right.len() >= REMEMBERED {
            right.retain(|_, until| now < *until);
        }
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(digest, now + REMEMBERED_SECS);
    }
}

/// A password that is to be compared.
struct Comparison {
    shared: Arc<Shared>,
    name: Box<str>,
    password: Box<[u8]>,
    source: Option<IpAddr>,
    digest: [u8; 32],
}

impl std::fmt::Debug for Comparison {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Comparison").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Work for Comparison {
    fn run(self: Box<Self>) -> Outcome {
        let Self { shared, name, password, source, digest } = &*self;
        // Others may have guessed while this one waited.
        if shared.lockout.is_locked(name, *source, shared.clock.unix_secs()) {
            return Outcome::Refused(locked());
        }
        let known = shared.users.get(&**name).and_then(|user| user.password.as_ref());
        let compared = known.or(shared.decoy.as_ref()).is_some_and(|hash| hash.is_of(password));
        let is_right = compared && known.is_some();
        shared.count(name, *source, is_right);
        if !is_right {
            return Outcome::Refused(wrong());
        }
        shared.remember(*digest);
        shared.accepted(name, None)
    }
}

/// The client's last message is to come.
#[derive(Debug)]
struct ScramExchange {
    shared: Arc<Shared>,
    name: Box<str>,
    source: Option<IpAddr>,
    server: ServerFirst,
}

impl Exchange for ScramExchange {
    fn step(self: Box<Self>, data: &[u8]) -> Outcome {
        let Self { shared, name, source, server } = *self;
        // Others may have guessed since it began.
        if shared.lockout.is_locked(&name, source, shared.clock.unix_secs()) {
            return Outcome::Refused(locked());
        }
        let answer = server.finish(data);
        shared.count(&name, source, answer.is_some());
        match answer {
            Some(answer) => shared.accepted(&name, Some(answer.into_bytes())),
            None => Outcome::Refused(wrong()),
        }
    }
}

fn wrong() -> Refusal {
    let why = "the user name or password is wrong".into();
    Refusal { reason: ReasonCode::BadUserNameOrPassword, why }
}

fn locked() -> Refusal {
    let why = "too many wrong passwords from here: try again in ten minutes".into();
    Refusal { reason: ReasonCode::QuotaExceeded, why }
}

/// The Authentication Method.
const METHOD: &str = "SCRAM-SHA-256";
/// Right passwords that are remembered, at most.
const REMEMBERED: usize = 10_000;
const REMEMBERED_SECS: u64 = 300;
