//! Network errors: a listener that cannot start, and a link that must end.

use std::io;
use std::net::SocketAddr;

use crate::proxy_header::ProxyHeaderError;
use crate::ws_frame::FrameError;
use crate::ws_upgrade::UpgradeError;

/// What can go wrong in this crate.
///
/// The configuration errors (`Endpoint`, `SourceNetwork`, `Bind`, `Tls*File`) are written for the
/// person who starts the broker: what was tried, why it failed, how to mend it. The others concern
/// one link; they come wrapped in the [`io::Error`] of [`crate::Link::read`], from which
/// [`NetError::of`] gets them back.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A listener address that cannot be understood.
    #[error("`{text}` is not a listener address: {cause}; {fix}")]
    Endpoint {
        /// The text as it was given.
        text: String,
        /// What is wrong with it.
        cause: String,
        /// What to write instead.
        fix: String,
    },
    /// A source network that cannot be understood.
    #[error("`{text}` is not a network: {cause}; write an address or a prefix such as 10.0.0.0/8")]
    SourceNetwork {
        /// The text as it was given.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A listener that cannot be opened.
    #[error("cannot listen on {endpoint}: {cause}; {fix}")]
    Bind {
        /// The address as a URL.
        endpoint: String,
        /// What failed.
        cause: String,
        /// How to mend it.
        fix: String,
    },
    /// A certificate, key or authority file that cannot be used.
    #[error("cannot use {file}: {cause}; {fix}")]
    TlsFile {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: String,
        /// How to mend it.
        fix: String,
    },
    /// The TLS handshake or a TLS record failed; the text is the library's reason.
    #[error("TLS: {0}")]
    Tls(String),
    /// The PROXY protocol header is wrong.
    #[error("PROXY protocol: {0}")]
    ProxyHeader(#[from] ProxyHeaderError),
    /// A connection that does not come from one of the proxies this listener trusts.
    #[error(
        "this listener takes connections only from its proxies, and {address} is not in their \
         networks; add it to the PROXY protocol sources or connect through the proxy"
    )]
    ProxySource {
        /// Where the connection came from.
        address: SocketAddr,
    },
    /// The HTTP request that should open a WebSocket was refused.
    #[error("WebSocket upgrade: {0}")]
    Upgrade(#[from] UpgradeError),
    /// The peer broke the WebSocket framing rules.
    #[error("WebSocket: {0}")]
    Frame(#[from] FrameError),
    /// The peer causes replies (pongs, TLS key updates) and does not read them.
    #[error("the peer does not read the replies it asks for: {0} bytes wait")]
    RepliesUnread(usize),
}

impl NetError {
    /// The error of this crate inside an [`io::Error`], if there is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

impl From<NetError> for io::Error {
    fn from(error: NetError) -> Self {
        let kind = match &error {
            NetError::ProxySource { .. } => io::ErrorKind::PermissionDenied,
            NetError::RepliesUnread(_) => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
