//! Peer information: address, TLS client certificate, Unix credentials.

use std::fmt;
use std::net::SocketAddr;

/// How the bytes of a link travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// A Unix stream socket.
    Unix,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        })
    }
}

/// Who is at the other end, as far as the link knows. Complete once the handshake is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// How the bytes travel.
    pub kind: LinkKind,
    /// The client's address: from the PROXY header where there is one, else the socket's. None for
    /// a Unix socket that somebody has connected, and for a plain TCP socket whose peer is already
    /// gone.
    pub address: Option<SocketAddr>,
    /// The load balancer's address when `address` comes from a PROXY header.
    pub proxy: Option<SocketAddr>,
    /// What the TLS handshake settled.
    pub tls: Option<TlsPeer>,
    /// The process at the other end of a Unix socket.
    pub unix: Option<UnixCredentials>,
}

/// For logs: the address or the process, and how the bytes travel.
impl fmt::Display for PeerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.unix) {
            (Some(address), _) => write!(f, "{address} ({})", self.kind),
            (None, Some(unix)) => {
                write!(f, "process {} of user {} ({})", unix.pid, unix.uid, self.kind)
            }
            (None, None) => write!(f, "already gone ({})", self.kind),
        }
    }
}

/// What a finished TLS handshake settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPeer {
    /// The verified client certificate and its chain in DER, end entity first; empty when the
    /// client presented none.
    pub certificates: Vec<Vec<u8>>,
    /// The server name the client asked for (SNI).
    pub server_name: Option<String>,
    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
    /// The protocol version, such as `TLSv1_3`.
    pub version: String,
}

/// Who held the other end of a Unix socket when it connected; the kernel vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixCredentials {
    /// The process.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}
