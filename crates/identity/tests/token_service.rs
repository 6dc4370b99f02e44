//! Tokens for who shows a secret key, another's token, or an earlier token.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_identity::{
    Acceptance, Authenticator, ChainJournal, Claims, Credentials, Entropy, HashedSecret,
    IssuedToken, KeySet, NoToken, Organization, Outcome, ProofChain, Provider, SigningKey,
    TokenChains, TokenError, TokenRules, TokenService, Tokens, User, WallClock,
};
use serde_json::json;

const NOW: u64 = 1_800_000_000;

#[derive(Debug, Clone)]
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

/// Keeps nothing, or fails.
#[derive(Debug)]
struct Paper {
    is_full: bool,
}

impl ChainJournal for Paper {
    fn record(&mut self, _: &str, _: u64) -> io::Result<()> {
        if self.is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

struct World {
    service: TokenService,
    broker: ProofChain,
    clock: Hands,
    idp: SigningKey,
}

fn world() -> World {
    world_with(Paper { is_full: false })
}

fn world_with(paper: Paper) -> World {
    let clock = Hands(Arc::new(AtomicU64::new(NOW)));
    let chains = TokenChains::default();
    chains.take_up([], Box::new(paper));
    let [signing, idp] = [[1; 32], [2; 32]].map(|seed| SigningKey::from_seed(&seed, 0).unwrap());
    let read = |key: &SigningKey| {
        KeySet::read(&SigningKey::write_public(std::slice::from_ref(key))).unwrap()
    };
    let mut claims = Claims::default();
    claims.agent_id = Some("scout".into());
    let mut elsewhere = Claims::default();
    elsewhere.org_id = Some("other".into());
    let users = [("scout@acme.test", claims), ("spy@acme.test", elsewhere)];
    let provider = Provider {
        name: "idp".into(),
        keys: read(&idp),
        remote: None,
        rules: TokenRules { issuers: vec!["https://idp".into()], ..TokenRules::default() },
    };
    let secret = Some(HashedSecret::of("sk_1"));
    let acme = Organization { secret, providers: vec![provider] };
    let organizations = [("acme".to_owned(), acme), ("closed".to_owned(), Organization::default())];
    let (rules, wall) = (TokenRules::default(), Arc::new(clock.clone()));
    let tokens = Tokens::new(read(&signing), Vec::new(), rules, wall, chains.clone());
    let service = TokenService {
        signing: vec![signing],
        rules: TokenRules::default(),
        lifetime_secs: 3600,
        organizations: organizations.into(),
        users: users.map(|(name, claims)| (name.into(), User { claims, ..User::default() })).into(),
        chains,
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(Counting::default()),
    };
    let broker = ProofChain::new(vec![Box::new(tokens)]);
    World { service, broker, clock, idp }
}

impl World {
    /// The agent that a token lets in, and for how long.
    fn agent(&self, issued: &IssuedToken) -> Option<(String, u64)> {
        let password = Some(issued.token.as_bytes());
        match self.broker.authenticate(&Credentials { password, ..Credentials::default() }) {
            Outcome::Accepted(Acceptance { principal, lasts_secs, .. }) => {
                let agent = principal.claims()?.agent_id.clone().unwrap_or_default();
                Some((agent, lasts_secs?))
            }
            _ => None,
        }
    }

    fn later(&self, secs: u64) {
        self.clock.0.fetch_add(secs, Ordering::Relaxed);
    }

    fn create(&self) -> IssuedToken {
        self.service.create("acme", "sk_1", "scout@acme.test").unwrap()
    }
}

#[test]
fn a_secret_key_makes_tokens_for_users_of_its_organisation() {
    let world = world();
    let issued = world.create();
    assert_eq!(issued.username, "scout@acme.test@acme");
    assert_eq!(world.agent(&issued), Some(("scout".into(), 3600)));
    let unknown = world.service.create("acme", "sk_1", "new@acme.test").unwrap();
    assert_eq!(world.agent(&unknown), Some((String::new(), 3600)), "without an agent's claims");
    for (organization, secret, user, expected) in [
        ("acme", "sk_2", "scout@acme.test", NoToken::WrongSecret),
        ("closed", "sk_1", "scout@acme.test", NoToken::WrongSecret),
        ("nobody", "sk_1", "scout@acme.test", NoToken::NoOrganization),
        ("acme", "sk_1", "", NoToken::BadName),
        ("acme", "sk_1", "spy@acme.test", NoToken::AnotherOrganization),
    ] {
        assert_eq!(world.service.create(organization, secret, user), Err(expected), "{user}");
    }
}

#[test]
fn a_provider_s_token_is_exchanged() {
    let world = world();
    let foreign = |changes: serde_json::Value| {
        let mut payload = json!({
            "iss": "https://idp", "sub": "u1", "aud": "agentmq", "exp": NOW + 60,
            "agent_id": "ranger",
        });
        let all = changes.as_object().unwrap().clone();
        payload.as_object_mut().unwrap().extend(all);
        world.idp.sign(payload.as_object().unwrap()).unwrap()
    };
    let issued = world.service.exchange("acme", &foreign(json!({}))).unwrap();
    assert_eq!(world.agent(&issued), Some(("ranger".into(), 3600)));
    assert_eq!((issued.provider.as_str(), issued.username.as_str()), ("idp", "u1@acme"));
    for (organization, token, expected) in [
        ("acme", foreign(json!({ "iss": "https://other" })), NoToken::NoProvider),
        ("closed", foreign(json!({})), NoToken::NoProvider),
        ("acme", foreign(json!({ "exp": NOW })), NoToken::BadToken(TokenError::Expired)),
        ("acme", foreign(json!({ "org_id": "other" })), NoToken::AnotherOrganization),
        ("acme", world.create().token, NoToken::NoProvider),
    ] {
        assert_eq!(world.service.exchange(organization, &token), Err(expected));
    }
}

/// The published clients reconnect with their first token for ever.
#[test]
fn the_first_token_is_good_as_long_as_its_chain_is_refreshed() {
    let world = world();
    let first = world.create();
    world.later(3000);
    let second = world.service.refresh(&first.id, &first.token).unwrap();
    assert_eq!(second.id, first.id);
    assert_eq!(world.agent(&first), Some(("scout".into(), 3600)));
    world.later(3000);
    let third = world.service.refresh(&first.id, &second.token).unwrap();
    assert_eq!(world.agent(&first), Some(("scout".into(), 3600)), "an hour and 40 minutes old");
    world.later(3600);
    for token in [&first, &second, &third] {
        assert_eq!(world.agent(token), None, "nobody has refreshed it");
        let refused = world.service.refresh(&first.id, &token.token);
        assert_eq!(refused, Err(NoToken::BadToken(TokenError::Expired)));
    }
}

#[test]
fn only_a_token_of_the_chain_refreshes_it() {
    let world = world();
    let (first, other) = (world.create(), world.create());
    assert_eq!(world.service.refresh(&first.id, &other.token), Err(NoToken::AnotherToken));
    let foreign = json!({ "sub": "a", "aud": "agentmq", "exp": NOW + 60, "chain": first.id });
    let foreign = world.idp.sign(foreign.as_object().unwrap()).unwrap();
    let refused = world.service.refresh(&first.id, &foreign);
    assert_eq!(refused, Err(NoToken::BadToken(TokenError::UnknownKey)));
    assert!(world.service.refresh("", "").is_err());
}

#[test]
fn what_cannot_be_kept_is_not_promised() {
    let world = world_with(Paper { is_full: true });
    let first = world.create();
    assert_eq!(world.service.refresh(&first.id, &first.token), Err(NoToken::Broken));
    world.later(3600);
    assert_eq!(world.agent(&first), None);
}
