//! Makes tokens for those who can show something else: a secret key of their organisation, a token
//! of an identity provider, or an earlier token. What MQTT.Agent's clients ask over HTTP (§7).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::claims::Claims;
use crate::keys::KeySet;
use crate::organization::{Organization, Organizations, Provider};
use crate::passwords::Entropy;
use crate::revocations::Revocations;
use crate::signing::SigningKey;
use crate::token::{CHAIN_MADE_AT, Token, TokenError, TokenRules};
use crate::token_chains::TokenChains;
use crate::tokens::WallClock;
use crate::users::Users;

/// What a token service works with.
#[derive(Debug)]
pub struct TokenService {
    /// The first signs.
    pub signing: Vec<SigningKey>,
    /// What it makes is good by these rules.
    pub rules: TokenRules,
    /// Seconds that a token is good for.
    pub lifetime_secs: u64,
    /// Who may ask.
    pub organizations: Organizations,
    /// What is claimed of whom.
    pub users: Users,
    /// Who gets none.
    pub revocations: Revocations,
    /// Tokens that were refreshed.
    pub chains: TokenChains,
    /// The time of day.
    pub clock: Arc<dyn WallClock>,
    /// For identifiers.
    pub entropy: Arc<dyn Entropy>,
}

/// A token, with what its bearer needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token: a password.
    pub token: String,
    /// A user name to go with it, `NAME@ORGANISATION`.
    pub username: String,
    /// What it is refreshed by.
    pub id: String,
    /// Whom it is for.
    pub user: String,
    /// What let the asker in.
    pub provider: String,
    /// Unix time, in seconds.
    pub made_at: u64,
    /// Unix time, in seconds.
    pub expires_at: u64,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// There is no such organisation.
    #[error("there is no such organisation: check organization_id")]
    NoOrganization,
    /// It has no such provider.
    #[error("the organisation has no identity provider that has made this token (iss)")]
    NoProvider,
    /// The secret key is wrong.
    #[error("the secret key is not that of the organisation")]
    WrongSecret,
    /// The token that was shown is not good.
    #[error("{0}")]
    BadToken(#[from] TokenError),
    /// The token that was shown is another one.
    #[error("the token is not the one of token_id")]
    AnotherToken,
    /// The user is claimed to be of another organisation, or of none.
    #[error("the user is not one of the organisation: users are told apart by their org_id")]
    AnotherOrganization,
    /// The user that the token was made for is not there any more.
    #[error("the user of the token has been removed")]
    NoUser,
    /// Who asks is revoked.
    #[error("access was revoked: ask who runs this server")]
    Revoked,
    /// A broker would read something else from the token than what is meant.
    #[error(
        "the server cannot make this token: access.tokens.claims reads claims of it from where \
         the token service does not write them"
    )]
    Ambiguous,
    /// The name of the user cannot be one.
    #[error("user_email is empty, too long, or has control characters in it")]
    BadName,
    /// There is no key, or what must be kept cannot be.
    #[error("the server cannot make tokens: its log says why")]
    Broken,
}

impl TokenService {
    /// A token for a user of an organisation, for who has its secret key.
    pub fn create(
        &self,
        organization: &str,
        secret: &str,
        user: &str,
    ) -> Result<IssuedToken, NoToken> {
        let known = self.organization(organization)?;
        if !known.secret.as_ref().is_some_and(|hash| hash.is_of(secret)) {
            return Err(NoToken::WrongSecret);
        }
        if user.is_empty() || user.len() > LONGEST_NAME || user.contains(char::is_control) {
            return Err(NoToken::BadName);
        }
        let claims = self.user_of(organization, user)?.unwrap_or_default();
        self.issue(user, of_organization(claims, organization)?, Origin::Itself, BY_SECRET)
    }

    /// A token for whom an identity provider of the organisation has verified.
    pub fn exchange(&self, organization: &str, token: &str) -> Result<IssuedToken, NoToken> {
        let known = self.organization(organization)?;
        let now = self.clock.unix_secs();
        let mut refused = NoToken::NoProvider;
        for provider in &known.providers {
            match provider.verify(token.as_bytes(), now) {
                Ok(token) => return self.exchange_verified(organization, provider, token),
                // Another provider's.
                Err(TokenError::Issuer | TokenError::UnknownKey) => {}
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    fn exchange_verified(
        &self,
        organization: &str,
        provider: &Provider,
        mut token: Token,
    ) -> Result<IssuedToken, NoToken> {
        self.user_of(organization, &token.name)?;
        token.claims = of_organization(provider.believed(token.claims), organization)?;
        self.admit(&token)?;
        let origin = Origin::Token { made_at: token.made_at };
        self.issue(&token.name, token.claims, origin, &provider.name)
    }

    /// A token for the bearer of another one, which stays good as long as this one. If something
    /// else is claimed of him by now, the other one ends when it was to.
    pub fn refresh(&self, id: &str, token: &str) -> Result<IssuedToken, NoToken> {
        let now = self.clock.unix_secs();
        let keys = KeySet::read(&self.public_keys()).map_err(|_| NoToken::Broken)?;
        let payload = Token::payload(token.as_bytes(), &keys)?;
        let known = Token::read(&payload, &self.rules, now, &self.chains)?;
        if known.chain.as_deref() != Some(id) {
            return Err(NoToken::AnotherToken);
        }
        self.admit(&known)?;
        let provider = payload.get(PROVIDER).and_then(Value::as_str).unwrap_or_default();
        let claims = self.claims_by_now(&known, provider)?;
        let made_at = known.made_at;
        let origin = match claims == known.claims {
            true => Origin::Chain { id, made_at },
            false => Origin::Token { made_at },
        };
        let issued = self.issue(&known.name, claims, origin, provider)?;
        if issued.id == id {
            let kept = self.chains.refresh(id, issued.expires_at, now);
            kept.map_err(|_| NoToken::Broken)?;
        }
        Ok(IssuedToken { provider: "refresh".into(), ..issued })
    }

    /// What is claimed now of the bearer of a token that this service has made by what `provider`
    /// says.
    fn claims_by_now(&self, token: &Token, provider: &str) -> Result<Claims, NoToken> {
        let organization = token.claims.org_id.as_deref().unwrap_or_default();
        let known = self.organization(organization)?;
        let listed = self.user_of(organization, &token.name)?;
        if provider != BY_SECRET {
            let known = known.providers.iter().find(|it| it.name == provider);
            let claims = known.map(|provider| provider.believed(token.claims.clone()));
            return claims.ok_or(NoToken::NoProvider);
        }
        let nothing = of_organization(Claims::default(), organization)?;
        // Somebody can be of an organisation without being listed, but then that is all.
        let is_unlisted = listed.is_none() && token.claims != nothing;
        if is_unlisted { Err(NoToken::NoUser) } else { Ok(listed.unwrap_or(nothing)) }
    }

    /// What is claimed of a user of the organisation; `None` if nobody is listed by the name.
    fn user_of(&self, organization: &str, name: &str) -> Result<Option<Claims>, NoToken> {
        match self.users.get(name).map(|user| &user.claims) {
            Some(claims) if claims.org_id.as_deref() != Some(organization) => {
                Err(NoToken::AnotherOrganization)
            }
            claims => Ok(claims.cloned()),
        }
    }

    /// Refuses who is revoked.
    fn admit(&self, token: &Token) -> Result<(), NoToken> {
        let now = self.clock.unix_secs();
        let is_revoked = self.revocations.hold_for(&token.principal(), "", None, now);
        if is_revoked { Err(NoToken::Revoked) } else { Ok(()) }
    }

    /// The identity providers of an organisation, by name.
    pub fn providers(&self, organization: &str) -> Result<Vec<&str>, NoToken> {
        let known = self.organization(organization)?;
        Ok(known.providers.iter().map(|provider| provider.name.as_str()).collect())
    }

    /// The key set with which others can verify its tokens.
    #[must_use]
    pub fn public_keys(&self) -> String {
        SigningKey::write_public(&self.signing)
    }

    fn organization(&self, name: &str) -> Result<&Organization, NoToken> {
        self.organizations.get(name).ok_or(NoToken::NoOrganization)
    }

    /// Makes a token, if a broker of the same rules takes it for what is meant.
    fn issue(
        &self,
        name: &str,
        claims: Claims,
        origin: Origin<'_>,
        provider: &str,
    ) -> Result<IssuedToken, NoToken> {
        let now = self.clock.unix_secs();
        let id = self.random_id();
        let (chain, made_at) = match origin {
            Origin::Itself => (id.as_str(), now),
            Origin::Token { made_at } => (id.as_str(), made_at.min(now)),
            Origin::Chain { id, made_at } => (id, made_at.min(now)),
        };
        let expires_at = now + self.lifetime_secs;
        let username = match &claims.org_id {
            Some(organization) => format!("{name}@{organization}"),
            None => name.to_owned(),
        };
        let (id, chain) = (Some(id.clone()), Some(chain.to_owned()));
        let token = Token { name: name.to_owned(), claims, expires_at, id, made_at, chain };
        let payload = self.payload(&token, now, provider);
        let read = Token::read(&payload, &self.rules, now, &self.chains);
        // A chain may be good for longer.
        if read.map(|read| Token { expires_at, ..read }).as_ref() != Ok(&token) {
            return Err(NoToken::Ambiguous);
        }
        self.admit(&token)?;
        let signed = self.signing.first().and_then(|key| key.sign(&payload));
        Ok(IssuedToken {
            token: signed.ok_or(NoToken::Broken)?,
            username,
            id: token.chain.unwrap_or_default(),
            user: token.name,
            provider: provider.to_owned(),
            made_at: now,
            expires_at,
        })
    }

    /// What a token of these contents says, made now.
    fn payload(&self, token: &Token, now: u64, provider: &str) -> Map<String, Value> {
        let mut payload = Map::new();
        for (claim, value) in token.claims.to_object() {
            payload.insert(self.rules.claims.member(&claim).to_owned(), value);
        }
        for (member, value) in [
            ("sub", json!(token.name)),
            ("iat", json!(now)),
            ("exp", json!(token.expires_at)),
            ("jti", json!(token.id)),
            ("chain", json!(token.chain)),
            (CHAIN_MADE_AT, json!(token.made_at)),
            (PROVIDER, json!(provider)),
        ] {
            payload.insert(member.into(), value);
        }
        let issuer = self.rules.issuers.first().map(|it| ("iss".to_owned(), json!(it)));
        payload.extend(issuer);
        let audience = Some(&self.rules.audience).filter(|it| !it.is_empty());
        payload.extend(audience.map(|it| ("aud".to_owned(), Value::String(it.clone()))));
        payload
    }

    fn random_id(&self) -> String {
        let mut bytes = [0; 15];
        self.entropy.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// What a token is made from.
#[derive(Debug, Clone, Copy)]
enum Origin<'a> {
    /// Nothing: a chain begins.
    Itself,
    /// A token that was made then: a chain begins, which is as old.
    Token { made_at: u64 },
    /// One of this chain, the first of which was made then.
    Chain { id: &'a str, made_at: u64 },
}

/// The claims of one who is of an organisation and of no other.
fn of_organization(mut claims: Claims, organization: &str) -> Result<Claims, NoToken> {
    let own = claims.org_id.get_or_insert_with(|| organization.to_owned());
    if own == organization { Ok(claims) } else { Err(NoToken::AnotherOrganization) }
}

/// The member that says what let the asker in when the chain began.
const PROVIDER: &str = "provider";
/// Its value for the secret key.
const BY_SECRET: &str = "secret_key";
/// Bytes of a user's name at most.
const LONGEST_NAME: usize = 320;
