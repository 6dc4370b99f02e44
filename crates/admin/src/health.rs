//! Whether the broker is there, and the keys that its tokens are verified with.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::answer::{Refusal, json_answer};
use crate::services::Services;

/// `GET /healthz`.
pub(crate) async fn health() -> Response {
    json_answer(&json!({ "status": "ok" }))
}

/// `GET /.well-known/jwks.json`: the public keys (RFC 7517). Others keep them for a while.
pub(crate) async fn public_keys(State(services): State<Services>) -> Response {
    let Some(tokens) = services.tokens() else {
        let why = "this server makes no tokens: set access.service.organizations";
        return Refusal::new(StatusCode::NOT_FOUND, "not_found", why).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "max-age=300"),
    ];
    (headers, tokens.public_keys()).into_response()
}
