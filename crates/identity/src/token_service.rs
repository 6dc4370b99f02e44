//! Makes tokens for those who can show something else: a secret key of their organisation, a token
//! of an identity provider, or an earlier token. What MQTT.Agent's clients ask over HTTP (§7).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::claims::Claims;
use crate::keys::KeySet;
use crate::organization::{Organization, Organizations};
use crate::passwords::Entropy;
use crate::signing::SigningKey;
use crate::token::{Token, TokenError, TokenRules};
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
    /// The claims of the user belong to another organisation.
    #[error("the user is one of another organisation")]
    AnotherOrganization,
    /// The name of the user cannot be one.
    #[error("user_email is empty or too long")]
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
        if user.is_empty() || user.len() > LONGEST_NAME {
            return Err(NoToken::BadName);
        }
        let claims = self.users.get(user).map(|it| it.claims.clone()).unwrap_or_default();
        let claims = of_organization(claims, organization)?;
        self.issue(user, claims, None, "secret_key")
    }

    /// A token for whom an identity provider of the organisation has verified.
    pub fn exchange(&self, organization: &str, token: &str) -> Result<IssuedToken, NoToken> {
        let known = self.organization(organization)?;
        let now = self.clock.unix_secs();
        let mut refused = NoToken::NoProvider;
        for provider in &known.providers {
            match provider.verify(token.as_bytes(), now) {
                Ok(token) => {
                    let claims = of_organization(token.claims, organization)?;
                    return self.issue(&token.name, claims, None, &provider.name);
                }
                // Another provider's.
                Err(TokenError::Issuer | TokenError::UnknownKey) => {}
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    /// A token like another one, which stays good as long as this one.
    pub fn refresh(&self, id: &str, token: &str) -> Result<IssuedToken, NoToken> {
        let now = self.clock.unix_secs();
        let keys = KeySet::read(&self.public_keys()).map_err(|_| NoToken::Broken)?;
        let known = Token::verify_in(token.as_bytes(), &keys, &self.rules, now, &self.chains)?;
        if known.chain.as_deref() != Some(id) {
            return Err(NoToken::AnotherToken);
        }
        let issued = self.issue(&known.name, known.claims, Some(id), "refresh")?;
        let kept = self.chains.refresh(id, issued.expires_at, now);
        kept.map_err(|_| NoToken::Broken)?;
        Ok(issued)
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

    fn issue(
        &self,
        name: &str,
        claims: Claims,
        chain: Option<&str>,
        provider: &str,
    ) -> Result<IssuedToken, NoToken> {
        let now = self.clock.unix_secs();
        let id = self.random_id();
        let chain = chain.unwrap_or(&id);
        let expires_at = now + self.lifetime_secs;
        let username = match &claims.org_id {
            Some(organization) => format!("{name}@{organization}"),
            None => name.to_owned(),
        };
        let mut payload = Map::new();
        for (claim, value) in claims.to_object() {
            payload.insert(self.rules.claims.member(&claim).to_owned(), value);
        }
        for (member, value) in [
            ("sub", json!(name)),
            ("iat", json!(now)),
            ("exp", json!(expires_at)),
            ("jti", json!(id)),
            ("chain", json!(chain)),
        ] {
            payload.insert(member.into(), value);
        }
        let issuer = self.rules.issuers.first().map(|it| ("iss".to_owned(), json!(it)));
        payload.extend(issuer);
        let audience = Some(&self.rules.audience).filter(|it| !it.is_empty());
        payload.extend(audience.map(|it| ("aud".to_owned(), Value::String(it.clone()))));
        let token = self.signing.first().and_then(|key| key.sign(&payload));
        Ok(IssuedToken {
            token: token.ok_or(NoToken::Broken)?,
            username,
            id: chain.to_owned(),
            user: name.to_owned(),
            provider: provider.to_owned(),
            made_at: now,
            expires_at,
        })
    }

    fn random_id(&self) -> String {
        let mut bytes = [0; 15];
        self.entropy.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// The claims of one who is of an organisation and of no other.
fn of_organization(mut claims: Claims, organization: &str) -> Result<Claims, NoToken> {
    let own = claims.org_id.get_or_insert_with(|| organization.to_owned());
    if own == organization { Ok(claims) } else { Err(NoToken::AnotherOrganization) }
}

/// Bytes of a user's name at most.
const LONGEST_NAME: usize = 320;
