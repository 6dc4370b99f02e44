//! An MCP server that is reached by HTTP: where it is, what it wants to see, and whether it can be
//! reached.

mod client;
mod events;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use agentmq_client::{Endpoint, Options, Transport};
use agentmq_sdk::mcp::MESSAGE_BYTES;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio_util::sync::CancellationToken;

use crate::http_server::client::HttpClient;

/// The server's address, and the headers that it wants with each request.
#[derive(Clone)]
pub struct HttpServer {
    url: String,
    pub(crate) uri: Uri,
    pub(crate) options: Box<Options>,
    pub(crate) headers: HeaderMap,
}

/// Why a server cannot be asked so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongHttp {
    /// The address.
    #[error("{url:?} is no address of an MCP server: {why}")]
    Url {
        /// The address, without what may be secret.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A header.
    #[error("header {name:?}: {why}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl HttpServer {
    /// A server at `http://` or `https://`, which gets this token, and these headers by their
    /// names.
    pub fn new(
        url: &str,
        token: Option<&str>,
        headers: &[(String, String)],
    ) -> Result<Self, WrongHttp> {
        let shown = url.split(['?', '#']).next().unwrap_or_default().to_owned();
        let wrong = |why| WrongHttp::Url { url: shown.clone(), why };
        let uri: Uri = url.parse().map_err(|_| wrong("it is no address"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            let why = "it holds a user name: give secrets by --header or --token-file";
            return Err(WrongHttp::Url { url: String::new(), why });
        }
        let (transport, port) = match uri.scheme_str() {
            _ if host.is_empty() => return Err(wrong("it has no host")),
            Some("http") => (Transport::Ws, 80),
            Some("https") => (Transport::Wss, 443),
            _ => return Err(wrong("write https:// or http://")),
        };
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let wrong = |why| WrongHttp::Header { name: name.clone(), why };
            let key: HeaderName = name.parse().map_err(|_| wrong("it is no name of a header"))?;
            if OURS.contains(&key.as_str()) || (token.is_some() && key == AUTHORIZATION) {
                return Err(wrong("it is ours to set"));
            }
            let mut value: HeaderValue =
                value.parse().map_err(|_| wrong("its value cannot stand in a header"))?;
            value.set_sensitive(true);
            all.append(key, value);
        }
        if let Some(token) = token {
            let why = "it cannot stand in a header";
            let wrong = || WrongHttp::Header { name: "authorization".into(), why };
            let mut value: HeaderValue = format!("Bearer {token}").parse().map_err(|_| wrong())?;
            value.set_sensitive(true);
            all.append(AUTHORIZATION, value);
        }
        let is_local = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if transport == Transport::Ws && !is_local && !all.is_empty() {
            return Err(wrong("whoever is on the way can read tokens and headers: write https://"));
        }
        let port = uri.port_u16().unwrap_or(port);
        let path = uri.path().to_owned();
        let (username, password) = (None, None);
        let endpoint = Endpoint { transport, host, port, path, username, password };
        let options = Box::new(Options::for_endpoint(endpoint));
        Ok(Self { url: shown, uri, options, headers: all })
    }

    /// Its address, without what may be secret.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A way to it, for one session.
    pub(crate) fn transport(&self) -> (StreamableHttpClientTransport<HttpClient>, Reached) {
        let reached = Reached::default();
        let client = HttpClient::new(self.clone(), reached.clone());
        let config = StreamableHttpClientTransportConfig::with_uri(self.uri.to_string())
            .max_concurrent_requests(CONCURRENT)
            .max_sse_event_size(MESSAGE_BYTES)
            .max_json_response_size(MESSAGE_BYTES)
            // Another session knows nothing of this one: that is told, and begun from the start.
            .reinit_on_expired_session(false);
        (StreamableHttpClientTransport::with_client(client, config), reached)
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Whether a server can be reached. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    /// Cancelled when it cannot, or wants to know nothing of our session any more.
    pub(crate) lost: CancellationToken,
    why: Arc<Mutex<Option<String>>>,
}

impl Reached {
    /// It cannot. The first reason is the one that counts.
    pub(crate) fn lose(&self, why: String) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.lost.cancel();
    }

    pub(crate) fn why_not(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Headers that belong to HTTP and to MCP.
const OURS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];

/// Requests that are sent at once; those whose answers are streams have been.
const CONCURRENT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        let secret = [("X-Key".to_owned(), "s".to_owned())];
        for (url, is_good) in [
            ("https://mcp.example/mcp", true),
            ("http://127.0.0.1:8000/mcp", true),
            ("http://[::1]:8000/mcp", true),
            ("http://localhost/mcp", true),
            ("http://mcp.example/mcp", false),
            ("http://10.0.0.1/mcp", false),
        ] {
            assert_eq!(HttpServer::new(url, Some("t"), &[]).is_ok(), is_good, "{url}");
            assert_eq!(HttpServer::new(url, None, &secret).is_ok(), is_good, "{url}");
            assert!(HttpServer::new(url, None, &[]).is_ok(), "{url}");
        }
        for url in ["", "mcp.example", "ftp://a/", "/mcp", "https://", "https://u:p@a/"] {
            assert!(HttpServer::new(url, None, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let url = "https://mcp.example/mcp?key=hidden";
        let headers = [("X-Key".to_owned(), "hidden".to_owned())];
        let server = HttpServer::new(url, Some("hidden"), &headers).unwrap();
        assert_eq!(server.url(), "https://mcp.example/mcp");
        assert!(!format!("{server:?} {:?}", server.headers).contains("hidden"));
        let wrong = HttpServer::new("https://user:hidden@mcp.example", None, &[]).unwrap_err();
        assert!(!wrong.to_string().contains("hidden"), "{wrong}");
    }

    #[test]
    fn what_is_ours_to_set_is_nobody_elses() {
        let one = |name: &str, value: &str| {
            let headers = [(name.to_owned(), value.to_owned())];
            HttpServer::new("https://a/", Some("t"), &headers).is_ok()
        };
        assert!(one("X-Key", "a") && !one("X Key", "a") && !one("X-Key", "a\r\nHost: b"));
        assert!(!one("Host", "a") && !one("Mcp-Session-Id", "a") && !one("Authorization", "a"));
    }
}
