//! The token service of MQTT.Agent over HTTP (§7 of its specification): `create`, `exchange`,
//! `refresh`, and the providers of an organisation.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use agentmq_audit::{Row, Trail, TrailError};
use agentmq_identity::{IssuedToken, NoToken, TokenError, TokenService};
use axum::body::Bytes;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::answer::{Refusal, json_answer};
use crate::rate::Rate;
use crate::services::Services;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source(pub(crate) IpAddr);

/// What token requests share.
#[derive(Debug, Clone)]
pub(crate) struct TokenDesk {
    pub(crate) services: Services,
    pub(crate) rate: Arc<Rate>,
    pub(crate) trail: Trail,
}

/// Who asks for a token, and how.
#[derive(Debug)]
struct Asked {
    way: &'static str,
    organization: Option<String>,
    source: Source,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Create {
    organization_id: String,
    secret_key: String,
    user_email: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Exchange {
    organization_id: String,
    token: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Refresh {
    token_id: String,
    current_token_password: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OfOrganization {
    organization_id: String,
}

/// `POST /v2/tokens/create`.
pub(crate) async fn create(
    State(desk): State<TokenDesk>,
    Extension(source): Extension<Source>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let service = desk.admit(source)?;
    let Create { organization_id, secret_key, user_email } = read(&body)?;
    let asked = Asked { way: "create", organization: Some(organization_id.clone()), source };
    let create =
        move |service: &TokenService| service.create(&organization_id, &secret_key, &user_email);
    desk.answer(service, asked, create).await
}

/// `POST /v2/tokens/exchange`.
pub(crate) async fn exchange(
    State(desk): State<TokenDesk>,
    Extension(source): Extension<Source>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let service = desk.admit(source)?;
    let Exchange { organization_id, token } = read(&body)?;
    let asked = Asked { way: "exchange", organization: Some(organization_id.clone()), source };
    desk.answer(service, asked, move |service| service.exchange(&organization_id, &token)).await
}

/// `POST /v2/tokens/refresh`.
pub(crate) async fn refresh(
    State(desk): State<TokenDesk>,
    Extension(source): Extension<Source>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let service = desk.admit(source)?;
    let Refresh { token_id, current_token_password } = read(&body)?;
    let asked = Asked { way: "refresh", organization: None, source };
    let refresh = move |service: &TokenService| service.refresh(&token_id, &current_token_password);
    desk.answer(service, asked, refresh).await
}

/// `GET /v2/providers?organization_id=`.
pub(crate) async fn providers(
    State(desk): State<TokenDesk>,
    Extension(source): Extension<Source>,
    Query(OfOrganization { organization_id }): Query<OfOrganization>,
) -> Result<Response, Refusal> {
    let service = desk.admit(source)?;
    let providers = service.providers(&organization_id).map_err(refusal)?;
    Ok(json_answer(&json!({ "providers": providers })))
}

impl TokenDesk {
    fn admit(&self, source: Source) -> Result<Arc<TokenService>, Refusal> {
        if !self.rate.allows(source.0, Instant::now()) {
            let why = "too many requests from this address: try again in some seconds";
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", why));
        }
        self.services.tokens().ok_or_else(|| {
            let why = "this server makes no tokens: set access.service.organizations";
            Refusal::new(StatusCode::NOT_FOUND, "not_found", why)
        })
    }
}

/// The clients' bodies are JSON objects, whatever their Content-Type says.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let bad = |why: &dyn std::fmt::Display| {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", format!("the body: {why}"))
    };
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad(&"it is no JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| bad(&error))
}

impl TokenDesk {
    /// Makes a token aside: it may wait for a disk, or for the keys of an issuer.
    async fn answer(
        &self,
        service: Arc<TokenService>,
        asked: Asked,
        make: impl FnOnce(&TokenService) -> Result<IssuedToken, NoToken> + Send + 'static,
    ) -> Result<Response, Refusal> {
        if !self.trail.is_ready() {
            return Err(unaudited(TrailError)); // a token that is refreshed lives on
        }
        let (lifetime, trail) = (service.lifetime_secs, self.trail.clone());
        let make = move || {
            let made = make(&service);
            asked.put_down(&made, &trail).map(|()| made)
        };
        let made = tokio::task::spawn_blocking(make).await.unwrap_or(Ok(Err(NoToken::Broken)));
        let made = made.map_err(unaudited)?;
        Ok(issued(made.map_err(refusal)?, lifetime))
    }
}

fn unaudited(error: TrailError) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", error.to_string())
}

impl Asked {
    /// Tells the audit log what came of it.
    fn put_down(
        self,
        made: &Result<IssuedToken, NoToken>,
        trail: &Trail,
    ) -> Result<(), TrailError> {
        let mut says = Map::new();
        let mut say = |name: &str, value: Value| {
            says.insert(name.to_owned(), value);
        };
        say("source", json!(self.source.0));
        say("way", json!(self.way));
        if let Some(organization) = self.organization {
            say("organization", json!(organization));
        }
        match made {
            Ok(issued) => {
                say("id", json!(issued.id));
                say("user", json!(issued.user));
                say("provider", json!(issued.provider));
                say("expires_at", json!(date(issued.expires_at)));
                trail.append(Row::new("token", says))
            }
            Err(no_token) => {
                say("attempt", json!("token"));
                say("why", json!(no_token.to_string()));
                trail.refused(says);
                Ok(())
            }
        }
    }
}

fn issued(issued: IssuedToken, lifetime: u64) -> Response {
    let IssuedToken { token, username, id, user, provider, made_at, expires_at } = issued;
    // Never left out, and never so far away that a timer of 2^31 milliseconds overflows: the
    // published clients would ask again at once, for ever.
    let refresh_at = made_at + lifetime * 9 / 10;
    json_answer(&json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "mqtt_credentials": { "username": username, "password": token },
        "token_id": id,
        "user_email": user,
        "provider": provider,
        "expires_at": date(expires_at),
        "refresh_recommended_at": date(refresh_at),
    }))
}

fn refusal(no_token: NoToken) -> Refusal {
    let (status, error) = match &no_token {
        NoToken::NoOrganization => (StatusCode::NOT_FOUND, "organization_not_found"),
        NoToken::NoProvider => (StatusCode::NOT_FOUND, "provider_not_found"),
        NoToken::WrongSecret => (StatusCode::UNAUTHORIZED, "invalid_secret"),
        NoToken::BadToken(TokenError::Expired) => (StatusCode::UNAUTHORIZED, "token_expired"),
        NoToken::BadToken(_) | NoToken::AnotherToken => (StatusCode::UNAUTHORIZED, "invalid_token"),
        NoToken::Revoked => (StatusCode::UNAUTHORIZED, "access_revoked"),
        NoToken::NoUser => (StatusCode::UNAUTHORIZED, "user_not_found"),
        NoToken::AnotherOrganization => (StatusCode::FORBIDDEN, "wrong_organization"),
        NoToken::BadName => (StatusCode::BAD_REQUEST, "invalid_request"),
        NoToken::Ambiguous | NoToken::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    };
    Refusal::new(status, error, no_token.to_string())
}

/// A Unix time as the clients read it, with its zone.
fn date(secs: u64) -> String {
    let date = i64::try_from(secs).ok().and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok());
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_their_zone() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(1_800_000_000), "2027-01-15T08:00:00Z");
    }
}
