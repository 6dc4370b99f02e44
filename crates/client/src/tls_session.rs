//! TLS without a socket, for whoever has an event loop of its own.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, ProtocolVersion};
use rustls_pki_types::ServerName;

use crate::{Endpoint, Error, Tls};

/// Opens TLS sessions with one broker. The files of its settings are read once.
#[derive(Debug, Clone)]
pub struct TlsSessions {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    at: String,
}

/// One connection's TLS: bytes in, bytes out.
#[derive(Debug)]
pub struct TlsSession {
    connection: ClientConnection,
    at: String,
}

impl TlsSessions {
    /// Sessions with the broker at `endpoint`.
    pub fn new(tls: &Tls, endpoint: &Endpoint) -> Result<Self, Error> {
        let (config, server) = (tls.config(false)?, tls.server(endpoint)?);
        Ok(Self { config, server, at: endpoint.to_string() })
    }

    /// A session that has said nothing yet: [`TlsSession::seal`] brings its first bytes.
    pub fn open(&self) -> Result<TlsSession, Error> {
        let (config, server) = (Arc::clone(&self.config), self.server.clone());
        let mut connection = ClientConnection::new(config, server)
            .map_err(|error| failed(&self.at, error.to_string()))?;
        connection.set_buffer_limit(None); // the caller bounds what is under way
        Ok(TlsSession { connection, at: self.at.clone() })
    }
}

impl TlsSession {
    /// Takes in what has arrived and appends what was in it to `plaintext`. Afterwards
    /// [`Self::seal`] may have something to send, whether or not the caller has.
    pub fn open(&mut self, mut arrived: &[u8], plaintext: &mut Vec<u8>) -> Result<(), Error> {
        while !arrived.is_empty() {
            let failed = |error: &dyn ToString| failed(&self.at, error.to_string());
            let taken = self.connection.read_tls(&mut arrived).map_err(|error| failed(&error))?;
            self.connection.process_new_packets().map_err(|error| failed(&error))?;
            match self.connection.reader().read_to_end(plaintext) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(failed(&error));
                }
                _ if taken == 0 => return Ok(()), // the broker has said that it says no more
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends to `out` what is to be sent: `plaintext`, which waits for the end of the handshake
    /// if need be, and what the protocol itself has to say.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let sealed = self.connection.writer().write_all(plaintext).and_then(|()| {
            while self.connection.wants_write() {
                self.connection.write_tls(out)?;
            }
            Ok(())
        });
        sealed.map_err(|error| failed(&self.at, error.to_string()))
    }

    /// Bytes by which a record's body is longer than what it carries; `None` before the handshake's
    /// end, and where the version leaves it open. In TLS 1.3 they are the type of the content and
    /// the tag, which is equally long in all its suites that anybody uses (RFC 8446, 5.2, B.4).
    pub fn record_overhead(&self) -> Option<usize> {
        let is_13 = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        (is_13 && !self.connection.is_handshaking()).then_some(1 + 16)
    }
}

fn failed(at: &str, why: String) -> Error {
    Error::Layer { layer: "TLS", at: at.to_owned(), why }
}
