//! Which requests are listened to at all: those that mean this server (Host), and that no web page
//! of somebody else has sent (Origin). Without it a page that a person looks at could ask a server
//! on the person's own machine (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;

/// The names that the server is reached by.
#[derive(Debug, Clone, Default)]
pub struct Doorkeeper {
    hosts: Arc<Vec<String>>,
}

impl Doorkeeper {
    /// `localhost` and addresses of this machine, and these names, without a port.
    #[must_use]
    pub fn new(hosts: Vec<String>) -> Self {
        Self { hosts: Arc::new(hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect()) }
    }

    fn check(&self, headers: &HeaderMap, authority: Option<&Authority>) -> Result<(), Refusal> {
        let mut all = headers.get_all(header::HOST).iter();
        let host = match (all.next(), all.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            (None, _) => authority.map(Authority::as_str).unwrap_or_default(),
            _ => "",
        };
        // Whoever names a server in the request line means that one, whatever Host says.
        let is_meant = authority.is_none_or(|authority| self.is_ours(authority.as_str()));
        if !is_meant || !self.is_ours(host) {
            let why = "this server does not have the name in Host: use another address, or add the \
                       name to admin.hosts";
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", why));
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        let is_own = origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host));
        if is_own {
            return Ok(());
        }
        let why = "requests of other web pages are not answered (Origin)";
        Err(Refusal::new(StatusCode::FORBIDDEN, "wrong_origin", why))
    }

    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host().to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        name == "localhost" || is_loopback || self.hosts.iter().any(|known| known == bare)
    }
}

/// Turns away what the doorkeeper does not know.
pub(crate) async fn keep(
    State(doorkeeper): State<Doorkeeper>,
    request: Request,
    next: Next,
) -> Response {
    match doorkeeper.check(request.headers(), request.uri().authority()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(host: &str, origin: Option<&str>) -> u16 {
        let doorkeeper = Doorkeeper::new(vec!["MQ.example".into()]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        doorkeeper.check(&headers, None).map_or_else(|it| it.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_its_own_names_are_listened_to() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "[::1]:8080",
            "mq.example",
            "MQ.EXAMPLE:1",
        ] {
            assert_eq!(status(host, None), 200, "{host}");
        }
        for host in [
            "",
            "evil.test",
            "localhost.evil.test",
            "10.0.0.1",
            "user@localhost",
            "mq.example.",
            "127.0.0.1.nip.io",
            "a b",
        ] {
            assert_eq!(status(host, None), 421, "{host}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::HOST, "localhost".parse().unwrap());
        twice.append(header::HOST, "evil.test".parse().unwrap());
        assert!(Doorkeeper::default().check(&twice, None).is_err());
        let mut local = HeaderMap::new();
        local.insert(header::HOST, "localhost".parse().unwrap());
        let check = |line| Doorkeeper::default().check(&local, Some(&Authority::from_static(line)));
        assert!(check("localhost").is_ok() && check("evil.test").is_err());
    }

    #[test]
    fn pages_of_others_are_not() {
        assert_eq!(status("localhost:8080", Some("http://localhost:8080")), 200);
        for origin in
            ["http://evil.test", "null", "http://localhost:9999", "", "http://localhost:8080.evil"]
        {
            assert_eq!(status("localhost:8080", Some(origin)), 403, "{origin}");
        }
    }
}
