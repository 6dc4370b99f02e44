//! What a client's bytes travel on.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// A blocking stream whose reads can be given a time limit.
pub trait Transport: Read + Write + Send {
    /// Reads fail with `WouldBlock` or `TimedOut` after this long.
    fn limit_reads(&mut self, patience: Duration) -> io::Result<()>;

    /// Says that nothing more will be written.
    fn finish(&mut self) -> io::Result<()>;
}

impl Transport for TcpStream {
    fn limit_reads(&mut self, patience: Duration) -> io::Result<()> {
        self.set_nodelay(true)?; // every write is a segment of its own, as far as it can be
        self.set_read_timeout(Some(patience))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Transport for UnixStream {
    fn limit_reads(&mut self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Connects to a port on loopback with a receive buffer of about `bytes`, so that a client that
/// does not read fills up soon. The buffer must be set before the connection is made: it decides
/// the window scale.
pub fn connect_with_small_buffer(port: u16, bytes: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    socket.set_recv_buffer_size(bytes).expect("a buffer can be small");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&address.into()).expect("the broker accepts");
    socket.into()
}

/// Connects to a port on loopback from another address of it, 127.0.0.`last`.
pub fn connect_from(last: u8, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(&source.into()).expect("loopback has many addresses");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&address.into()).expect("the broker accepts");
    socket.into()
}

/// Closes a connection with a reset (RST) instead of an orderly end.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an open socket can linger");
    drop(stream);
}
