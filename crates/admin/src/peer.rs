//! An HTTP server that the broker asks: reached over TLS that is verified, or on this machine.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Where it is, and whom to believe that it is there.
pub(crate) struct Peer {
    uri: Uri,
    port: u16,
    tls: Option<(ServerName<'static>, TlsConnector)>,
}

/// A connection to it, which ends with this.
pub(crate) struct Line {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    driven: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driven.abort();
    }
}

impl Peer {
    /// What is wrong with an address that is to be asked; `None`: nothing. `why_tls` says why it
    /// must be https://.
    pub(crate) fn problem(url: &str, why_tls: &'static str) -> Option<&'static str> {
        let Ok(uri) = url.parse::<Uri>() else { return Some("it is no address") };
        let host = uri.host().unwrap_or_default();
        let is_local = host == "localhost" || address(host).is_some_and(|it| it.is_loopback());
        match uri.scheme_str() {
            _ if host.is_empty() => Some("it has no host"),
            Some("https") => None,
            Some("http") if is_local => None,
            Some("http") => Some(why_tls),
            _ => Some("write https://"),
        }
    }

    /// The server at an address. Authorities of `ca`, a PEM file, are trusted instead of the
    /// system's.
    pub(crate) fn new(url: &str, ca: Option<&Path>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "it is no address".to_owned())?;
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = match is_tls {
            true => Some((ServerName::try_from(host(&uri).to_owned()).map_err(shown)?, trust(ca)?)),
            false => None,
        };
        Ok(Self { uri, port, tls })
    }

    /// What to ask it for.
    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |it| it.as_str())
    }

    /// What it is called, for the header Host.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map(|it| it.as_str()).unwrap_or_default()
    }

    /// A new connection to it.
    pub(crate) async fn call(&self) -> Result<Line, String> {
        let stream = TcpStream::connect((host(&self.uri), self.port)).await.map_err(shown)?;
        let Some((name, connector)) = &self.tls else { return speak(stream).await };
        speak(connector.connect(name.clone(), stream).await.map_err(shown)?).await
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Line, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(shown)?;
    // What goes wrong with it, whoever sends hears.
    let driven = tokio::spawn(async { drop(connection.await) });
    Ok(Line { sender, driven })
}

fn trust(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let shown = file.display();
            let all = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| format!("{shown}: {error}"))?;
            if roots.add_parsable_certificates(all).0 == 0 {
                return Err(format!("{shown}: there is no certificate in it"));
            }
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

fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

pub(crate) fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What the broker calls itself.
pub(crate) const USER_AGENT: &str = concat!("agentmq/", env!("CARGO_PKG_VERSION"));
