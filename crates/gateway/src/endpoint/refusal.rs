//! Why an HTTP request is not answered, in words for programs and for people.

use std::convert::Infallible;

use agentmq_client::ReasonCode;
use agentmq_sdk::mcp;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::json;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    error: &'static str,
    why: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: &'static str, why: impl Into<String>) -> Self {
        Self { status, error, why: why.into() }
    }

    /// RFC 6750 §3.1: nothing was shown, so nothing is said of an error.
    pub(crate) fn no_token() -> Self {
        let why = "bring a token: Authorization: Bearer …";
        Self::new(StatusCode::UNAUTHORIZED, NO_TOKEN, why)
    }

    /// There is no room for more.
    pub(crate) fn busy(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", why)
    }

    pub(crate) fn into_response(self) -> Response<BoxBody<Bytes, Infallible>> {
        let Self { status, error, why } = self;
        let body = json!({ "error": error, "error_description": why }).to_string();
        let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            let challenge =
                if error == NO_TOKEN { "Bearer" } else { "Bearer error=\"invalid_token\"" };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// Why there is no connection to the bus, which is made with what the request has brought.
impl From<mcp::Error> for Refusal {
    fn from(error: mcp::Error) -> Self {
        if let mcp::Error::Subscription { .. } = &error {
            return Self::new(StatusCode::FORBIDDEN, "insufficient_scope", error.to_string());
        }
        let refused = match &error {
            mcp::Error::Mqtt(cause) => match cause.cause() {
                agentmq_client::Error::Refused { reason, text, .. } => Some((*reason, text)),
                _ => None,
            },
            _ => None,
        };
        let Some((reason, text)) = refused else {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string());
        };
        let why = text.clone().unwrap_or_else(|| reason.to_string());
        match reason {
            ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized | ReasonCode::Banned => {
                Self::new(StatusCode::UNAUTHORIZED, "invalid_token", why)
            }
            ReasonCode::ClientIdentifierNotValid => {
                Self::new(StatusCode::FORBIDDEN, "insufficient_scope", why)
            }
            _ => Self::busy(why),
        }
    }
}

const NO_TOKEN: &str = "no_token";
