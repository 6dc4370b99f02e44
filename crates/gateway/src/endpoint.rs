//! MCP over HTTP (Streamable HTTP): what is on the bus, for clients that come from elsewhere.
//!
//! Who brings a token is a client of the broker with that token as password, and may on the bus
//! what that client may. Its sessions are reached by nobody else: they are looked for among those
//! of the token only.

mod addresses;
mod body;
mod line;
mod lines;
mod refusal;
mod session;
mod sessions;
pub(crate) mod unread;
mod usage;

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use serde_json::{Value, json};

use crate::endpoint::body::{BodyRoom, Kept};
use crate::endpoint::line::Line;
use crate::endpoint::lines::Lines;
use crate::endpoint::refusal::Refusal;

/// The endpoint. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct McpHttp {
    lines: Lines,
    bodies: BodyRoom,
}

/// What its answers consist of.
pub type HttpAnswer = Response<BoxBody<Bytes, Infallible>>;

impl McpHttp {
    /// `connect` makes a connection to the broker for a client at an address. Tools of MQTT.Agent
    /// are those of `namespace`. Bodies have at most `longest_body` bytes.
    pub fn new(
        connect: impl Fn(SocketAddr) -> io::Result<UnixStream> + Send + Sync + 'static,
        namespace: Option<&str>,
        longest_body: usize,
    ) -> Self {
        Self {
            lines: Lines::new(connect, namespace, longest_body),
            bodies: BodyRoom::new(longest_body),
        }
    }

    /// Answers a request from an address. `is_let_in` is called when its sender is known.
    pub async fn answer<B>(
        &self,
        request: Request<B>,
        from: SocketAddr,
        is_let_in: impl FnOnce(),
    ) -> HttpAnswer
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let (mut parts, body) = request.into_parts();
        let answered = async {
            let token = Token::of(&parts.headers, parts.version, from)?;
            let line = self.lines.get(token.text(), from).await;
            let line = line.map_err(|refusal| match token {
                Token::Nothing if refusal.status == StatusCode::UNAUTHORIZED => Refusal::no_token(),
                _ => refusal,
            })?;
            is_let_in();
            // Nobody behind this has any business with it.
            parts.headers.remove(AUTHORIZATION);
            self.answer_in(&line, parts, body).await
        };
        answered.await.unwrap_or_else(|refusal: Refusal| refusal.into_response())
    }

    async fn answer_in<B>(
        &self,
        line: &Arc<Line>,
        mut parts: Parts,
        body: B,
    ) -> Result<HttpAnswer, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let session = match parts.headers.get(SESSION_ID) {
            Some(id) => {
                let known = line.sessions.name(id.to_str().unwrap_or_default());
                Some(known.ok_or_else(|| {
                    let why = "there is no such session: begin another one (initialize)";
                    Refusal::new(StatusCode::NOT_FOUND, "no_session", why)
                })?)
            }
            None => None,
        };
        let may_begin_session = session.is_none() && parts.method == Method::POST;
        let under_way = line.usage.begin(session).ok_or_else(|| {
            Refusal::busy("too many requests of this token are under way: end some first")
        })?;
        let whole = self.bodies.take(body).await?;
        if may_begin_session
            && let Some(why) = line.sessions.full()
            && is_initialize(&whole.bytes)
        {
            return Err(Refusal::busy(why));
        }
        let (method, text) = (parts.method.clone(), whole.bytes.clone());
        let is_json = is_json(&parts.headers);
        let unread = line.unread();
        unread.put_into(&mut parts.extensions);
        let answer = line.answer(Request::from_parts(parts, Full::new(whole.bytes))).await;
        drop(whole.room);
        match answer.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE if is_json => Ok(no_message(&text)),
            // Nothing is left to be done, and clients know this word for it.
            StatusCode::ACCEPTED if method == Method::DELETE => {
                Ok(answer_with(StatusCode::NO_CONTENT, Bytes::new()))
            }
            _ => Ok(answer.map(|body| Kept::new(body, (under_way, unread)).boxed())),
        }
    }
}

/// Whether a body is an `initialize`, which begins a session whatever revision it names.
fn is_initialize(text: &[u8]) -> bool {
    serde_json::from_slice::<Value>(text).is_ok_and(|message| message["method"] == "initialize")
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(JSON)
}

/// The answer to a body that is no message: JSON-RPC 2.0 §5.1.
fn no_message(text: &[u8]) -> HttpAnswer {
    let error = match serde_json::from_slice::<Value>(text) {
        Ok(message) => {
            let id = message.get("id").filter(|id| id.is_string() || id.is_number());
            let what = "the body is no JSON-RPC message of MCP";
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32600, "message": what } })
        }
        Err(error) => {
            let what = format!("the body is no JSON: {error}");
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32700, "message": what } })
        }
    };
    answer_with(StatusCode::BAD_REQUEST, error.to_string().into())
}

fn answer_with(status: StatusCode, text: Bytes) -> HttpAnswer {
    let has_text = !text.is_empty();
    let mut answer = Response::new(Full::new(text).boxed());
    *answer.status_mut() = status;
    if has_text {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    answer
}

/// What a request brings to show who sends it.
#[derive(Debug, PartialEq, Eq)]
enum Token<'r> {
    Bearer(&'r str),
    /// Nothing: from this machine only, and the broker still has a say.
    Nothing,
}

/// Whether a proxy has sent this, as far as one can see: it says so, or speaks HTTP/1.0, as proxies
/// do unless they are told otherwise.
fn is_proxied(headers: &HeaderMap, version: Version) -> bool {
    let of_proxies = |name: &str| {
        matches!(name, "via" | "forwarded" | "x-real-ip") || name.starts_with("x-forwarded-")
    };
    version < Version::HTTP_11 || headers.keys().any(|name| of_proxies(name.as_str()))
}

impl<'r> Token<'r> {
    fn of(headers: &'r HeaderMap, version: Version, from: SocketAddr) -> Result<Self, Refusal> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        match (all.next(), all.next()) {
            (Some(one), None) => {
                let text = one.to_str().ok();
                let (scheme, token) =
                    text.and_then(|text| text.split_once(' ')).unwrap_or_default();
                let token = token.trim();
                let is_one = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
                is_one.then_some(Token::Bearer(token)).ok_or_else(Refusal::no_token)
            }
            // Whoever is behind a proxy on this machine is not on this machine.
            (None, _) => {
                let is_neighbour = from.ip().to_canonical().is_loopback();
                (is_neighbour && !is_proxied(headers, version))
                    .then_some(Token::Nothing)
                    .ok_or_else(Refusal::no_token)
            }
            (Some(_), Some(_)) => Err(Refusal::no_token()),
        }
    }

    fn text(&self) -> Option<&'r str> {
        match self {
            Self::Bearer(token) => Some(token),
            Self::Nothing => None,
        }
    }
}

const JSON: &str = "application/json";
const SESSION_ID: &str = "mcp-session-id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_its_header_and_nowhere_else() {
        let (here, there) = (([127, 0, 0, 1], 1).into(), ([192, 0, 2, 1], 1).into());
        let read = |header: Option<&str>, from| {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|text| (AUTHORIZATION, text.parse().unwrap())));
            Token::of(&headers, Version::HTTP_11, from).map(|token| token.text().map(str::to_owned))
        };
        for from in [here, there] {
            assert_eq!(read(Some("Bearer a.b.c"), from), Ok(Some("a.b.c".into())));
            assert_eq!(read(Some("bearer  a.b.c "), from), Ok(Some("a.b.c".into())));
            for wrong in ["", "Bearer", "Bearer ", "Basic dTpw", "a.b.c"] {
                assert_eq!(read(Some(wrong), from), Err(Refusal::no_token()), "{wrong}");
            }
        }
        assert_eq!(read(None, here), Ok(None));
        assert_eq!(read(None, there), Err(Refusal::no_token()));
        for proxied in ["via", "forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-host"] {
            let mut headers = HeaderMap::new();
            headers.insert(proxied, "192.0.2.1".parse().unwrap());
            let read = Token::of(&headers, Version::HTTP_11, here);
            assert_eq!(read, Err(Refusal::no_token()), "{proxied}");
        }
        let none = HeaderMap::new();
        assert_eq!(Token::of(&none, Version::HTTP_2, here), Ok(Token::Nothing));
        assert_eq!(Token::of(&none, Version::HTTP_10, here), Err(Refusal::no_token()));
        let mut twice = HeaderMap::new();
        twice.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        twice.append(AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(Token::of(&twice, Version::HTTP_11, here), Err(Refusal::no_token()));
    }
}
