//! The PROXY header of a connection: taken off before TLS or anything else, from trusted proxies
//! only.

use std::io;
use std::net::SocketAddr;

use crate::error::NetError;
use crate::proxy_header::{ProxyHeader, ProxyHeaderError};
use crate::socket::{Arrived, Socket};

/// The lowest layer of a link: its socket, and the PROXY header that may stand before everything
/// else.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    pub(crate) proxy: ProxyPhase,
    /// The address at the other end of the socket.
    pub(crate) address: Option<SocketAddr>,
}

/// Where a link is with its PROXY header.
#[derive(Debug)]
pub(crate) enum ProxyPhase {
    /// The listener does not use the PROXY protocol.
    Off,
    /// The header has not arrived completely; these bytes have.
    Awaited(Vec<u8>),
    /// The header has been read and named this client, or nobody.
    Done(Option<SocketAddr>),
    /// The peer is not one of the trusted proxies.
    Refused(SocketAddr),
}

impl Wire {
    /// Reads from the socket once, and takes the PROXY header out.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<Arrived> {
        if let ProxyPhase::Refused(address) = self.proxy {
            return Err(NetError::ProxySource { address }.into());
        }
        let arrived = self.socket.read(buf)?;
        let ProxyPhase::Awaited(header) = &mut self.proxy else { return Ok(arrived) };
        header.extend_from_slice(buf.get(..arrived.bytes).unwrap_or_default());
        let Some(parsed) = ProxyHeader::parse(header).map_err(NetError::from)? else {
            // The parser refuses a longer announcement, so this guards against its mistakes only.
            if header.len() > ProxyHeader::MAX_BYTES {
                return Err(NetError::from(ProxyHeaderError::TooLong(header.len())).into());
            }
            return Ok(Arrived { bytes: 0, ..arrived });
        };
        // The header ended within the bytes just read, so what follows it is still in `buf`.
        let rest = header.len().saturating_sub(parsed.length).min(arrived.bytes);
        buf.copy_within(arrived.bytes - rest..arrived.bytes, 0);
        self.proxy = ProxyPhase::Done(parsed.source);
        Ok(Arrived { bytes: rest, ..arrived })
    }

    /// Whether the PROXY header is still to come.
    pub(crate) const fn awaits_header(&self) -> bool {
        matches!(self.proxy, ProxyPhase::Awaited(_) | ProxyPhase::Refused(_))
    }
}
