//! TLS on one connection (RFC 8446, RFC 5246): handshake, records and alerts, without buffers
//! while idle.

use std::cell::RefCell;
use std::io;
use std::mem;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

use crate::error::NetError;
use crate::peer::TlsPeer;
use crate::socket::Arrived;
use crate::tls_server::take_asked_name;
use crate::wire::Wire;

/// The TLS layer of one link. Its buffers are ours, not the library's, so that an idle connection
/// keeps none: records are opened in a scratch buffer that all links of a thread share, and only
/// what is incomplete is put aside.
pub(crate) struct TlsStream {
    connection: UnbufferedServerConnection,
    /// Arrived bytes that do not make a complete record or handshake message yet; at most
    /// [`MAX_INCOMING`].
    incoming: Vec<u8>,
    /// Opened bytes that did not fit the caller's buffer; at most what `incoming` held.
    plaintext: Vec<u8>,
    /// `incoming` may hold complete records, because the caller's buffer was full.
    unprocessed: bool,
    /// The peer sent `close_notify`.
    peer_closed: bool,
    server_name: Option<String>,
    /// Something went wrong: what the library knows and what is kept here may no longer agree,
    /// and it must not be called again.
    failed: bool,
    /// The first byte that ever arrived.
    opening: Option<u8>,
}

/// What to do once the connection may send.
#[derive(Debug, Clone, Copy)]
enum Action<'a> {
    Nothing,
    Encrypt(&'a [u8]),
    Close,
}

impl TlsStream {
    pub(crate) fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            connection,
            incoming: Vec::new(),
            plaintext: Vec::new(),
            unprocessed: false,
            peer_closed: false,
            server_name: None,
            failed: false,
            opening: None,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(crate) fn peer(&self) -> Option<TlsPeer> {
        let suite = self.connection.negotiated_cipher_suite()?;
        let version = self.connection.protocol_version()?;
        if self.is_handshaking() {
            return None;
        }
        let chain = self.connection.peer_certificates().unwrap_or_default();
        Some(TlsPeer {
            certificates: chain.iter().map(|certificate| certificate.to_vec()).collect(),
            server_name: self.server_name.clone(),
            cipher_suite: format!("{:?}", suite.suite()),
            version: format!("{version:?}"),
        })
    }

    /// Reads the wire once at most and opens what has arrived into `buf`. What the handshake wants
    /// to say, and the alert that goes with an error, is appended to `out`.
    pub(crate) fn read(
        &mut self,
        wire: &mut Wire,
        buf: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<Arrived> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let held_back = !self.plaintext.is_empty() || self.unprocessed;
        let mut bytes = 0;
        if !self.plaintext.is_empty() {
            bytes = self.plaintext.len().min(buf.len());
            let rest = self.plaintext.split_off(bytes);
            let opened = mem::replace(&mut self.plaintext, rest);
            buf.get_mut(..bytes).unwrap_or_default().copy_from_slice(&opened);
        }
        let mut arrived = Arrived::default();
        if self.plaintext.is_empty() {
            let room = buf.get_mut(bytes..).unwrap_or_default();
            arrived = SCRATCH
                .with_borrow_mut(|scratch| {
                    self.read_wire((!held_back).then_some(wire), scratch, room, out)
                })
                .inspect_err(|_| self.failed = true)?;
            bytes += arrived.bytes;
        }
        let all_opened = self.plaintext.is_empty() && !self.unprocessed;
        Ok(Arrived {
            bytes,
            drained: arrived.drained && all_opened,
            blocked: arrived.blocked && all_opened,
            ended: (arrived.ended || self.peer_closed) && all_opened,
        })
    }

    /// Puts what waits and what the wire brings, if it is to be read, into the scratch buffer and
    /// opens it. Returns the plaintext bytes with the end of the wire.
    fn read_wire(
        &mut self,
        wire: Option<&mut Wire>,
        scratch: &mut Vec<u8>,
        buf: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<Arrived> {
        scratch.resize(MAX_INCOMING + READ, 0);
        let waiting = mem::take(&mut self.incoming);
        let (front, free) = scratch.split_at_mut(waiting.len().min(MAX_INCOMING));
        front.copy_from_slice(&waiting);
        let mut arrived = Arrived::default();
        if let Some(wire) = wire {
            arrived = wire.read(free.get_mut(..READ).unwrap_or_default())?;
            let fresh = free.get(..arrived.bytes).unwrap_or_default();
            self.opening = self.opening.or_else(|| fresh.first().copied());
        }
        let filled = scratch.get_mut(..waiting.len() + arrived.bytes);
        let bytes = self.open(filled.unwrap_or_default(), buf, out)?;
        Ok(Arrived { bytes, ..arrived })
    }

    /// Opens `tls` into `buf` and puts aside what is left of it.
    fn open(&mut self, tls: &mut [u8], buf: &mut [u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let (used, bytes) = self.process(tls, buf, out, Action::Nothing)?;
        let rest = tls.get(used..).unwrap_or_default();
        if rest.len() > MAX_INCOMING {
            return Err(NetError::Tls("a handshake message is too long".to_owned()).into());
        }
        self.incoming = rest.to_vec();
        self.unprocessed = !self.plaintext.is_empty() && !rest.is_empty();
        Ok(bytes)
    }

    /// Encrypts application bytes and appends the records to `out`.
    pub(crate) fn encrypt(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.send(out, Action::Encrypt(bytes))
    }

    /// Appends `close_notify`. During the handshake there is nothing to say.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.send(out, Action::Close)
    }

    fn send(&mut self, out: &mut Vec<u8>, action: Action<'_>) -> io::Result<()> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Half a post-handshake message may wait, and the library wants to see it in each call.
        let mut incoming = mem::take(&mut self.incoming);
        let (used, _) = self
            .process(&mut incoming, &mut [], out, action)
            .inspect_err(|_| self.failed = true)?;
        incoming.drain(..used.min(incoming.len()));
        self.incoming = incoming;
        Ok(())
    }

    /// Drives the library until it wants more bytes. Returns how many of `tls` it used up and how
    /// many plaintext bytes it put into `buf`; those that did not fit are in `self.plaintext`.
    fn process(
        &mut self,
        tls: &mut [u8],
        buf: &mut [u8],
        out: &mut Vec<u8>,
        action: Action<'_>,
    ) -> io::Result<(usize, usize)> {
        let (mut used, mut bytes) = (0, 0);
        loop {
            let input = tls.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(input);
            let mut finished = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| NetError::Tls(error.to_string()))?;
                        discard += record.discard;
                        let room = buf.get_mut(bytes..).unwrap_or_default();
                        let (fits, rest) =
                            record.payload.split_at(record.payload.len().min(room.len()));
                        room.get_mut(..fits.len()).unwrap_or_default().copy_from_slice(fits);
                        bytes += fits.len();
                        self.plaintext.extend_from_slice(rest);
                    }
                    // Stops reading, not sending.
                    finished = !self.plaintext.is_empty() && matches!(action, Action::Nothing);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out)?,
                // It is in `out`, whose owner keeps it until the socket has taken it.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    perform(action, &mut traffic, out)?;
                    finished = true;
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    if let Action::Encrypt(_) = action {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                    finished = true;
                }
                // Early data is never enabled.
                Ok(_) => return Err(NetError::Tls("unexpected state".to_owned()).into()),
                Err(error) => {
                    self.collect_alert(out);
                    return Err(self.explain(&error).into());
                }
            }
            // Each time, so that the name never waits for another connection of this thread: a
            // client that is asked to try again says it twice.
            if let Some(name) = take_asked_name() {
                self.server_name = Some(name);
            }
            used += discard;
            if finished {
                return Ok((used, bytes));
            }
        }
    }

    /// After an error the library still has something to say, an alert at the end. It is asked for
    /// that only and never given bytes again: it would look at them once more and panic.
    fn collect_alert(&mut self, out: &mut Vec<u8>) {
        self.failed = true;
        self.server_name = take_asked_name();
        while self.connection.wants_write() {
            let encoded = match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                _ => return,
            };
            if encoded.is_err() {
                return;
            }
        }
    }

    fn explain(&self, error: &rustls::Error) -> NetError {
        // RFC 8446 section 5.1: a handshake record begins with 22.
        NetError::Tls(match self.opening {
            Some(byte) if byte != 22 && self.is_handshaking() => {
                format!("the client does not speak TLS: its first byte is {byte:#04x}")
            }
            _ => error.to_string(),
        })
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream")
            .field("is_handshaking", &self.is_handshaking())
            .field("incoming", &self.incoming.len())
            .field("plaintext", &self.plaintext.len())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// Where the links of a thread open their records: as long as the most that may wait and one
    /// read.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encrypts or says farewell, now that the connection may send.
fn perform(
    action: Action<'_>,
    traffic: &mut WriteTraffic<'_, ServerConnectionData>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let required = |error| match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    };
    match action {
        Action::Nothing => Ok(()),
        Action::Encrypt(plain) => append(out, sealed_size(plain.len()), |room| {
            traffic.encrypt(plain, room).map_err(required)
        }),
        Action::Close => append(out, 64, |room| traffic.queue_close_notify(room).map_err(required)),
    }
}

fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) -> io::Result<()> {
    append(out, 512, |room| {
        data.encode(room).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        })
    })
}

/// Lets `put` write behind `out`, with more room if it says how much it needs.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut put: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> io::Result<()> {
    let start = out.len();
    let mut room = room;
    loop {
        out.resize(start + room, 0);
        match put(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Some(required)) if required > room => room = required,
            Err(_) => {
                out.truncate(start);
                return Err(NetError::Tls("the record cannot be encrypted".to_owned()).into());
            }
        }
    }
}

/// Enough room for the records of so many bytes: 2^14 bytes each, and no cipher adds more than 64.
const fn sealed_size(bytes: usize) -> usize {
    bytes + (bytes / (1 << 14) + 1) * 64
}

/// The most that one call reads from the wire.
const READ: usize = 64 << 10;
/// The most that may wait for its completion: a handshake message is at most 64 KiB long.
const MAX_INCOMING: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::crypto::aws_lc_rs;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use rustls_pki_types::{PrivateKeyDer, ServerName};

    use super::*;
    use crate::tls_server::{ClientCertificates, TlsFiles, TlsServer};

    /// A server that asks for client certificates and the configuration of a client that has one.
    fn both_ends() -> (TlsServer, Arc<ClientConfig>) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("ca"), issuer.pem()).unwrap();
        fs::write(path("chain"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        let server = TlsServer::load(TlsFiles {
            certificate_chain: path("chain"),
            private_key: path("key"),
            client_certificates: ClientCertificates::Required(path("ca")),
        })
        .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        (server, Arc::new(client))
    }

    fn client(config: &Arc<ClientConfig>) -> ClientConnection {
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(config.clone(), name).unwrap()
    }

    /// Hands bytes to the server as if they had been read; returns what it opened and answers.
    fn feed(server: &mut TlsStream, bytes: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut scratch = [mem::take(&mut server.incoming).as_slice(), bytes].concat();
        let (mut buf, mut out) = (vec![0; 1 << 16], Vec::new());
        let opened = server.open(&mut scratch, &mut buf, &mut out);
        let opened = opened.inspect_err(|_| server.failed = true)?;
        buf.truncate(opened);
        Ok((buf, out))
    }

    fn flight(client: &mut ClientConnection) -> Vec<u8> {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn take(client: &mut ClientConnection, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets().unwrap();
        }
    }

    fn shake_hands(server: &mut TlsStream, client: &mut ClientConnection) {
        while client.is_handshaking() || server.is_handshaking() {
            let (_, answer) = feed(server, &flight(client)).unwrap();
            take(client, &answer);
        }
    }

    #[test]
    fn an_idle_stream_keeps_no_buffer() {
        let (tls, config) = both_ends();
        let mut server = TlsStream::new(tls.connection(false).unwrap());
        let mut client = client(&config);
        shake_hands(&mut server, &mut client);
        assert_eq!((server.incoming.capacity(), server.plaintext.capacity()), (0, 0));
        assert_eq!(server.peer().unwrap().certificates.len(), 1);
    }

    #[test]
    fn writing_between_the_halves_of_a_key_update_works() {
        let (tls, config) = both_ends();
        let mut server = TlsStream::new(tls.connection(false).unwrap());
        let mut client = client(&config);
        shake_hands(&mut server, &mut client);
        client.refresh_traffic_keys().unwrap();
        io::Write::write_all(&mut client.writer(), b"after").unwrap();
        let mut opened = Vec::new();
        for byte in flight(&mut client) {
            let (plain, mut out) = feed(&mut server, &[byte]).unwrap();
            opened.extend(plain);
            server.encrypt(b"x", &mut out).unwrap();
            take(&mut client, &out);
        }
        assert_eq!(opened, b"after");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn damaged_flights_fail_without_harm(
            damage in vec((0_usize..3, any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cuts in vec(1_usize..400, 1..8),
        ) {
            let (tls, config) = both_ends();
            let mut server = TlsStream::new(tls.connection(false).unwrap());
            let mut client = client(&config);
            let mut failed = false;
            'flights: for number in 0..3 {
                if number == 2 {
                    io::Write::write_all(&mut client.writer(), b"data").unwrap();
                }
                let mut bytes = flight(&mut client);
                for (_, place, change) in damage.iter().filter(|(flight, ..)| *flight == number) {
                    if !bytes.is_empty() {
                        let place = place.index(bytes.len());
                        bytes[place] ^= change;
                    }
                }
                let mut rest = bytes.as_slice();
                for cut in cuts.iter().cycle() {
                    if rest.is_empty() {
                        break;
                    }
                    let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                    rest = tail;
                    let Ok((_, mut answer)) = feed(&mut server, piece) else {
                        failed = true;
                        break 'flights;
                    };
                    if !server.is_handshaking() {
                        server.encrypt(b"answer", &mut answer).unwrap();
                    }
                    let mut answer = answer.as_slice();
                    while !answer.is_empty() {
                        client.read_tls(&mut answer).unwrap();
                        if client.process_new_packets().is_err() {
                            failed = true;
                            break 'flights;
                        }
                    }
                }
            }
            let harmless = damage.iter().all(|(_, _, change)| *change == 0);
            prop_assert!(!(harmless && failed));
            let mut out = Vec::new();
            let _ = server.encrypt(b"too late", &mut out);
            let _ = server.close(&mut out);
        }
    }
}
