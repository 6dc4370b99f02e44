//! Fetches key sets that issuers publish: over TLS that is verified, without following anybody
//! elsewhere, and no more than a key set can have.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CACHE_CONTROL, HeaderMap};
use hyper::{Request, StatusCode};

use crate::peer::{Peer, USER_AGENT, shown};

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The text.
    pub text: String,
    /// How long it may be used without asking again (Cache-Control: max-age).
    pub max_age: Option<Duration>,
}

/// Fetches texts. Blocks its thread.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// Authorities to trust instead of the system's, in PEM.
    pub ca: Option<PathBuf>,
}

impl Fetcher {
    /// What is wrong with an address that is to be fetched from; `None`: nothing.
    #[must_use]
    pub fn problem(url: &str) -> Option<&'static str> {
        Peer::problem(url, "whoever is on the way could give other keys: write https://")
    }

    /// The text at an address.
    pub fn fetch(&self, url: &str) -> Result<Fetched, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            match tokio::time::timeout(LONGEST, self.get(url)).await {
                Ok(fetched) => fetched,
                Err(_) => Err(format!("nothing whole came in {} s", LONGEST.as_secs())),
            }
        })
    }

    async fn get(&self, url: &str) -> Result<Fetched, String> {
        if let Some(problem) = Self::problem(url) {
            return Err(problem.into());
        }
        let peer = Peer::new(url, self.ca.as_deref())?;
        let mut line = peer.call().await?;
        let request = Request::get(peer.path())
            .header("host", peer.authority())
            .header("accept", "application/json, application/jwk-set+json")
            .header("user-agent", USER_AGENT)
            .body(Full::default())
            .map_err(shown)?;
        let response = line.sender.send_request(request).await.map_err(shown)?;
        let status = response.status();
        if status.is_redirection() {
            return Err("it is somewhere else (a redirect, which is not followed)".into());
        }
        if status != StatusCode::OK {
            return Err(format!("the answer is {status}"));
        }
        let max_age = max_age(response.headers());
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body =
            body.map_err(|error| format!("more than {MOST_BYTES} bytes, or half: {error}"))?;
        let text = String::from_utf8(body.to_bytes().to_vec()).map_err(|_| "it is not UTF-8")?;
        Ok(Fetched { text, max_age })
    }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let control = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let secs = control.split(',').find_map(|it| it.trim().strip_prefix("max-age="))?;
    secs.parse().ok().map(Duration::from_secs)
}

/// From the first byte to the last.
const LONGEST: Duration = Duration::from_secs(8);
const MOST_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_tls_or_from_this_machine() {
        for url in [
            "https://id.example/keys",
            "https://10.0.0.1:8443/",
            "http://127.0.0.1:80/keys",
            "http://[::1]/keys",
            "http://localhost/",
        ] {
            assert_eq!(Fetcher::problem(url), None, "{url}");
        }
        for url in ["http://id.example/keys", "http://10.0.0.1/", "file:///etc/passwd", "keys", ""]
        {
            assert!(Fetcher::problem(url).is_some(), "{url}");
        }
    }

    #[test]
    fn the_age_is_read_from_the_header() {
        let age = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, text.parse().unwrap());
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(age("public, max-age=300, must-revalidate"), Some(300));
        assert_eq!(age("no-store"), None);
        assert_eq!(age("max-age=x"), None);
    }
}
