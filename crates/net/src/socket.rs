//! Non-blocking sockets, TCP or Unix: one system call per read and per write.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// A non-blocking stream socket of either family.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What one read from the wire brought.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrived {
    pub(crate) bytes: usize,
    /// The socket had no more.
    pub(crate) drained: bool,
    /// The socket said so itself (`EAGAIN`); a short read may have hidden the end behind it.
    pub(crate) blocked: bool,
    /// The peer will send no more.
    pub(crate) ended: bool,
}

impl Socket {
    /// Exactly one `read(2)`, unless a signal interrupts it.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<Arrived> {
        loop {
            let result = match self {
                Self::Tcp(stream) => (&*stream).read(buf),
                Self::Unix(stream) => (&*stream).read(buf),
            };
            return match result {
                Ok(0) => Ok(Arrived { ended: !buf.is_empty(), ..Arrived::default() }),
                // epoll(7): a short read from a stream socket means that nothing is left.
                Ok(bytes) => {
                    let drained = bytes < buf.len();
                    Ok(Arrived { bytes, drained, ..Arrived::default() })
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        Ok(Arrived { drained: true, blocked: true, ..Arrived::default() })
                    }
                    io::ErrorKind::Interrupted => continue,
                    _ => Err(error),
                },
            };
        }
    }

    /// Exactly one `send(2)` or `writev(2)`, unless a signal interrupts it.
    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let result = match (self, slices) {
                (Self::Tcp(stream), [slice]) => (&*stream).write(slice),
                (Self::Tcp(stream), _) => (&*stream).write_vectored(slices),
                (Self::Unix(stream), [slice]) => (&*stream).write(slice),
                (Self::Unix(stream), _) => (&*stream).write_vectored(slices),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Says that nothing more will be sent. A peer that is already gone is no error worth telling.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }
}

impl Source for Socket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}
