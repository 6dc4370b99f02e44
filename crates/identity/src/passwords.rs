//! Passwords as a proof: in CONNECT, or by the method SCRAM-SHA-256.

use core::net::IpAddr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_codec::ReasonCode;

use crate::authenticate::{Acceptance, Challenge, Credentials, Exchange, Outcome, Refusal, Work};
use crate::evidence::Evidence;
use crate::keyed_hash::keyed_hash;
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
pub struct Passwords {
    shared: Arc<Shared>,
    leaves_strangers: bool,
}

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
        let shared = Shared { users, clock, entropy, decoy, secret, lockout, right };
        Self { shared: Arc::new(shared), leaves_strangers: false }
    }

    /// Judges only who says the name of a user: others may be known to the next kind of proof. How
    /// long an answer takes then tells which names are here.
    #[must_use]
    pub fn leaving_strangers(self) -> Self {
        Self { leaves_strangers: true, ..self }
    }

    fn plain(&self, name: &str, password: &[u8], source: Option<IpAddr>) -> Outcome {
        let shared = &self.shared;
        let now = shared.clock.unix_secs();
        if shared.lockout.is_locked(name, source, now) {
            return Outcome::Refused(Refusal::locked_out());
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
        let shared = &self.shared;
        let Some(first) = ClientFirst::read(data) else {
            return Outcome::Refused(Refusal {
                reason: ReasonCode::NotAuthorized,
                why: "the first message is none of SCRAM-SHA-256 without channel binding".into(),
            });
        };
        let name: Box<str> = first.name.as_str().into();
        if shared.lockout.is_locked(&name, source, shared.clock.unix_secs()) {
            return Outcome::Refused(Refusal::locked_out());
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
            None => {
                let name = username?;
                let is_left = self.leaves_strangers && !self.shared.users.contains_key(name);
                // Who says the name of one of these has to know his password, and nobody else says
                // who he is.
                let password = password.or_else(|| self.leaves_strangers.then_some(&[]))?;
                (!is_left).then(|| self.plain(name, password, source))
            }
        }
    }

    /// As long as there is such a user, with what is claimed of it by now.
    fn remembered(&self, principal: &Principal) -> Option<Principal> {
        if *principal.evidence() != Evidence::Password {
            return None;
        }
        let name = principal.name()?;
        let user = self.shared.users.get(name)?;
        Some(Principal::verified(name, user.claims.clone()).by(Evidence::Password))
    }
}

impl Shared {
    fn right(&self) -> MutexGuard<'_, Right> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepted(&self, name: &str, data: Option<Vec<u8>>) -> Outcome {
        let Some(user) = self.users.get(name) else {
            return Outcome::Refused(Refusal::wrong_password());
        };
        let principal = Principal::verified(name, user.claims.clone()).by(Evidence::Password);
        Outcome::Accepted(Acceptance { data, ..principal.into() })
    }

    /// What a right password is remembered by. Nobody learns it from that.
    fn digest(&self, name: &str, password: &[u8]) -> [u8; 32] {
        keyed_hash(&self.secret, &[name.as_bytes(), password])
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
            return Outcome::Refused(Refusal::locked_out());
        }
        let known = shared.users.get(&**name).and_then(|user| user.password.as_ref());
        let compared = known.or(shared.decoy.as_ref()).is_some_and(|hash| hash.is_of(password));
        let is_right = compared && known.is_some();
        shared.count(name, *source, is_right);
        if !is_right {
            return Outcome::Refused(Refusal::wrong_password());
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
            return Outcome::Refused(Refusal::locked_out());
        }
        let answer = server.finish(data);
        shared.count(&name, source, answer.is_some());
        match answer {
            Some(answer) => shared.accepted(&name, Some(answer.into_bytes())),
            None => Outcome::Refused(Refusal::wrong_password()),
        }
    }
}

/// The Authentication Method.
const METHOD: &str = "SCRAM-SHA-256";
/// Right passwords that are remembered, at most.
const REMEMBERED: usize = 10_000;
const REMEMBERED_SECS: u64 = 300;
