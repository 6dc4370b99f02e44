//! RFC 6455 section 4, server side: the HTTP request that turns a connection into a WebSocket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Which web pages may connect. Programs that are no browsers send no `Origin` and are not
/// restricted by this; their credentials are the broker's matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AllowedOrigins {
    /// Pages from the host that the request names, on any port; and when the connection comes in
    /// over loopback, only pages from loopback. Keeps foreign web pages from driving a broker that
    /// trusts its own machine or network.
    #[default]
    SameHost,
    /// Only these origins, such as `https://app.example`.
    Listed(Vec<String>),
    /// Pages from anywhere.
    Any,
}

/// What a listener expects of the request.
#[derive(Debug, Clone, Copy)]
pub struct UpgradeRules<'a> {
    /// The only path that is answered. A query behind it is ignored.
    pub path: &'a str,
    /// Which pages may connect.
    pub allowed_origins: &'a AllowedOrigins,
    /// The connection arrived at a loopback address.
    pub over_loopback: bool,
}

/// The outcome of reading a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// The end of the request has not arrived.
    Incomplete,
    /// The WebSocket is open once the response is sent.
    Accepted {
        /// How many bytes the request took; frames may follow it.
        length: usize,
        /// The response to send.
        response: Vec<u8>,
    },
    /// No WebSocket.
    Refused {
        /// The response to send before closing.
        response: Vec<u8>,
        /// Why, for the log.
        error: UpgradeError,
    },
}

/// Why a request was refused. The text is also the body of the response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// Not HTTP: the client probably has the wrong port.
    #[error("the client speaks {0}, but this is an MQTT over WebSocket listener")]
    NotHttp(&'static str),
    /// HTTP that cannot be parsed, or that breaks RFC 6455 section 4.1.
    #[error("this is an MQTT over WebSocket listener, and the request is malformed: {0}")]
    Malformed(&'static str),
    /// More than 8192 bytes or 64 header fields.
    #[error("the request has more than {MAX_REQUEST_BYTES} bytes or {MAX_HEADERS} header fields")]
    TooLarge,
    /// Another path than the listener's.
    #[error("this listener serves MQTT over WebSocket at {path} only")]
    WrongPath {
        /// The path it serves.
        path: String,
    },
    /// An ordinary HTTP request.
    #[error(
        "this is an MQTT over WebSocket listener: connect with an MQTT client that uses WebSocket \
         version 13 and the subprotocol mqtt"
    )]
    NotAnUpgrade,
    /// None of the offered subprotocols is MQTT [MQTT-6.0.0-3].
    #[error("none of the offered subprotocols is one of mqtt, mqttv5.0, mqttv3.1")]
    NoSubprotocol,
    /// The page is not allowed to connect.
    #[error(
        "pages from {origin} may not connect; add the origin to the allowed origins of the listener"
    )]
    Origin {
        /// The page's origin.
        origin: String,
    },
}

impl UpgradeError {
    const fn status(&self) -> &'static str {
        match self {
            Self::NotHttp(_) | Self::Malformed(_) | Self::NoSubprotocol => "400 Bad Request",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::WrongPath { .. } => "404 Not Found",
            Self::NotAnUpgrade => "426 Upgrade Required",
            Self::Origin { .. } => "403 Forbidden",
        }
    }
}

/// The longest request accepted, in bytes.
pub(crate) const MAX_REQUEST_BYTES: usize = 8192;
/// The most header fields accepted.
pub(crate) const MAX_HEADERS: usize = 64;

/// Reads the request at the beginning of `bytes`, of which the first `seen` were there at the last
/// call.
#[must_use]
pub fn upgrade(bytes: &[u8], seen: usize, rules: &UpgradeRules<'_>) -> Upgrade {
    match read_request(bytes, seen, rules) {
        Ok(None) => Upgrade::Incomplete,
        Ok(Some((length, response))) => Upgrade::Accepted { length, response },
        Err(error) => Upgrade::Refused { response: refusal(&error), error },
    }
}

fn read_request(
    bytes: &[u8],
    seen: usize,
    rules: &UpgradeRules<'_>,
) -> Result<Option<(usize, Vec<u8>)>, UpgradeError> {
    match bytes.first() {
        None => return Ok(None),
        Some(0x16) => return Err(UpgradeError::NotHttp("TLS")),
        Some(0x10) => return Err(UpgradeError::NotHttp("plain MQTT")),
        Some(byte) if byte.is_ascii_alphabetic() || byte.is_ascii_whitespace() => {}
        Some(_) => return Err(UpgradeError::NotHttp("something unknown")),
    }
    // Parsing starts only when a blank line has arrived, and looks for it in new bytes only: a
    // request that drips in byte by byte must not cost the square of its length.
    let fresh = bytes.get(seen.saturating_sub(3)..).unwrap_or_default();
    let blank_line = fresh.windows(2).any(|pair| pair == b"\n\n")
        || fresh.windows(3).any(|three| three == b"\n\r\n");
    if !blank_line {
        return if bytes.len() > MAX_REQUEST_BYTES {
            Err(UpgradeError::TooLarge)
        } else {
            Ok(None)
        };
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_REQUEST_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(UpgradeError::TooLarge);
        }
        Err(_) => return Err(UpgradeError::Malformed("it is not HTTP/1.1")),
    };
    if length > MAX_REQUEST_BYTES {
        return Err(UpgradeError::TooLarge);
    }
    Ok(Some((length, answer(&request, rules)?)))
}

fn answer(
    request: &httparse::Request<'_, '_>,
    rules: &UpgradeRules<'_>,
) -> Result<Vec<u8>, UpgradeError> {
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path != rules.path {
        return Err(UpgradeError::WrongPath { path: rules.path.to_owned() });
    }
    let upgrading = has_token(request, "Connection", "upgrade")
        && has_token(request, "Upgrade", "websocket")
        && request.method == Some("GET");
    if !upgrading || single(request, "Sec-WebSocket-Version")? != Some("13") {
        return Err(UpgradeError::NotAnUpgrade);
    }
    if request.version != Some(1) {
        return Err(UpgradeError::Malformed("it is not HTTP/1.1"));
    }
    let key = single(request, "Sec-WebSocket-Key")?
        .ok_or(UpgradeError::Malformed("Sec-WebSocket-Key is missing"))?;
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(UpgradeError::Malformed("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    let host = single(request, "Host")?;
    if let Some(origin) = single(request, "Origin")? {
        check_origin(origin, host, rules)?;
    }
    let subprotocol = choose_subprotocol(request)?;
    let mut response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Accept: "
        .to_vec();
    response.extend_from_slice(accept_key(key).as_bytes());
    if let Some(subprotocol) = subprotocol {
        // [MQTT-6.0.0-4]: the name the client offered, `mqtt` for those that follow the
        // specification.
        response.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        response.extend_from_slice(subprotocol.as_bytes());
    }
    response.extend_from_slice(b"\r\n\r\n");
    Ok(response)
}

/// The first offered subprotocol that means MQTT. A client that offers none is served without one,
/// as small devices and test tools need it; one that offers only others expects another protocol.
fn choose_subprotocol(
    request: &httparse::Request<'_, '_>,
) -> Result<Option<&'static str>, UpgradeError> {
    let mut offered = false;
    for name in list(request, "Sec-WebSocket-Protocol").filter(|name| !name.is_empty()) {
        offered = true;
        if let Some(known) = SUBPROTOCOLS.into_iter().find(|known| *known == name) {
            return Ok(Some(known));
        }
    }
    if offered { Err(UpgradeError::NoSubprotocol) } else { Ok(None) }
}

fn check_origin(
    origin: &str,
    host: Option<&str>,
    rules: &UpgradeRules<'_>,
) -> Result<(), UpgradeError> {
    let allowed = match rules.allowed_origins {
        AllowedOrigins::Any => true,
        AllowedOrigins::Listed(origins) => {
            origins.iter().any(|listed| listed.trim_end_matches('/').eq_ignore_ascii_case(origin))
        }
        AllowedOrigins::SameHost => {
            let page = origin.split_once("://").map(|(_, authority)| host_name(authority));
            match page.zip(host.map(host_name)) {
                None => false,
                // A name that an attacker makes resolve to 127.0.0.1 equals itself, but is not
                // loopback.
                Some((page, _)) if rules.over_loopback => is_loopback(page),
                Some((page, host)) => page.eq_ignore_ascii_case(host),
            }
        }
    };
    if allowed { Ok(()) } else { Err(UpgradeError::Origin { origin: origin.to_owned() }) }
}

/// The host of `host:port` or `[v6]:port`.
fn host_name(authority: &str) -> &str {
    if let Some((v6, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return v6;
    }
    authority.split_once(':').map_or(authority, |(host, _)| host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    // RFC 6455 section 1.3.
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

fn values<'a>(
    request: &'a httparse::Request<'_, '_>,
    name: &'a str,
) -> impl Iterator<Item = Option<&'a str>> {
    let headers =
        request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    headers.map(|header| str::from_utf8(header.value).ok().map(str::trim))
}

/// The value of a field that may occur once. Text beyond ASCII counts as malformed.
fn single<'a>(
    request: &'a httparse::Request<'_, '_>,
    name: &'a str,
) -> Result<Option<&'a str>, UpgradeError> {
    let mut values = values(request, name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(Some(value)), None) => Ok(Some(value)),
        (Some(None), _) => Err(UpgradeError::Malformed("a header field is not text")),
        (Some(_), Some(_)) => Err(UpgradeError::Malformed("a header field occurs twice")),
    }
}

/// The members of a comma-separated field, however many lines it takes.
fn list<'a>(
    request: &'a httparse::Request<'_, '_>,
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    values(request, name).flatten().flat_map(|value| value.split(',')).map(str::trim)
}

fn has_token(request: &httparse::Request<'_, '_>, name: &str, token: &str) -> bool {
    list(request, name).any(|member| member.eq_ignore_ascii_case(token))
}

fn refusal(error: &UpgradeError) -> Vec<u8> {
    let body = format!("{error}\n");
    // RFC 9110 section 15.5.22 and RFC 6455 section 4.4 want these two with 426.
    let upgrade = match error {
        UpgradeError::NotAnUpgrade => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
    };
    format!(
        "HTTP/1.1 {}\r\nConnection: close\r\n{upgrade}Content-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n{body}",
        error.status(),
        body.len(),
    )
    .into_bytes()
}

const SUBPROTOCOLS: [&str; 3] = ["mqtt", "mqttv5.0", "mqttv3.1"];

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn request(path: &str, more: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: broker.example:8083\r\nUpgrade: WebSocket\r\n\
             Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
        )
    }

    fn run(text: &str, allowed_origins: &AllowedOrigins, over_loopback: bool) -> Upgrade {
        let rules = UpgradeRules { path: "/mqtt", allowed_origins, over_loopback };
        upgrade(text.as_bytes(), 0, &rules)
    }

    fn accepted(text: &str) -> String {
        match run(text, &AllowedOrigins::SameHost, false) {
            Upgrade::Accepted { response, length } if length == text.len() => {
                String::from_utf8(response).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn refused(text: &str) -> (String, UpgradeError) {
        match run(text, &AllowedOrigins::SameHost, false) {
            Upgrade::Refused { response, error } => (String::from_utf8(response).unwrap(), error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_answered() {
        let more = format!("{KEY}Sec-WebSocket-Protocol: chat, mqttv3.1, mqtt\r\n");
        let response = accepted(&request("/mqtt?x=1", &more));
        assert!(response.starts_with("HTTP/1.1 101 "));
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(response.contains("Sec-WebSocket-Protocol: mqttv3.1\r\n"));
        assert!(response.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_client_without_subprotocol_is_served_and_one_with_others_is_not() {
        assert!(!accepted(&request("/mqtt", KEY)).contains("Sec-WebSocket-Protocol"));
        let chat = request("/mqtt", &format!("{KEY}Sec-WebSocket-Protocol: chat\r\n"));
        let (response, error) = refused(&chat);
        assert_eq!(error, UpgradeError::NoSubprotocol);
        assert!(response.starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn refusals_have_their_status_and_say_what_this_is() {
        let two_keys = request("/mqtt", &format!("{KEY}{KEY}"));
        let many = (0..70).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
        for (text, status, words) in [
            (request("/", KEY), 404, "at /mqtt only"),
            ("GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n".into(), 426, "MQTT over WebSocket listener"),
            ("POST /mqtt HTTP/1.1\r\nHost: x\r\n\r\n".into(), 426, "MQTT over WebSocket listener"),
            (request("/mqtt", KEY).replace("13", "8"), 426, "version 13"),
            (request("/mqtt", KEY).replace("HTTP/1.1", "HTTP/1.0"), 400, "HTTP/1.1"),
            (request("/mqtt", ""), 400, "Key is missing"),
            (request("/mqtt", &KEY.replace("dGhl", "")), 400, "16 bytes"),
            (two_keys, 400, "twice"),
            (request("/mqtt", &many), 431, "header fields"),
            ("GET \r\n\r\n".into(), 400, "MQTT over WebSocket listener"),
            ("\x10\x0c".into(), 400, "plain MQTT"),
            ("\x16\x03".into(), 400, "TLS"),
            ("\x7f".into(), 400, "unknown"),
            (format!("GET /{} HTTP/1.1", "x".repeat(MAX_REQUEST_BYTES)), 431, "8192 bytes"),
        ] {
            let (response, _) = refused(&text);
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {response}");
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(body.contains(words), "{text}: {response}");
            assert!(head.contains(&format!("Content-Length: {}", body.len())));
        }
    }

    #[test]
    fn origins_are_checked() {
        let listed = AllowedOrigins::Listed(vec!["https://app.example".into()]);
        let (same, any) = (AllowedOrigins::SameHost, AllowedOrigins::Any);
        for (origin, rule, over_loopback, allowed) in [
            ("https://app.example", &listed, false, true),
            ("HTTPS://App.Example", &listed, true, true),
            ("https://app.example:444", &listed, false, false),
            ("http://app.example", &listed, false, false),
            ("null", &listed, false, false),
            ("null", &any, true, true),
            ("http://broker.example:8080", &same, false, true),
            ("http://evil.example", &same, false, false),
            ("null", &same, false, false),
            // A rebound name is same-host, but over loopback only loopback pages may come.
            ("http://broker.example:8083", &same, true, false),
            ("http://localhost:5173", &same, true, true),
            ("http://[::1]:5173", &same, true, true),
            ("http://127.0.0.1", &same, true, true),
        ] {
            let text = request("/mqtt", &format!("{KEY}Origin: {origin}\r\n"));
            match run(&text, rule, over_loopback) {
                Upgrade::Accepted { .. } => assert!(allowed, "{origin}"),
                Upgrade::Refused { response, .. } => {
                    assert!(!allowed, "{origin}");
                    assert!(response.starts_with(b"HTTP/1.1 403 "));
                }
                Upgrade::Incomplete => panic!("{origin}"),
            }
        }
    }

    #[test]
    fn a_request_in_pieces_is_read_once_complete() {
        let text = request("/mqtt", KEY);
        let rules = UpgradeRules {
            path: "/mqtt",
            allowed_origins: &AllowedOrigins::SameHost,
            over_loopback: false,
        };
        for end in 0..text.len() {
            let seen = end.saturating_sub(1);
            assert_eq!(upgrade(&text.as_bytes()[..end], seen, &rules), Upgrade::Incomplete);
        }
        let last = upgrade(text.as_bytes(), text.len() - 1, &rules);
        assert!(matches!(last, Upgrade::Accepted { .. }));
    }
}
