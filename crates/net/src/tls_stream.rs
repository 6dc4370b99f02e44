use std::cell::RefCell;
use std::io;
use std::mem;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};

use crate::error::NetError;
use crate::peer::TlsPeer;
use crate::socket::Arrived;
use crate::tls_server::take_asked_name;
use crate::wire::Wire;

/// The TLS layer of one link. Its buffers are ours, not the library's, so that an idle connection keeps
/// none: records are opened in a scratch buffer that all links of a thread share, and only what is
/// incomplete is put aside.
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
    /// The library reported an error and must not be called again.
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

    /// Reads the wire once at most and opens what has arrived into `buf`. What the handshake wants to say,
    /// and the alert that goes with an error, is appended to `out`.
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
        let mut wire_drained = false;
        let mut wire_ended = false;
        if self.plaintext.is_empty() {
            SCRATCH.with_borrow_mut(|scratch| -> io::Result<()> {
                scratch.resize(MAX_INCOMING + READ, 0);
                let waiting = mem::take(&mut self.incoming);
                let (front, free) = scratch.split_at_mut(waiting.len().min(MAX_INCOMING));
                front.copy_from_slice(&waiting);
                if !held_back {
                    let arrived = wire.read(free.get_mut(..READ).unwrap_or_default())?;
                    (wire_drained, wire_ended) = (arrived.drained, arrived.ended);
                    self.opening =
                        self.opening.or_else(|| free.get(..arrived.bytes)?.first().copied());
                    let filled = waiting.len() + arrived.bytes;
                    bytes += self.open(scratch, filled, buf.get_mut(bytes..), out)?;
                } else {
                    bytes += self.open(scratch, waiting.len(), buf.get_mut(bytes..), out)?;
                }
                Ok(())
            })?;
        }
        let all_opened = self.plaintext.is_empty() && !self.unprocessed;
        Ok(Arrived {
            bytes,
            drained: wire_drained && all_opened,
            ended: (wire_ended || self.peer_closed) && all_opened,
        })
    }

    /// Opens the first `filled` bytes of the scratch buffer and puts aside what is left of them.
    fn open(
        &mut self,
        scratch: &mut [u8],
        filled: usize,
        buf: Option<&mut [u8]>,
        out: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let filled = scratch.get_mut(..filled).unwrap_or_default();
        let (used, bytes) = self.process(filled, buf.unwrap_or_default(), out, Action::Nothing)?;
        let rest = filled.get(used..).unwrap_or_default();
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
        let (used, _) = self.process(&mut incoming, &mut [], out, action)?;
        incoming.drain(..used.min(incoming.len()));
        self.incoming = incoming;
        Ok(())
    }

    /// Drives the library until it wants more bytes. Returns how many of `tls` it used up and how many
    /// plaintext bytes it put into `buf`; those that did not fit are in `self.plaintext`.
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
                        room.iter_mut().zip(fits).for_each(|(to, from)| *to = *from);
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
                    finished = true;
                    let required = |error| match error {
                        EncryptError::InsufficientSize(size) => Some(size.required_size),
                        EncryptError::EncryptExhausted => None,
                    };
                    match action {
                        Action::Nothing => {}
                        Action::Encrypt(plain) => append(out, sealed_size(plain.len()), |room| {
                            traffic.encrypt(plain, room).map_err(required)
                        })?,
                        Action::Close => append(out, 64, |room| {
                            traffic.queue_close_notify(room).map_err(required)
                        })?,
                    }
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => finished = true,
                // Early data is never enabled.
                Ok(_) => return Err(NetError::Tls("unexpected state".to_owned()).into()),
                Err(error) => {
                    self.collect_alert(out);
                    return Err(self.explain(&error).into());
                }
            }
            if self.server_name.is_none() {
                self.server_name = take_asked_name();
            }
            used += discard;
            if finished {
                return Ok((used, bytes));
            }
        }
    }

    /// After an error the library still has something to say, an alert at the end. It is asked for that
    /// only and never given bytes again: it would look at them once more and panic.
    fn collect_alert(&mut self, out: &mut Vec<u8>) {
        self.failed = true;
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
    /// Where the links of a thread open their records: as long as the most that may wait and one read.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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
