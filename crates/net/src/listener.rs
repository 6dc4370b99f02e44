//! Listeners: bind, accept, and what to do when descriptors run out.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::endpoint::Endpoint;
use crate::error::NetError;
use crate::layered::Layered;
use crate::link::Link;
use crate::peer::LinkKind;
use crate::socket::Socket;
use crate::source_network::SourceNetwork;
use crate::tls_server::TlsServer;
use crate::tls_stream::TlsStream;
use crate::unix_socket::{self, SocketFile};
use crate::websocket::{WebSocket, WebSocketOptions, WebSocketRules};
use crate::wire::{ProxyPhase, Wire};

/// What a listener needs to know.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Where to listen, and in which dress.
    pub endpoint: Endpoint,
    /// For `mqtts://` and `wss://`, which cannot be bound without.
    pub tls: Option<TlsServer>,
    /// For `ws://` and `wss://`.
    pub websocket: WebSocketOptions,
    /// Whether a load balancer stands in front. Not for Unix sockets.
    pub proxy_protocol: ProxyPolicy,
    /// How many connections may wait to be accepted. The system caps this silently
    /// (`net.core.somaxconn`).
    pub backlog: u32,
    /// The permission bits of a Unix socket's file. Whoever may write to it may connect.
    pub unix_mode: u32,
}

impl ListenerOptions {
    /// The defaults: no PROXY protocol, a backlog of 4096, a Unix socket for its owner only.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            tls: None,
            websocket: WebSocketOptions::default(),
            proxy_protocol: ProxyPolicy::Off,
            backlog: 4096,
            unix_mode: 0o600,
        }
    }
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxyPolicy {
    /// They do not, and a header would be taken for the client's own bytes.
    #[default]
    Off,
    /// They all do. Connections from elsewhere than these networks are refused, because anybody
    /// could write such a header and claim any address.
    RequiredFrom(Vec<SourceNetwork>),
}

/// A bound, listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Listening,
    endpoint: Endpoint,
    kind: LinkKind,
    tls: Option<TlsServer>,
    websocket: Option<Arc<WebSocketRules>>,
    proxies: Option<Arc<[SourceNetwork]>>,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    /// The file is here for its `Drop`.
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when dropped")] SocketFile),
}

impl Listener {
    /// Binds and listens. A host name is resolved, IPv4 first, and the first address that works is
    /// taken. Blocks for the resolution only.
    ///
    /// # Errors
    /// [`NetError::Bind`] with address, cause and fix.
    pub fn bind(options: &ListenerOptions) -> Result<Self, NetError> {
        let endpoint = &options.endpoint;
        let complain = |cause: String, fix: &str| NetError::Bind {
            endpoint: endpoint.to_string(),
            cause,
            fix: fix.to_owned(),
        };
        let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
        let proxies = match &options.proxy_protocol {
            ProxyPolicy::Off => None,
            ProxyPolicy::RequiredFrom(networks) if networks.is_empty() => {
                return Err(complain(
                    "the PROXY protocol is on, but no network is trusted to use it".to_owned(),
                    "list the load balancer's network",
                ));
            }
            ProxyPolicy::RequiredFrom(networks) => Some(Arc::from(networks.as_slice())),
        };
        let rules = |path: &String| {
            Some(Arc::new(WebSocketRules {
                path: path.clone(),
                options: options.websocket.clone(),
            }))
        };
        let (kind, websocket) = match endpoint {
            Endpoint::Mqtt { .. } => (LinkKind::Tcp, None),
            Endpoint::Mqtts { .. } => (LinkKind::Tls, None),
            Endpoint::Ws { path, .. } => (LinkKind::Ws, rules(path)),
            Endpoint::Wss { path, .. } => (LinkKind::Wss, rules(path)),
            Endpoint::Unix { .. } if proxies.is_some() => {
                return Err(complain(
                    "a Unix socket takes no PROXY header".to_owned(),
                    "turn the PROXY protocol off for it",
                ));
            }
            Endpoint::Unix { .. } => (LinkKind::Unix, None),
        };
        let tls = options.tls.clone().filter(|_| endpoint.uses_tls());
        if endpoint.uses_tls() && tls.is_none() {
            return Err(complain(
                "no certificate is configured".to_owned(),
                "name a certificate and a key file, or use mqtt:// or ws://",
            ));
        }
        let socket = match (endpoint, endpoint.host(), endpoint.port()) {
            (Endpoint::Unix { path }, ..) => unix_socket::listen(path, options.unix_mode, backlog)
                .map(|(listener, file)| Listening::Unix(UnixListener::from_std(listener), file))
                .map_err(|error| complain(unix_cause(&error), unix_fix(&error)))?,
            (_, host, port) => {
                let (host, port) = (host.unwrap_or_default(), port.unwrap_or_default());
                let addresses = resolve(host, port).map_err(|error| {
                    complain(
                        format!("`{host}` has no address ({error})"),
                        "check the name, or write an address such as 127.0.0.1",
                    )
                })?;
                listen_tcp(&addresses, backlog)
                    .map(Listening::Tcp)
                    .map_err(|error| complain(tcp_cause(&error, port), tcp_fix(&error)))?
            }
        };
        let bound = match &socket {
            Listening::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
            Listening::Unix(..) => None,
        };
        let endpoint = endpoint.clone().with_port(bound.unwrap_or_default());
        Ok(Self { socket, endpoint, kind, tls, websocket, proxies })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Takes the next waiting connection, none when nobody waits. `mio` is edge-triggered: call it
    /// until it returns none, or remember to come back.
    ///
    /// A connection that is no trusted proxy's also becomes a link; its first read explains the
    /// refusal.
    ///
    /// # Errors
    /// When [`should_pause_accepting`] says so, connections wait but there are no descriptors or no
    /// memory: pause and try again when a connection has closed. Any other error means that the
    /// listener is broken.
    pub fn accept(&mut self) -> io::Result<Option<Link>> {
        for _ in 0..MAX_FAILED_ACCEPTS {
            let accepted = match &self.socket {
                Listening::Tcp(listener) => {
                    listener.accept().and_then(|(stream, address)| self.tcp_link(stream, address))
                }
                Listening::Unix(listener, _) => {
                    listener.accept().map(|(stream, _)| Link::unix(stream))
                }
            };
            match accepted {
                Ok(link) => return Ok(Some(link)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("accepting fails again and again"))
    }

    fn tcp_link(&self, stream: TcpStream, address: SocketAddr) -> io::Result<Link> {
        // Fails only when the peer is gone, which the first read will tell.
        let _ = stream.set_nodelay(true);
        let proxy = match &self.proxies {
            None => ProxyPhase::Off,
            Some(networks) if networks.iter().any(|network| network.contains(address.ip())) => {
                ProxyPhase::Awaited(Vec::new())
            }
            Some(_) => {
                // Makes the link readable at once, so that it is read and dropped without delay.
                let _ = stream.shutdown(Shutdown::Both);
                ProxyPhase::Refused(address)
            }
        };
        if self.kind == LinkKind::Tcp && matches!(proxy, ProxyPhase::Off) {
            return Ok(Link::tcp(stream));
        }
        let tls = match &self.tls {
            None => None,
            Some(tls) => Some(TlsStream::new(tls.connection(self.websocket.is_some())?)),
        };
        let websocket = self.websocket.as_ref().map(|rules| {
            let local = stream.local_addr();
            // A web page cannot write a PROXY header, so behind a proxy it cannot come directly.
            let over_loopback = matches!(proxy, ProxyPhase::Off)
                && local.is_ok_and(|local| local.ip().to_canonical().is_loopback());
            WebSocket::new(Arc::clone(rules), over_loopback)
        });
        let wire = Wire { socket: Socket::Tcp(stream), proxy, address: Some(address) };
        Ok(Link::layered(Layered::new(wire, self.kind, tls, websocket)))
    }
}

impl Source for Listener {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match &mut self.socket {
            Listening::Tcp(listener) => listener.register(registry, token, interests),
            Listening::Unix(listener, _) => listener.register(registry, token, interests),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match &mut self.socket {
            Listening::Tcp(listener) => listener.reregister(registry, token, interests),
            Listening::Unix(listener, _) => listener.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.socket {
            Listening::Tcp(listener) => listener.deregister(registry),
            Listening::Unix(listener, _) => listener.deregister(registry),
        }
    }
}

/// Whether an error of [`Listener::accept`] means that descriptors or memory have run out
/// (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`): connections wait, and no event will announce them
/// again.
#[must_use]
pub fn should_pause_accepting(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// accept(2), "Error handling": pending network errors of the new connection, to be treated like
/// EAGAIN.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPERM
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
        )
    )
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    // Programs that are told `localhost` mostly try 127.0.0.1.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
}

fn listen_tcp(addresses: &[SocketAddr], backlog: i32) -> io::Result<TcpListener> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for address in addresses {
        result = listen_tcp_at(*address, backlog);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn listen_tcp_at(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted broker must not wait for its predecessor's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // The same everywhere, whatever the system's default: [::] and 0.0.0.0 can stand side by
        // side.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(TcpListener::from_std(StdTcpListener::from(OwnedFd::from(socket))))
}

fn tcp_cause(error: &io::Error, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("another process listens on port {port}"),
        io::ErrorKind::PermissionDenied => format!("port {port} needs a privilege"),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        _ => error.to_string(),
    }
}

fn tcp_fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop it, or choose another port (0 takes any free one)",
        io::ErrorKind::PermissionDenied => {
            "choose a port from 1024 up, or grant the capability CAP_NET_BIND_SERVICE"
        }
        _ => "use 127.0.0.1, 0.0.0.0, [::1], [::] or an address of this machine",
    }
}

fn unix_cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
        io::ErrorKind::NotFound => "the directory does not exist".to_owned(),
        _ => error.to_string(),
    }
}

fn unix_fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop it, or choose another path",
        io::ErrorKind::NotFound => "create the directory, or choose another path",
        io::ErrorKind::PermissionDenied => "choose a directory that this user may write to",
        io::ErrorKind::AlreadyExists => "remove the file, or choose another path",
        _ => "choose another path, of at most 107 bytes",
    }
}

/// How often one call tries again after errors that concern a single connection.
const MAX_FAILED_ACCEPTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_told_apart() {
        let error = io::Error::from_raw_os_error;
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert!(should_pause_accepting(&error(code)) && !concerns_one_connection(&error(code)));
        }
        for code in [libc::ECONNABORTED, libc::EPROTO, libc::EHOSTUNREACH] {
            assert!(!should_pause_accepting(&error(code)) && concerns_one_connection(&error(code)));
        }
        assert!(!should_pause_accepting(&error(libc::EBADF)));
        assert!(!concerns_one_connection(&error(libc::EBADF)));
    }
}
