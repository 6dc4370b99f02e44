//! The layers above a socket: PROXY header, TLS and WebSocket, stacked in one link.

use std::io::{self, IoSlice};
use std::net::Shutdown;

use crate::error::NetError;
use crate::link::Read;
use crate::peer::{LinkKind, PeerInfo};
use crate::socket::{Arrived, Socket};
use crate::tls_stream::TlsStream;
use crate::unsent::Unsent;
use crate::websocket::WebSocket;
use crate::wire::{ProxyPhase, Wire};
use crate::ws_frame::{Opcode, encode_frame_header};

/// A link with more than a socket: PROXY header, then TLS, then WebSocket, each of them optional.
///
/// Nothing is buffered while the link is idle: frames are decoded in the caller's buffer, and
/// `unsent` gives its memory back when the socket has taken everything.
#[derive(Debug)]
pub(crate) struct Layered {
    wire: Wire,
    pub(crate) kind: LinkKind,
    tls: Option<Box<TlsStream>>,
    websocket: Option<Box<WebSocket>>,
    unsent: Unsent,
    /// The peer will send no more application bytes.
    ended: bool,
    closing: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// [`Layered::shutdown`] was called; the socket follows when everything is sent.
    Asked,
    Done,
}

impl Layered {
    pub(crate) fn new(
        wire: Wire,
        kind: LinkKind,
        tls: Option<TlsStream>,
        websocket: Option<WebSocket>,
    ) -> Self {
        Self {
            wire,
            kind,
            tls: tls.map(Box::new),
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
        match self.receive(buf) {
            Ok(Some(read)) => Ok(read),
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => {
                self.ended = true;
                // The reason is on its way to the peer if the socket takes it now; the link is lost
                // anyway.
                let _ = self.unsent.send(&self.wire.socket);
                Err(error)
            }
        }
    }

    /// None when nothing has arrived and nothing will before the next event.
    fn receive(&mut self, buf: &mut [u8]) -> io::Result<Option<Read>> {
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
            return Ok(Some(Read::Closed));
        }
        if bytes == 0 && arrived.blocked {
            return Ok(None);
        }
        // With the end already known, one more call must report it.
        Ok(Some(Read::Data { bytes, drained: arrived.drained && !self.ended }))
    }

    /// The bytes below WebSocket.
    fn receive_stream(&mut self, buf: &mut [u8]) -> io::Result<Arrived> {
        match &mut self.tls {
            None => self.wire.read(buf),
            Some(tls) => tls.read(&mut self.wire, buf, self.unsent.buffer()),
        }
    }

    /// Puts bytes of the stream below WebSocket behind what waits already.
    fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            _ if bytes.is_empty() => Ok(()),
            None => {
                self.unsent.buffer().extend_from_slice(bytes);
                Ok(())
            }
            Some(tls) => tls.encrypt(bytes, self.unsent.buffer()),
        }
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
        match (&self.tls, &self.websocket) {
            (_, Some(websocket)) if !websocket.is_open() => Err(io::ErrorKind::BrokenPipe.into()),
            (None, None) => self.wire.socket.write(slices),
            (None, Some(_)) => self.write_frame(slices),
            (Some(_), _) => self.write_records(slices),
        }
    }

    /// TLS records, with a frame header in front where there is a WebSocket.
    fn write_records(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = total(slices);
        if bytes == 0 {
            return Ok(0);
        }
        match slices {
            [slice, ..] if slice.len() >= bytes && self.websocket.is_none() => {
                self.queue(slice.get(..bytes).unwrap_or_default())?;
            }
            _ => {
                // In one piece, because each call of the encryption makes a record of its own.
                let mut gathered = Vec::with_capacity(bytes + 10);
                if self.websocket.is_some() {
                    let mut header = [0; 10];
                    let length = encode_frame_header(Opcode::Binary, bytes as u64, &mut header);
                    gathered.extend_from_slice(header.get(..length).unwrap_or_default());
                }
                limited(slices).for_each(|piece| gathered.extend_from_slice(piece));
                self.queue(&gathered)?;
            }
        }
        self.unsent.send(&self.wire.socket)?;
        Ok(bytes)
    }

    /// One frame, straight from the caller's slices; what the socket does not take is kept, because
    /// the frame's length is already announced.
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
            let rest = part.get(taken..).unwrap_or_default();
            self.unsent.buffer().extend_from_slice(rest);
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
        if let Some(tls) = &mut self.tls {
            let _ = tls.close(self.unsent.buffer());
        }
        let _ = self.flush();
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.wire.awaits_header()
            || self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
            || self.websocket.as_ref().is_some_and(|websocket| websocket.is_upgrading())
    }

    pub(crate) fn peer(&self) -> PeerInfo {
        let (address, proxy) = match self.wire.proxy {
            ProxyPhase::Done(Some(client)) => (Some(client), self.wire.address),
            _ => (self.wire.address, None),
        };
        let tls = self.tls.as_ref().and_then(|tls| tls.peer());
        PeerInfo { kind: self.kind, address, proxy, tls, unix: None }
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
/// How many bytes of replies may wait for a peer that does not read, before the link is given up.
/// Above one outgoing frame, which may be waiting already.
const MAX_UNSENT_REPLIES: usize = 128 << 10;
