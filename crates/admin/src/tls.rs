//! HTTPS.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate and its key, in PEM files.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    /// The chain, the server's own first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl TlsIdentity {
    /// Reads the files, to say what is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        self.load().map(|_| ())
    }

    /// Reads the files; the error names file and cause.
    pub(crate) fn load(&self) -> Result<TlsAcceptor, String> {
        let (cert, key) = (self.cert.display(), self.key.display());
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("{cert}: {error}"))?;
        let private = PrivateKeyDer::from_pem_file(&self.key);
        let private = private.map_err(|error| format!("{key}: {error}"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| format!("{cert} with {key}: {error}"))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
