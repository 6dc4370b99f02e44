//! `[access]`: who is let in and who may do what, with what its files say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use agentmq_identity::{
    Authenticator, Chain, Chains, ClaimMapping, Entropy, InForce, KeySet, Open, Passwords, Proof,
    Revocations, SigningKey, Token, TokenError, TokenRules, TokenService, Tokens, Users, WallClock,
};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::config_file::read_at_most;
use crate::error::Findings;
use crate::{ConfigError, Place, organizations_file, revocations_file, users_file};

/// `[access]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// The file of rules; empty: everybody may do everything.
    pub policy: PathBuf,
    /// The file of users with passwords; empty: passwords let nobody in.
    pub users: PathBuf,
    /// Tokens that clients are let in with.
    pub tokens: TokensConfig,
    /// The file of who is not let in any more; empty: nobody.
    pub revocations: PathBuf,
    /// The service that makes tokens for others.
    pub service: ServiceConfig,
}

/// `access.service`: who gets tokens over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// The file of organisations; empty: nobody gets any.
    pub organizations: PathBuf,
    /// Seconds that a token is good for.
    pub lifetime_secs: u32,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self { organizations: PathBuf::new(), lifetime_secs: 3600 }
    }
}

/// `access.tokens`: which JSON Web Tokens are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensConfig {
    /// Files of keys, JSON Web Key Sets or PEM; empty: tokens let nobody in.
    pub keys: Vec<String>,
    /// Believed issuers; empty: whoever has the keys.
    pub issuers: Vec<String>,
    /// Whom tokens must be for.
    pub audience: String,
    /// Seconds that an issuer's clock may be ahead.
    pub leeway_secs: u32,
    /// Seconds that a token may still be good for.
    pub longest_secs: u32,
    /// The members that claims are read from.
    pub claims: ClaimMapping,
}

impl Default for TokensConfig {
    fn default() -> Self {
        let TokenRules { issuers, audience, leeway_secs, longest_secs, claims } =
            TokenRules::default();
        let (leeway_secs, longest_secs) = (leeway_secs as u32, longest_secs as u32);
        Self { keys: Vec::new(), issuers, audience, leeway_secs, longest_secs, claims }
    }
}

impl TokensConfig {
    fn rules(&self) -> TokenRules {
        TokenRules {
            issuers: self.issuers.clone(),
            audience: self.audience.clone(),
            leeway_secs: self.leeway_secs.into(),
            longest_secs: self.longest_secs.into(),
            claims: self.claims.clone(),
        }
    }
}

/// What `[access]` comes to.
#[derive(Debug)]
pub(crate) struct Access {
    /// Who is let in, and who may do what.
    pub(crate) in_force: InForce,
    /// Makes tokens; `None`: nobody gets any.
    pub(crate) service: Option<TokenService>,
}

impl AccessConfig {
    /// Whether clients must prove who they are.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        !self.tokens.keys.is_empty() || !self.users.as_os_str().is_empty()
    }

    /// Reads every file that it names. `chains`: the tokens that were refreshed.
    pub(crate) fn load(&self, chains: &Chains) -> Result<Access, ConfigError> {
        let in_force = InForce {
            authenticator: self.load_authenticator(chains)?,
            policy: self.load_policy()?,
            revocations: self.load_revocations()?,
            clock: Arc::new(SystemClock),
        };
        Ok(Access { in_force, service: self.load_service(chains)? })
    }

    /// Reads every file that it names, to say what is wrong with them.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.load(&Chains::default()).map(|_| ())
    }

    fn load_authenticator(&self, chains: &Chains) -> Result<Arc<dyn Authenticator>, ConfigError> {
        if !self.authenticates() {
            return Ok(Arc::new(Open));
        }
        let mut proofs: Vec<Box<dyn Proof>> = Vec::new();
        if !self.tokens.keys.is_empty() {
            let (keys, rules) = (self.load_keys()?, self.tokens.rules());
            let tokens = Tokens::new(keys, rules, Arc::new(SystemClock));
            proofs.push(Box::new(tokens.in_chains(chains.clone())));
        }
        if let Some(users) = self.load_users()? {
            let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
            proofs.push(Box::new(Passwords::new(users, clock, entropy)));
        }
        Ok(Arc::new(Chain::new(proofs)))
    }

    /// A file that is not there yet revokes nobody.
    fn load_revocations(&self) -> Result<Revocations, ConfigError> {
        if self.revocations.as_os_str().is_empty() || !self.revocations.exists() {
            return Ok(Revocations::default());
        }
        let text = read_at_most(&self.revocations, LONGEST_REVOCATIONS)?;
        revocations_file::parse(&text, &self.revocations)
    }

    /// The users of the file that it names; `None` when it names none.
    pub fn load_users(&self) -> Result<Option<Users>, ConfigError> {
        if self.users.as_os_str().is_empty() {
            return Ok(None);
        }
        users_file::parse(&read_at_most(&self.users, LONGEST_USERS)?, &self.users).map(Some)
    }

    /// What the broker would say of a token.
    pub fn verify_token(&self, text: &str) -> Result<Result<Token, TokenError>, ConfigError> {
        let (keys, now) = (self.load_keys()?, SystemClock.unix_secs());
        Ok(Token::verify(text.as_bytes(), &keys, &self.tokens.rules(), now))
    }

    fn load_service(&self, chains: &Chains) -> Result<Option<TokenService>, ConfigError> {
        if self.service.organizations.as_os_str().is_empty() {
            return Ok(None);
        }
        Ok(Some(TokenService {
            signing: self.load_signing_keys()?,
            rules: self.tokens.rules(),
            lifetime_secs: self.service.lifetime_secs.into(),
            organizations: organizations_file::load(&self.service.organizations)?,
            users: self.load_users()?.unwrap_or_default(),
            chains: chains.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }))
    }

    /// The keys of the first file that can sign.
    fn load_signing_keys(&self) -> Result<Vec<SigningKey>, ConfigError> {
        for file in &self.tokens.keys {
            if let Ok(keys) = SigningKey::read_all(&read_at_most(Path::new(file), LONGEST_KEYS)?) {
                return Ok(keys);
            }
        }
        let mut findings = Findings::default();
        let why = "no file of access.tokens.keys has a key that signs: `agentmq keys create \
                   keys.json` makes one";
        let place = || Place::Key("access.service.organizations".into());
        findings.report(place, || why.to_owned());
        findings.into_result()?;
        Ok(Vec::new())
    }

    fn load_keys(&self) -> Result<KeySet, ConfigError> {
        let mut all = KeySet::default();
        for file in &self.tokens.keys {
            let path = Path::new(file);
            let text = read_at_most(path, LONGEST_KEYS)?;
            match KeySet::read(&text) {
                Ok(keys) => all.extend(keys),
                Err(error) => {
                    let mut findings = Findings::default();
                    findings.report(|| Place::in_file(path, &text, 0), || error.to_string());
                    findings.into_result()?;
                }
            }
        }
        Ok(all)
    }
}

/// The time of day of the system.
#[derive(Debug)]
struct SystemClock;

impl WallClock for SystemClock {
    fn unix_secs(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock before 1970 makes every token one of the future.
        since.map_or(0, |since| since.as_secs())
    }
}

/// Random bytes of the system.
#[derive(Debug)]
struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let filled = getrandom(&mut *bytes, GetRandomFlags::empty());
        assert_eq!(filled, Ok(bytes.len()), "the system gives random bytes once it has started");
    }
}

/// Bytes of a file of users at most: some hundred thousand.
const LONGEST_USERS: usize = 128 * 1024 * 1024;
/// Bytes of a file of revocations at most.
const LONGEST_REVOCATIONS: usize = 1024 * 1024;
/// Bytes of a file of keys at most.
const LONGEST_KEYS: usize = 1024 * 1024;
