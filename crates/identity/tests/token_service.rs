//! Tokens for who shows a secret key, another's token, or an earlier token.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_identity::{
    Acceptance, Authenticator, ChainJournal, Claims, Credentials, Entropy, Guarded, HashedSecret,
    InForce, IssuedToken, KeySet, NoToken, Organization, Outcome, Principal, ProofChain, Provider,
    Revocation, Revocations, Revoked, SigningKey, TokenChains, TokenError, TokenRules,
    TokenService, Tokens, User, WallClock,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

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

/// Lets everybody in as this one.
#[derive(Debug)]
struct Fixed(Principal);

impl Authenticator for Fixed {
    fn authenticate(&self, _: &Credentials<'_>) -> Outcome {
        Outcome::Accepted(self.0.clone().into())
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
    let users = [
        ("scout@acme.test", json!({ "agent_id": "scout", "org_id": "acme" })),
        ("spy@acme.test", json!({ "org_id": "other" })),
        ("root", json!({ "agent_id": "root", "roles": ["admin"] })),
    ];
    let provider = Provider {
        name: "idp".into(),
        keys: read(&idp),
        remote: None,
        rules: TokenRules { issuers: vec!["https://idp".into()], ..TokenRules::default() },
        gives_rights: false,
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
        users: users.map(|(name, claims)| (name.into(), user(claims))).into(),
        revocations: Revocations::default(),
        chains,
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(Counting::default()),
    };
    let broker = ProofChain::new(vec![Box::new(tokens)]);
    World { service, broker, clock, idp }
}

fn user(claims: Value) -> User {
    User { claims: Claims::read(claims.as_object().unwrap()).unwrap(), ..User::default() }
}

impl World {
    /// Whom a token lets in.
    fn principal(&self, issued: &IssuedToken) -> Option<Principal> {
        let password = Some(issued.token.as_bytes());
        match self.broker.authenticate(&Credentials { password, ..Credentials::default() }) {
            Outcome::Accepted(Acceptance { principal, .. }) => Some(principal),
            _ => None,
        }
    }

    fn claims(&self, issued: &IssuedToken) -> Value {
        let principal = self.principal(issued).expect("is let in");
        Value::Object(principal.claims().expect("has proved some").to_object())
    }

    /// Whether the broker lets in who brings the token, and what is revoked.
    fn is_let_in(&self, issued: &IssuedToken, revocations: &Revocations) -> bool {
        let authenticator = Arc::new(Fixed(self.principal(issued).expect("its token is good")));
        let in_force = InForce {
            revocations: revocations.clone(),
            clock: Arc::new(self.clock.clone()),
            ..InForce::new(authenticator, None)
        };
        let outcome = Guarded::new(in_force).authenticate(&Credentials::default());
        matches!(outcome, Outcome::Accepted(_))
    }

    /// A token of the identity provider.
    fn foreign(&self, changes: Value) -> String {
        let mut payload = json!({
            "iss": "https://idp", "sub": "u1", "aud": "agentmq", "iat": NOW, "exp": NOW + 60,
            "agent_id": "ranger",
        });
        let Value::Object(changes) = changes else { panic!("an object") };
        payload.as_object_mut().unwrap().extend(changes);
        self.idp.sign(payload.as_object().unwrap()).unwrap()
    }

    fn refresh(&self, issued: &IssuedToken) -> Result<IssuedToken, NoToken> {
        self.service.refresh(&issued.id, &issued.token)
    }

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
        ("acme", "sk_1", "a\nb", NoToken::BadName),
        ("acme", "sk_1", "spy@acme.test", NoToken::AnotherOrganization),
        ("acme", "sk_1", "root", NoToken::AnotherOrganization),
    ] {
        assert_eq!(world.service.create(organization, secret, user), Err(expected), "{user}");
    }
}

#[test]
fn a_provider_s_token_is_exchanged() {
    let world = world();
    let foreign = |changes| world.foreign(changes);
    let issued = world.service.exchange("acme", &foreign(json!({}))).unwrap();
    assert_eq!(world.agent(&issued), Some(("ranger".into(), 3600)));
    assert_eq!((issued.provider.as_str(), issued.username.as_str()), ("idp", "u1@acme"));
    for (organization, token, expected) in [
        ("acme", foreign(json!({ "iss": "https://other" })), NoToken::NoProvider),
        ("closed", foreign(json!({})), NoToken::NoProvider),
        ("acme", foreign(json!({ "exp": NOW })), NoToken::BadToken(TokenError::Expired)),
        ("acme", foreign(json!({ "org_id": "other" })), NoToken::AnotherOrganization),
        ("acme", foreign(json!({ "sub": "root" })), NoToken::AnotherOrganization),
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

fn until(of: Revoked, made_until: Option<u64>) -> Revocations {
    Revocations(vec![Revocation { of, made_until, ends: None }])
}

#[test]
fn who_is_revoked_is_not_refreshed() {
    for of in [
        Revoked::Agent("scout".into()),
        Revoked::Name("scout@acme.test".into()),
        Revoked::Organization("acme".into()),
    ] {
        let mut world = world();
        let first = world.create();
        world.service.revocations = until(of, Some(NOW));
        world.later(1);
        assert_eq!(world.refresh(&first), Err(NoToken::Revoked));
        let anew = world.create();
        assert!(world.is_let_in(&anew, &world.service.revocations), "it is newer");
        assert!(world.refresh(&anew).is_ok());
    }
}

#[test]
fn a_revoked_link_of_a_chain_is_not_refreshed() {
    let mut world = world();
    let first = world.create();
    world.later(1);
    let second = world.refresh(&first).unwrap();
    let payload = second.token.split('.').nth(1).unwrap();
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let id = payload["jti"].as_str().unwrap();
    assert_ne!(id, first.id);
    world.service.revocations = until(Revoked::Token(id.into()), None);
    assert_eq!(world.refresh(&second), Err(NoToken::Revoked));
    world.service.revocations = until(Revoked::Token(first.id.clone()), None);
    for link in [&first, &second] {
        assert_eq!(world.refresh(link), Err(NoToken::Revoked));
    }
}

/// A revocation holds when the broker has read it, a while after it was written.
#[test]
fn a_link_made_after_a_revocation_is_as_old_as_its_chain() {
    let world = world();
    let first = world.create();
    let revoked = until(Revoked::Agent("scout".into()), Some(NOW + 10));
    world.later(20);
    let second = world.refresh(&first).unwrap();
    assert!(world.is_let_in(&second, &Revocations::default()));
    assert!(!world.is_let_in(&second, &revoked));
    assert!(world.is_let_in(&world.create(), &revoked));
    let shown = world.foreign(json!({}));
    let exchanged = world.service.exchange("acme", &shown).unwrap();
    let revoked = until(Revoked::Agent("ranger".into()), Some(NOW + 10));
    assert!(!world.is_let_in(&exchanged, &revoked));
}

#[test]
fn who_is_revoked_gets_no_token_by_other_ways() {
    let mut world = world();
    world.service.revocations = until(Revoked::Agent("scout".into()), None);
    let refused = world.service.create("acme", "sk_1", "scout@acme.test");
    assert_eq!(refused, Err(NoToken::Revoked));
    let shown = world.foreign(json!({ "jti": "j" }));
    assert!(world.service.exchange("acme", &shown).is_ok());
    world.later(1);
    for revocations in
        [until(Revoked::Token("j".into()), None), until(Revoked::Agent("ranger".into()), Some(NOW))]
    {
        world.service.revocations = revocations;
        assert_eq!(world.service.exchange("acme", &shown), Err(NoToken::Revoked));
    }
}

#[test]
fn a_refreshed_token_claims_what_is_claimed_by_now() {
    let mut world = world();
    let first = world.create();
    let changed = json!({ "agent_id": "scout", "org_id": "acme", "roles": ["r"] });
    world.service.users.insert("scout@acme.test".into(), user(changed.clone()));
    world.later(3000);
    let second = world.refresh(&first).unwrap();
    assert_eq!(world.claims(&second), changed);
    world.later(600);
    assert!(world.principal(&first).is_none(), "nobody has refreshed what it claims");
    let third = world.refresh(&second).unwrap();
    assert_eq!((third.id.as_str(), world.claims(&third)), (second.id.as_str(), changed));
    let moved = json!({ "agent_id": "scout", "org_id": "other" });
    world.service.users.insert("scout@acme.test".into(), user(moved));
    assert_eq!(world.refresh(&third), Err(NoToken::AnotherOrganization));
    world.service.users.remove("scout@acme.test");
    assert_eq!(world.refresh(&third), Err(NoToken::NoUser));
}

#[test]
fn who_has_left_is_not_refreshed() {
    let mut world = world();
    let unlisted = world.service.create("acme", "sk_1", "new@acme.test").unwrap();
    let exchanged = world.service.exchange("acme", &world.foreign(json!({}))).unwrap();
    assert!(world.refresh(&unlisted).is_ok());
    let again = world.refresh(&exchanged).unwrap();
    assert_eq!(world.claims(&again), json!({ "agent_id": "ranger", "org_id": "acme" }));
    world.service.organizations.get_mut("acme").unwrap().providers.clear();
    for token in [&exchanged, &again] {
        assert_eq!(world.refresh(token), Err(NoToken::NoProvider));
    }
    world.service.organizations.remove("acme");
    for token in [&unlisted, &exchanged] {
        assert_eq!(world.refresh(token), Err(NoToken::NoOrganization));
    }
}

#[test]
fn a_provider_gives_rights_only_if_it_may() {
    let mut world = world();
    let rights = json!({ "roles": ["admin"], "acl": { "all": ["#"] } });
    let shown = world.foreign(rights.clone());
    let issued = world.service.exchange("acme", &shown).unwrap();
    let plain = json!({ "agent_id": "ranger", "org_id": "acme" });
    assert_eq!(world.claims(&issued), plain);
    let allow = |world: &mut World, may| {
        world.service.organizations.get_mut("acme").unwrap().providers[0].gives_rights = may;
    };
    allow(&mut world, true);
    let issued = world.service.exchange("acme", &shown).unwrap();
    let claims = world.claims(&issued);
    assert_eq!((&claims["roles"], &claims["acl"]), (&rights["roles"], &rights["acl"]));
    allow(&mut world, false);
    assert_eq!(world.claims(&world.refresh(&issued).unwrap()), plain);
}

#[test]
fn a_token_that_would_claim_something_else_is_not_made() {
    for (claim, member) in [
        ("agent_id", "sub"),
        ("user_id", "jti"),
        ("server_id", "provider"),
        ("roles", "aud"),
        ("agent_id", "/a/b"),
        ("agent_id", "org_id"),
    ] {
        let mut world = world();
        world.service.rules.claims.set(claim, member);
        let refused = world.service.create("acme", "sk_1", "scout@acme.test");
        assert_eq!(refused, Err(NoToken::Ambiguous), "{claim}: {member}");
    }
    let mut world = world();
    world.service.rules.claims.set("agent_id", "azp");
    assert!(world.service.create("acme", "sk_1", "scout@acme.test").is_ok());
}
