//! One connection: its socket, buffers, keep alive and topic aliases.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use agentmq_codec::{Packet, ReasonCode};
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::handshake::Accepted;
use crate::inbox::Inbox;
use crate::keep_alive::{Due, KeepAlive};
use crate::link::Link;
use crate::message::Delivery;
use crate::topic_alias::{IncomingAliases, OutgoingAliases};
use crate::{Error, Options, ServerLimits};

/// What ends with a connection.
pub(crate) struct Connection {
    pub(crate) link: Box<dyn Link>,
    pub(crate) scratch: Box<[u8]>,
    /// Bytes read and not yet consumed.
    pub(crate) input: Vec<u8>,
    pub(crate) out: Vec<u8>,
    pub(crate) written: usize,
    pub(crate) unflushed: bool,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) timer: Pin<Box<Sleep>>,
    pub(crate) outgoing_aliases: OutgoingAliases,
    pub(crate) incoming_aliases: IncomingAliases,
    pub(crate) limits: Arc<ServerLimits>,
    /// Whether the server sent anything after CONNACK.
    pub(crate) useful: bool,
    /// A consumer has no room: nothing is read until it has.
    pub(crate) stalled: bool,
    pub(crate) closing: Option<Option<tokio::sync::oneshot::Sender<()>>>,
    pub(crate) taken: Vec<(Delivery, ReasonCode)>,
    pub(crate) consumers: Vec<Arc<Inbox>>,
    pub(crate) identifiers: Vec<u32>,
}

/// How a connection ended.
pub(crate) enum End {
    /// By the application's wish.
    Stopped,
    Lost(Error),
}

impl Connection {
    pub(crate) fn new(link: Box<dyn Link>, accepted: Accepted, options: &Options) -> Self {
        let Accepted { limits, unread } = accepted;
        let now = Instant::now();
        let aliases = limits.topic_alias_maximum.min(options.outgoing_aliases);
        Self {
            link,
            scratch: vec![0; READ_BYTES].into(),
            input: unread,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            keep_alive: KeepAlive::new(limits.keep_alive, options.ping_timeout, now.into_std()),
            timer: Box::pin(sleep_until(now)),
            outgoing_aliases: OutgoingAliases::new(aliases),
            incoming_aliases: IncomingAliases::new(options.topic_alias_maximum),
            limits: Arc::new(limits),
            useful: false,
            stalled: false,
            closing: None,
            taken: Vec::new(),
            consumers: Vec::new(),
            identifiers: Vec::new(),
        }
    }

    pub(crate) fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes what is there; `true` when something went out.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let before = self.unwritten();
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *self.link).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => self.written += n,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.unwritten() < before {
            self.keep_alive.sent(Instant::now().into_std());
            self.unflushed = true;
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.out.shrink_to(KEEP_BYTES);
            self.written = 0;
        }
        if self.unflushed {
            match Pin::new(&mut *self.link).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        Ok(self.unwritten() < before)
    }

    /// Reads once; `true` when bytes came.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut buf = ReadBuf::new(&mut self.scratch);
        match Pin::new(&mut *self.link).poll_read(cx, &mut buf) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Poll::Ready(Ok(())) => {
                self.input.extend_from_slice(buf.filled());
                self.useful = true;
                self.keep_alive.received();
                Ok(true)
            }
        }
    }

    /// Sends PINGREQ when due, sets the timer, or finds the peer dead. Returns how many it sent.
    pub(crate) fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Result<usize, Error> {
        let mut sent = 0;
        loop {
            match self.keep_alive.due(Instant::now().into_std(), !self.stalled) {
                Due::Dead => {
                    let why = "no answer to PINGREQ";
                    return Err(Error::Lost(io::Error::new(io::ErrorKind::TimedOut, why)));
                }
                Due::Ping => {
                    Packet::PingReq.encode(agentmq_codec::ProtocolVersion::V311, &mut self.out);
                    sent += 1;
                    self.poll_write(cx).map_err(Error::Lost)?;
                }
                Due::Nothing(None) => return Ok(sent),
                Due::Nothing(Some(at)) => {
                    let at = Instant::from_std(at);
                    if self.timer.deadline() != at {
                        self.timer.as_mut().reset(at);
                    }
                    if self.timer.as_mut().poll(cx).is_pending() {
                        return Ok(sent);
                    }
                }
            }
        }
    }
}

/// Read at once.
const READ_BYTES: usize = 32 << 10;

/// Buffer kept by an idle connection.
pub(crate) const KEEP_BYTES: usize = 64 << 10;
