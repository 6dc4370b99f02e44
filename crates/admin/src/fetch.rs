//! Fetches key sets that issuers publish: over TLS that is verified, without following anybody
//! elsewhere, and no more than a key set can have.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{CACHE_CONTROL, HeaderMap};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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
        let Ok(uri) = url.parse::<Uri>() else { return Some("it is no address") };
        let host = uri.host().unwrap_or_default();
        let is_local = host == "localhost" || address(host).is_some_and(|it| it.is_loopback());
        match uri.scheme_str() {
            _ if host.is_empty() => Some("it has no host"),
            Some("https") => None,
            Some("http") if is_local => None,
            Some("http") => Some("whoever is on the way could give other keys: write https://"),
            _ => Some("write https://"),
        }
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
        let uri: Uri = url.parse().map_err(|_| "it is no address".to_owned())?;
        if let Some(problem) = Self::problem(url) {
            return Err(problem.into());
        }
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
        if !is_tls {
            return request(stream, &uri).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = self.connector()?.connect(name, stream).await;
        request(stream.map_err(|error| error.to_string())?, &uri).await
    }

    fn connector(&self) -> Result<TlsConnector, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(file) => {
                let shown = file.display();
                let all = CertificateDer::pem_file_iter(file)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| format!("{shown}: {error}"))?;
                roots.add_parsable_certificates(all);
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
) -> Result<Fetched, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(shown)?;
    // It ends when the sender is dropped.
    let driven = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    let host = uri.authority().map(|it| it.as_str()).unwrap_or_default();
    let request = Request::get(path)
        .header("host", host)
        .header("accept", "application/json, application/jwk-set+json")
        .header("user-agent", concat!("agentmq/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(shown)?;
    let response = sender.send_request(request).await.map_err(shown)?;
    let status = response.status();
    if status.is_redirection() {
        return Err("it is somewhere else (a redirect, which is not followed)".into());
    }
    if status != StatusCode::OK {
        return Err(format!("the answer is {status}"));
    }
    let max_age = max_age(response.headers());
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| format!("more than {MOST_BYTES} bytes, or half: {error}"))?;
    drop(sender);
    driven.abort();
    let text = String::from_utf8(body.to_bytes().to_vec()).map_err(|_| "it is not UTF-8")?;
    Ok(Fetched { text, max_age })
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let control = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let secs = control.split(',').find_map(|it| it.trim().strip_prefix("max-age="))?;
    secs.parse().ok().map(Duration::from_secs)
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
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
