use std::io::{self, IoSlice};
use std::net::Shutdown;

use crate::error::NetError;
use crate::link::Read;
use crate::peer::{LinkKind, PeerInfo};
use crate::socket::{Arrived, Socket};
use crate::unsent::Unsent;
use crate::websocket::WebSocket;
use crate::wire::{ProxyPhase, Wire};
use crate::ws_frame::{Opcode, encode_frame_header};

/// A link with more than a socket: PROXY header, then TLS, then WebSocket, each of them optional.
///
/// Nothing is buffered while the link is idle: frames are decoded in the caller's buffer, and `unsent`
/// gives its memory back when the socket has taken everything.
#[derive(Debug)]
pub(crate) struct Layered {
    pub(crate) wire: Wire,
    pub(crate) kind: LinkKind,
    pub(crate) websocket: Option<Box<WebSocket>>,
    pub(crate) unsent: Unsent,
    /// The peer will send no more application bytes.
    pub(crate) ended: bool,
    pub(crate) closing: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    No,
    /// [`Layered::shutdown`] was called; the socket follows when everything is sent.
    Asked,
    Done,
}

impl Layered {
    pub(crate) fn new(wire: Wire, kind: LinkKind, websocket: Option<WebSocket>) -> Self {
        Self {
            wire,
            kind,
            websocket: websocket.map(Box::new),
            unsent: Unsent::default(),
            ended: false,
            closing: Closing::No,
        }
    }

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<Read> {
        if self.ended {
            return Ok(Read::Closed);
        }
        let result = self.receive(buf);
        if let Err(error) = result {
            self.ended = true;
            // The reason is on its way to the peer if the socket takes it now; the link is lost anyway.
            let _ = self.unsent.send(&self.wire.socket);
            return Err(error);
        }
        result
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<Read> {
        let arrived = self.receive_stream(buf)?;
        let mut bytes = arrived.bytes;
        self.ended = arrived.ended;
        if let Some(websocket) = &mut self.websocket {
            let mut replies = Vec::new();
            let stream = buf.get_mut(..bytes).unwrap_or_default();
            let received = websocket.receive(stream, &mut replies);
            self.ended |= websocket.has_ended();
            self.queue(&replies)?;
            bytes = received?;
        }
        if !self.unsent.is_empty() {
            // A failure to send shows at the next read or write.
            let _ = self.unsent.send(&self.wire.socket);
            if self.unsent.len() > MAX_UNSENT_REPLIES {
                return Err(NetError::RepliesUnread(self.unsent.len()).into());
            }
        }
        if bytes == 0 && self.ended {
            return Ok(Read::Closed);
        }
        // With the end already known, one more call must report it.
        Ok(Read::Data { bytes, drained: arrived.drained && !self.ended })
    }

    /// The bytes below WebSocket.
    fn receive_stream(&mut self, buf: &mut [u8]) -> io::Result<Arrived> {
        self.wire.read(buf)
    }

    /// Puts bytes of the stream below WebSocket behind what waits already.
    fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unsent.extend(bytes);
        Ok(())
    }

    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.closing != Closing::No {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.unsent.send(&self.wire.socket)?;
        if !self.unsent.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match &self.websocket {
            None => self.wire.socket.write(slices),
            Some(websocket) if !websocket.is_open() => Err(io::ErrorKind::BrokenPipe.into()),
            Some(_) => self.write_frame(slices),
        }
    }

    /// One frame, straight from the caller's slices; what the socket does not take is kept, because the
    /// frame's length is already announced.
    fn write_frame(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut parts = [IoSlice::new(&[]); MAX_SLICES + 1];
        let mut header = [0; 10];
        let payload = total(slices);
        if payload == 0 {
            return Ok(0);
        }
        let header_len = encode_frame_header(Opcode::Binary, payload as u64, &mut header);
        let header = header.get(..header_len).unwrap_or_default();
        let mut count = 0;
        let pieces = std::iter::once(header).chain(limited(slices));
        for (part, piece) in parts.iter_mut().zip(pieces) {
            *part = IoSlice::new(piece);
            count += 1;
        }
        let parts = parts.get(..count).unwrap_or_default();
        let mut sent = self.wire.socket.write(parts)?;
        for part in parts {
            let taken = sent.min(part.len());
            self.unsent.extend(part.get(taken..).unwrap_or_default());
            sent -= taken;
        }
        Ok(payload)
    }

    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.unsent.send(&self.wire.socket)?;
        if !self.unsent.is_empty() {
            return Ok(false);
        }
        if self.closing == Closing::Asked {
            self.closing = Closing::Done;
            self.wire.socket.shutdown(Shutdown::Write);
        }
        Ok(true)
    }

    pub(crate) fn shutdown(&mut self) {
        if self.closing != Closing::No {
            return;
        }
        self.closing = Closing::Asked;
        let mut farewell = Vec::new();
        if let Some(websocket) = &mut self.websocket {
            websocket.close(&mut farewell);
        }
        // Errors mean that the peer is gone, and then there is nobody to say farewell to.
        let _ = self.queue(&farewell);
        let _ = self.flush();
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.wire.awaits_header()
            || self.websocket.as_ref().is_some_and(|websocket| websocket.is_upgrading())
    }

    pub(crate) fn peer(&self) -> PeerInfo {
        let (address, proxy) = match self.wire.proxy {
            ProxyPhase::Done(Some(client)) => (Some(client), self.wire.address),
            _ => (self.wire.address, None),
        };
        PeerInfo { kind: self.kind, address, proxy, tls: None, unix: None }
    }

    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.wire.socket
    }
}

/// The slices that one call takes: at most [`MAX_SLICES`], and at most [`MAX_WRITE`] bytes in all.
fn limited<'a>(slices: &'a [IoSlice<'a>]) -> impl Iterator<Item = &'a [u8]> {
    let mut left = MAX_WRITE;
    slices.iter().take(MAX_SLICES).map_while(move |slice| {
        let piece = slice.get(..slice.len().min(left)).filter(|_| left > 0);
        left -= piece.map_or(0, <[u8]>::len);
        piece
    })
}

fn total(slices: &[IoSlice<'_>]) -> usize {
    limited(slices).map(<[u8]>::len).sum()
}

/// The most application bytes that one write call takes, and thereby the longest outgoing frame.
const MAX_WRITE: usize = 64 << 10;
/// The most slices that one write call takes.
const MAX_SLICES: usize = 63;
/// How many bytes of replies may wait for a peer that does not read, before the link is given up. Above one
/// outgoing frame, which may be waiting already.
const MAX_UNSENT_REPLIES: usize = 128 << 10;
