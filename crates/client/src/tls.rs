//! TLS for `mqtts` and `wss`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::{Endpoint, Error};

/// TLS settings. By default the system's certificate authorities are trusted and no client
/// certificate is shown.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM file with certificate authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM file with the client's certificate chain; needs `key`.
    pub cert: Option<PathBuf>,
    /// PEM file with the client's private key; needs `cert`.
    pub key: Option<PathBuf>,
    /// Name to expect in the server's certificate, if not the host of the address.
    pub server_name: Option<String>,
}

impl Tls {
    /// Reads the files. Blocks; they are small and read once per connection, so that renewed
    /// certificates are used at the next reconnection.
    pub(crate) fn config(&self, websocket: bool) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(Path::new("TLS"), error))?
            .with_root_certificates(self.roots()?);
        let mut config = match (&self.cert, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| failed(key, e))?;
                builder.with_client_auth_cert(chain, secret).map_err(|e| failed(cert, e))?
            }
            _ => return Err(Error::Invalid("a client certificate needs cert and key".into())),
        };
        config.alpn_protocols =
            vec![if websocket { b"http/1.1".to_vec() } else { b"mqtt".to_vec() }];
        Ok(Arc::new(config))
    }

    /// The name that the server's certificate must bear.
    pub(crate) fn server(&self, endpoint: &Endpoint) -> Result<ServerName<'static>, Error> {
        let name = self.server_name.as_ref().unwrap_or(&endpoint.host);
        ServerName::try_from(name.clone()).map_err(|_| Error::Layer {
            layer: "TLS",
            at: endpoint.to_string(),
            why: format!("{name:?} is not a host name"),
        })
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| failed(file, error))?;
                }
            }
            None => {
                // Some systems hold certificates that cannot be parsed; the others still count.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            let system = Path::new("the system's certificate store");
            return Err(failed(self.ca.as_deref().unwrap_or(system), "no certificate authority"));
        }
        Ok(roots)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(file, error))?;
    if chain.is_empty() {
        return Err(failed(file, "no certificate in the file"));
    }
    Ok(chain)
}

fn failed(at: &Path, why: impl ToString) -> Error {
    Error::File { at: at.display().to_string(), why: why.to_string() }
}
