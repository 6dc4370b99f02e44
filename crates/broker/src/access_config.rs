//! `[access]`: who is let in and who may do what, with what its files say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use agentmq_admin::Fetcher;
use agentmq_identity::{
    Authenticator, CertificatePart, Certificates, ClaimMapping, Entropy, InForce, KeySet, Lockout,
    Open, Passwords, Proof, ProofChain, RemoteKeys, Revocations, SigningKey, Token, TokenChains,
    TokenError, TokenRules, TokenService, Tokens, Users, WallClock,
};

use agentmq_quota::Plans;
use agentmq_topic::{TopicLimits, check_filter};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::config_file::read_at_most;
use crate::error::{Findings, quoted};
use crate::key_sets::KeySets;
use crate::organizations_file::OrganizationsFile;
use crate::plans_file::PlansByName;
use crate::value::choices;
use crate::{ConfigError, HookConfig, Place, organizations_file, revocations_file, users_file};

/// `[access]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// The file of rules; empty: everybody may do everything.
    pub policy: PathBuf,
    /// Whether those of an organisation have topics of their own.
    pub isolate_organizations: bool,
    /// The file of users with passwords; empty: passwords let nobody in.
    pub users: PathBuf,
    /// Tokens that clients are let in with.
    pub tokens: TokensConfig,
    /// The service that is asked who a client is.
    pub hook: HookConfig,
    /// The file of who is not let in any more; empty: nobody.
    pub revocations: PathBuf,
    /// The file of plans; empty: those that come with the broker.
    pub plans: PathBuf,
    /// The plan of organisations that have none of their own; empty: they have no bounds.
    pub default_plan: String,
    /// The service that makes tokens for others.
    pub service: ServiceConfig,
    /// Messages that say who has published them.
    pub identity: IdentityConfig,
    /// What client certificates call those who have them.
    pub certificates: CertificatesConfig,
    /// Whether a retained message is served also when its author may not retain it any more: the
    /// opposite of `access.check_retain_source`, so that nothing said means that it is checked.
    pub ignores_retain_source: bool,
}

/// `access.certificates`: what client certificates call those who have them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CertificatesConfig {
    /// The part that is the name, and the claim `agent_id`.
    pub agent_id: SubjectPart,
    /// The part that is the claim `org_id`.
    pub org_id: SubjectPart,
}

/// A part of a certificate, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SubjectPart {
    /// None.
    #[default]
    None,
    /// Common Name.
    CommonName,
    /// Organization.
    Organization,
    /// Organizational Unit.
    OrganizationalUnit,
    /// A DNS name.
    Dns,
    /// An address of mail.
    Email,
    /// A URI.
    Uri,
}

choices!(SubjectPart {
    "" => None,
    "common_name" => CommonName,
    "organization" => Organization,
    "organizational_unit" => OrganizationalUnit,
    "dns" => Dns,
    "email" => Email,
    "uri" => Uri,
});

impl SubjectPart {
    fn part(self) -> Option<CertificatePart> {
        Some(match self {
            Self::None => return None,
            Self::CommonName => CertificatePart::CommonName,
            Self::Organization => CertificatePart::Organization,
            Self::OrganizationalUnit => CertificatePart::OrganizationalUnit,
            Self::Dns => CertificatePart::Dns,
            Self::Email => CertificatePart::Email,
            Self::Uri => CertificatePart::Uri,
        })
    }
}

/// `access.identity`: messages that say who has published them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// Filters of their topics.
    pub topics: Vec<String>,
    /// What the User Properties begin with that say so.
    pub prefix: String,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        let topics =
            ["a2a/v1/#", "$a2a/#", "$mcp-server/#", "$mcp-client/#", "$mcp-rpc/#", "$reply/#"];
        Self { topics: topics.map(String::from).into(), prefix: "agentmq-".into() }
    }
}

/// What is wrong with filters, as key and message.
pub(crate) fn filter_problems(key: &str, filters: &[String]) -> Vec<(String, String)> {
    let problem = |filter: &String| {
        let error = check_filter(filter, &TopicLimits::default()).err()?;
        Some((key.to_owned(), format!("{}: {error}", quoted(filter))))
    };
    filters.iter().filter_map(problem).collect()
}

impl IdentityConfig {
    /// Every rule that is broken, as key and message.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = filter_problems("access.identity.topics", &self.topics);
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        if self.prefix.is_empty() || !self.prefix.chars().all(is_name) {
            let why = "letters, digits and hyphens, at least one";
            problems.push(("access.identity.prefix".into(), why.into()));
        }
        problems
    }
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
    /// Files of keys, JSON Web Key Sets or PEM, and addresses of key sets; empty: tokens let nobody
    /// in.
    pub keys: Vec<String>,
    /// Authorities of servers that publish keys; empty: those of the system.
    pub ca: PathBuf,
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
        let (keys, ca) = (Vec::new(), PathBuf::new());
        Self { keys, ca, issuers, audience, leeway_secs, longest_secs, claims }
    }
}

impl TokensConfig {
    fn ca(&self) -> Option<PathBuf> {
        Some(self.ca.clone()).filter(|file| !file.as_os_str().is_empty())
    }

    /// Every rule that is broken, as key and message.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let urls = self.keys.iter().filter(|it| is_url(it));
        let problem = |url: &String| Some(format!("{url}: {}", Fetcher::problem(url)?));
        urls.filter_map(problem).map(|why| ("access.tokens.keys".to_owned(), why)).collect()
    }

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

/// What outlives a reload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// Tokens that were refreshed.
    pub(crate) chains: TokenChains,
    /// Keys that are fetched.
    pub(crate) key_sets: KeySets,
    /// Passwords that were wrong.
    pub(crate) lockout: Lockout,
}

/// Whether keys are to be fetched, and not in a file.
pub(crate) fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// What `[access]` comes to.
#[derive(Debug)]
pub(crate) struct Access {
    /// Who is let in, and who may do what.
    pub(crate) in_force: InForce,
    /// Makes tokens; `None`: nobody gets any.
    pub(crate) service: Option<TokenService>,
    /// What organisations may use.
    pub(crate) plans: Plans,
}

impl AccessConfig {
    /// Whether clients must prove who they are.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        !self.tokens.keys.is_empty()
            || !self.users.as_os_str().is_empty()
            || self.hook.is_on()
            || self.certificates.agent_id != SubjectPart::None
    }

    /// Reads every file that it names.
    pub(crate) fn load(&self, kept: &Kept) -> Result<Access, ConfigError> {
        let in_force = InForce {
            authenticator: self.load_authenticator(kept)?,
            policy: self.load_policy()?,
            keeps_apart: self.isolate_organizations,
            revocations: self.load_revocations()?,
            clock: Arc::new(SystemClock),
        };
        let by_name = self.load_plans()?;
        let organizations = self.load_organizations(kept, &by_name)?;
        let of = organizations.iter().flat_map(|it| it.plans.clone()).collect();
        let plans = self.assign_plans(&by_name, of)?;
        let service = self.load_service(kept, &in_force.revocations, organizations)?;
        Ok(Access { in_force, service, plans })
    }

    fn load_authenticator(&self, kept: &Kept) -> Result<Arc<dyn Authenticator>, ConfigError> {
        if !self.authenticates() {
            return Ok(Arc::new(Open));
        }
        let mut proofs: Vec<Box<dyn Proof>> = Vec::new();
        if !self.tokens.keys.is_empty() {
            let (keys, remote) = (self.load_keys()?, self.remote_keys(kept));
            let (rules, clock) = (self.tokens.rules(), Arc::new(SystemClock));
            let tokens = Tokens::new(keys, remote, rules, clock, kept.chains.clone());
            proofs.push(Box::new(tokens));
        }
        if let Some(users) = self.load_users()? {
            let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
            let lockout = kept.lockout.clone();
            let passwords = Passwords::new(users, clock, entropy, lockout);
            proofs.push(Box::new(match self.hook.is_on() {
                true => passwords.leaving_strangers(),
                false => passwords,
            }));
        }
        if self.hook.is_on() {
            let (clock, lockout) = (Arc::new(SystemClock), kept.lockout.clone());
            proofs.push(Box::new(self.hook.load(clock, &SystemEntropy, lockout)?));
        }
        if let Some(name) = self.certificates.agent_id.part() {
            let org = self.certificates.org_id.part().map(|part| ("org_id", part));
            let claims = [("agent_id", name)].into_iter().chain(org).collect();
            let clock = Arc::new(SystemClock);
            proofs.push(Box::new(Certificates { name, claims, clock }));
        }
        Ok(Arc::new(ProofChain::new(proofs)))
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

    /// What the broker would say of a token. Keys that are published are fetched.
    pub fn verify_token(&self, text: &str) -> Result<Result<Token, TokenError>, ConfigError> {
        let (mut keys, now) = (self.load_keys()?, SystemClock.unix_secs());
        for url in self.tokens.keys.iter().filter(|it| is_url(it)) {
            let fetched = Fetcher { ca: self.tokens.ca() }.fetch(url);
            match fetched.map(|it| KeySet::read(&it.text).map_err(|error| error.to_string())) {
                Ok(Ok(set)) => keys.extend(set),
                Ok(Err(why)) | Err(why) => {
                    let mut findings = Findings::default();
                    let place = || Place::Key("access.tokens.keys".into());
                    findings.report(place, || format!("{url}: {why}"));
                    findings.into_result()?;
                }
            }
        }
        Ok(Token::verify(text.as_bytes(), &keys, &self.tokens.rules(), now))
    }

    fn load_organizations(
        &self,
        kept: &Kept,
        plans: &PlansByName,
    ) -> Result<Option<OrganizationsFile>, ConfigError> {
        let path = &self.service.organizations;
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let fetch = |url: &str| kept.key_sets.get(url, self.tokens.ca());
        organizations_file::load(path, &fetch, plans).map(Some)
    }

    /// None where the file of organisations only says which plans they have.
    fn load_service(
        &self,
        kept: &Kept,
        revocations: &Revocations,
        organizations: Option<OrganizationsFile>,
    ) -> Result<Option<TokenService>, ConfigError> {
        let Some(file) = organizations.filter(OrganizationsFile::needs_service) else {
            return Ok(None);
        };
        Ok(Some(TokenService {
            signing: self.load_signing_keys()?,
            rules: self.tokens.rules(),
            lifetime_secs: self.service.lifetime_secs.into(),
            organizations: file.organizations,
            users: self.load_users()?.unwrap_or_default(),
            revocations: revocations.clone(),
            chains: kept.chains.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }))
    }

    /// The keys of the first file that can sign.
    fn load_signing_keys(&self) -> Result<Vec<SigningKey>, ConfigError> {
        for file in self.tokens.keys.iter().filter(|it| !is_url(it)) {
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

    fn remote_keys(&self, kept: &Kept) -> Vec<RemoteKeys> {
        let urls = self.tokens.keys.iter().filter(|it| is_url(it));
        urls.map(|url| kept.key_sets.get(url, self.tokens.ca())).collect()
    }

    fn load_keys(&self) -> Result<KeySet, ConfigError> {
        let mut all = KeySet::default();
        for file in self.tokens.keys.iter().filter(|it| !is_url(it)) {
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
