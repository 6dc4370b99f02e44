//! Links: how the event loop reads, writes, flushes and shuts down a connection.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream as StdUnixStream;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use crate::layered::Layered;
use crate::peer::{LinkKind, PeerInfo};
use crate::socket::Socket;
use crate::unix_credentials::peer_credentials;
use crate::wire::{ProxyPhase, Wire};

/// One accepted connection: application bytes in and out, however they travel.
///
/// Plain TCP and Unix links are little more than a descriptor and keep nothing on the heap. The
/// others keep their state in one box, and no buffers while idle.
///
/// # Driving a link
/// Register it once for reading and writing; `mio` is edge-triggered.
/// * On a readable event call [`Link::read`] until it says `drained`, or remember to come back: no
///   further event announces what is left. When the event says `is_read_closed`, or its word is not
///   known any more, go on until [`Read::Closed`] or [`io::ErrorKind::WouldBlock`]: a short read
///   cannot tell whether the end has arrived behind it.
/// * Handshakes progress inside [`Link::read`] and [`Link::flush`]; until [`Link::is_handshaking`]
///   is false no application bytes come out and none are taken.
/// * On a writable event, and after each turn in which [`Link::wants_write`] is true, call
///   [`Link::flush`].
/// * An error of [`Link::read`] other than `WouldBlock` is final. If the protocol has an answer to
///   it, it has been sent as far as the socket took it.
///
/// A link may move to another thread's `Poll` (deregister, send, register) at any time.
/// Registration announces what the socket still holds, but not what a layer above it holds: when
/// the last read did not say `drained`, read again without waiting for an event.
#[derive(Debug)]
pub struct Link(pub(crate) Inner);

#[derive(Debug)]
pub(crate) enum Inner {
    Plain(Socket),
    Layered(Box<Layered>),
}

/// What [`Link::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Application bytes at the front of the buffer, possibly none.
    Data {
        /// How many.
        bytes: usize,
        /// Nothing more can be read before the next readable event, but perhaps the end.
        drained: bool,
    },
    /// The peer will send no more; everything it sent has been handed out.
    Closed,
}

impl Link {
    pub(crate) const fn tcp(stream: TcpStream) -> Self {
        Self(Inner::Plain(Socket::Tcp(stream)))
    }

    pub(crate) const fn unix(stream: UnixStream) -> Self {
        Self(Inner::Plain(Socket::Unix(stream)))
    }

    /// One end of a pair of sockets whose other end this process holds, for a client at `address`:
    /// who made the pair answers for that.
    ///
    /// # Errors
    /// The socket's, when it cannot be made to return at once.
    pub fn paired(stream: StdUnixStream, address: SocketAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let socket = Socket::Unix(UnixStream::from_std(stream));
        let wire = Wire { socket, proxy: ProxyPhase::Off, address: Some(address) };
        Ok(Self::layered(Layered::new(wire, LinkKind::Unix, None, None)))
    }

    pub(crate) fn layered(layered: Layered) -> Self {
        Self(Inner::Layered(Box::new(layered)))
    }

    /// Reads application bytes into `buf`, which must not be empty. Reads the socket at most once;
    /// a plain link does exactly one `read(2)`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket has nothing: a stronger word than `drained`,
    /// because the end cannot hide behind it. Every other error is final: the socket's, or
    /// [`io::ErrorKind::InvalidData`] with a [`crate::NetError`] inside when the peer breaks the
    /// rules of a layer, or [`io::ErrorKind::PermissionDenied`] when it is no trusted proxy.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<Read> {
        match &mut self.0 {
            Inner::Plain(socket) => {
                let arrived = socket.read(buf)?;
                if arrived.ended {
                    return Ok(Read::Closed);
                }
                if arrived.blocked {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(Read::Data { bytes: arrived.bytes, drained: arrived.drained })
            }
            Inner::Layered(layered) => layered.read(buf),
        }
    }

    /// Offers application bytes and returns how many were taken; these are never to be offered
    /// again. A plain link does exactly one `send(2)` or `writev(2)`. A layered link takes at most
    /// 64 KiB, makes one frame of it, and keeps what the socket does not take; before that is sent
    /// it takes nothing.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing was taken: the socket is full, or a handshake is
    /// going on. [`io::ErrorKind::BrokenPipe`] after a shutdown or the peer's close. Otherwise the
    /// socket's error.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(socket) => socket.write(slices),
            Inner::Layered(layered) => layered.write(slices),
        }
    }

    /// Whether bytes wait inside the link for the socket: handshake, records, frames, pongs.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        match &self.0 {
            Inner::Plain(_) => false,
            Inner::Layered(layered) => layered.wants_write(),
        }
    }

    /// Sends what waits inside the link; true when nothing is left.
    ///
    /// # Errors
    /// The socket's error. A full socket is none.
    pub fn flush(&mut self) -> io::Result<bool> {
        match &mut self.0 {
            Inner::Plain(_) => Ok(true),
            Inner::Layered(layered) => layered.flush(),
        }
    }

    /// Ends the sending side in order: WebSocket close frame, TLS `close_notify`, then the socket.
    /// Never blocks. While [`Link::wants_write`] stays true afterwards, [`Link::flush`] finishes
    /// the job; dropping the link instead cuts it short. Further calls do nothing.
    pub fn shutdown(&mut self) {
        match &mut self.0 {
            Inner::Plain(socket) => socket.shutdown(Shutdown::Write),
            Inner::Layered(layered) => layered.shutdown(),
        }
    }

    /// Who is at the other end; complete once the handshake is over. Asks the kernel and builds a
    /// new value on each call: call it once, and early, because a reset connection has no address.
    #[must_use]
    pub fn peer(&self) -> PeerInfo {
        let nobody = |kind| PeerInfo { kind, address: None, proxy: None, tls: None, unix: None };
        match &self.0 {
            Inner::Plain(Socket::Tcp(stream)) => {
                PeerInfo { address: stream.peer_addr().ok(), ..nobody(LinkKind::Tcp) }
            }
            Inner::Plain(Socket::Unix(stream)) => {
                PeerInfo { unix: peer_credentials(stream).ok(), ..nobody(LinkKind::Unix) }
            }
            Inner::Layered(layered) => layered.peer(),
        }
    }

    /// How the bytes travel.
    #[must_use]
    pub fn kind(&self) -> LinkKind {
        match &self.0 {
            Inner::Plain(Socket::Tcp(_)) => LinkKind::Tcp,
            Inner::Plain(Socket::Unix(_)) => LinkKind::Unix,
            Inner::Layered(layered) => layered.kind,
        }
    }

    /// Whether a PROXY header, a TLS handshake or an HTTP upgrade is still going on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        match &self.0 {
            Inner::Plain(_) => false,
            Inner::Layered(layered) => layered.is_handshaking(),
        }
    }

    fn socket(&mut self) -> &mut Socket {
        match &mut self.0 {
            Inner::Plain(socket) => socket,
            Inner::Layered(layered) => layered.socket(),
        }
    }
}

impl Source for Link {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.socket().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.socket().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket().deregister(registry)
    }
}

// Idle connections are what a broker has most of.
const _: () = assert!(size_of::<Link>() <= 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_move_to_another_thread() {
        fn moves<T: Send>() {}
        moves::<Link>();
    }
}
