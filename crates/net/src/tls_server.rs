//! TLS server identities, and how they are reloaded while connections go on.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig,
    UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::NetError;

/// The files a TLS listener works with, all of them PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then the intermediate ones.
    pub certificate_chain: PathBuf,
    /// The private key of the first certificate: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub private_key: PathBuf,
    /// Whether clients present certificates.
    pub client_certificates: ClientCertificates,
}

/// Whether clients present certificates, and the file with the authorities that may have issued
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    NotAsked,
    /// They may present one; a wrong one fails the handshake.
    Optional(PathBuf),
    /// They must present one.
    Required(PathBuf),
}

/// A TLS server identity that any number of listeners share and that can be reloaded while they
/// run. TLS 1.2 and 1.3, with the aws-lc-rs provider; no process-wide provider is installed or
/// used.
#[derive(Debug, Clone)]
pub struct TlsServer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: TlsFiles,
    current: RwLock<Configs>,
}

/// One identity, dressed for the two application protocols (RFC 7301). A client that offers
/// protocols must offer ours; one that offers none is served.
#[derive(Debug, Clone)]
struct Configs {
    mqtt: Arc<ServerConfig>,
    /// RFC 6455 runs on HTTP/1.1, and that is what browsers offer.
    websocket: Arc<ServerConfig>,
}

impl TlsServer {
    /// Reads the files.
    ///
    /// # Errors
    /// [`NetError::TlsFile`] with the file, the cause and the fix.
    pub fn load(files: TlsFiles) -> Result<Self, NetError> {
        let current = RwLock::new(Configs::load(&files)?);
        Ok(Self(Arc::new(Shared { files, current })))
    }

    /// Reads the files again. New connections get the new identity and authorities; those that
    /// exist go on. Session tickets issued before are no longer taken, so that nobody resumes under
    /// the old identity.
    ///
    /// # Errors
    /// As for [`TlsServer::load`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), NetError> {
        Self::reload_all(std::slice::from_ref(self))
    }

    /// [`TlsServer::reload`] for several at once.
    ///
    /// # Errors
    /// As for [`TlsServer::load`]; then all of them stay as they were.
    pub fn reload_all(servers: &[Self]) -> Result<(), NetError> {
        let fresh: Vec<Configs> = servers
            .iter()
            .map(|server| Configs::load(&server.0.files))
            .collect::<Result<_, _>>()?;
        for (server, configs) in servers.iter().zip(fresh) {
            *server.0.current.write().unwrap_or_else(PoisonError::into_inner) = configs;
        }
        Ok(())
    }

    /// The files it reads.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.0.files
    }

    /// A connection that waits for its ClientHello.
    pub(crate) fn connection(
        &self,
        for_websocket: bool,
    ) -> Result<UnbufferedServerConnection, NetError> {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let config = if for_websocket { current.websocket } else { current.mqtt };
        UnbufferedServerConnection::new(config).map_err(|error| NetError::Tls(error.to_string()))
    }
}

impl Configs {
    fn load(files: &TlsFiles) -> Result<Self, NetError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| NetError::Tls(error.to_string()))?;
        let builder = match &files.client_certificates {
            ClientCertificates::NotAsked => builder.with_no_client_auth(),
            ClientCertificates::Optional(file) | ClientCertificates::Required(file) => {
                let authorities = Arc::new(load_authorities(file)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(authorities, provider.clone());
                let verifier = match files.client_certificates {
                    ClientCertificates::Optional(_) => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let verifier = verifier.build().map_err(|error| {
                    complain(file, error.to_string(), "use the certificates of the authorities")
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let identity = load_identity(files, &provider)?;
        let mut mqtt = builder.with_cert_resolver(Arc::new(Identity(Arc::new(identity))));
        mqtt.alpn_protocols = vec![b"mqtt".to_vec()];
        mqtt.session_storage = Arc::new(NoServerSessionStorage {});
        if files.client_certificates == ClientCertificates::NotAsked {
            // Tickets let clients that reconnect skip the signature, which is what a reconnect
            // storm costs, and unlike a session cache they take no memory here.
            mqtt.ticketer =
                aws_lc_rs::Ticketer::new().map_err(|error| NetError::Tls(error.to_string()))?;
        } else {
            // A resumed session does not look at the client's certificate again: it would outlive
            // its expiry by half a day.
            mqtt.send_tls13_tickets = 0;
        }
        let mut websocket = mqtt.clone();
        websocket.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { mqtt: Arc::new(mqtt), websocket: Arc::new(websocket) })
    }
}

/// The same certificate for every name; notes which name was asked for, because the library does
/// not tell it for connections whose buffers we own.
#[derive(Debug)]
struct Identity(Arc<CertifiedKey>);

impl ResolvesServerCert for Identity {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED_NAME.set(hello.server_name().map(str::to_owned));
        Some(Arc::clone(&self.0))
    }
}

thread_local! {
    /// Set inside the library's call that processes a ClientHello, taken right after it.
    static ASKED_NAME: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The server name in the ClientHello that the library's last call on this thread processed, if
/// any.
pub(crate) fn take_asked_name() -> Option<String> {
    ASKED_NAME.take()
}

fn load_identity(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, NetError> {
    let chain = load_certificates(&files.certificate_chain)?;
    let file = &files.private_key;
    let key = PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::NoItemsFound => complain(
            file,
            "it holds no private key in PEM".to_owned(),
            "use a PKCS#8, PKCS#1 or SEC1 key that is not encrypted",
        ),
        error => unreadable(file, &error),
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => complain(
            file,
            format!(
                "it is not the key of the certificate in {}",
                files.certificate_chain.display()
            ),
            "use the two files that belong together",
        ),
        error => complain(file, error.to_string(), "use an ECDSA, Ed25519 or RSA key"),
    })
}

fn load_authorities(file: &Path) -> Result<RootCertStore, NetError> {
    let mut authorities = RootCertStore::empty();
    for certificate in load_certificates(file)? {
        authorities.add(certificate).map_err(|error| {
            complain(file, error.to_string(), "use the certificates of the authorities")
        })?;
    }
    Ok(authorities)
}

fn load_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(file, &error))?;
    if certificates.is_empty() {
        return Err(complain(
            file,
            "it holds no certificate in PEM".to_owned(),
            "use a file with -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(certificates)
}

fn unreadable(file: &Path, error: &pem::Error) -> NetError {
    match error {
        pem::Error::Io(error) => {
            complain(file, error.to_string(), "check the path and who may read it")
        }
        error => complain(file, error.to_string(), "use a file in PEM"),
    }
}

fn complain(file: &Path, cause: String, fix: &str) -> NetError {
    NetError::TlsFile { file: file.display().to_string(), cause, fix: fix.to_owned() }
}
