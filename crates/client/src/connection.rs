//! One connection's turn: acknowledgements, packets in, commands, packets out.
//!
//! One task does all of it. In a turn everything that waits is encoded into one buffer, which is
//! written once, so that a burst of publications or acknowledgements costs one write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use agentmq_codec::{
    Ack, AckKind, DecodeError, Disconnect, Packet, PropertyId as P, PropertyLimits, Publish, QoS,
    ReasonCode, frame,
};
use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::command::Command;
use crate::driver::Driver;
use crate::handshake::Accepted;
use crate::inbox::Inbox;
use crate::incoming::Arrival;
use crate::keep_alive::{Due, KeepAlive};
use crate::link::Link;
use crate::message::Delivery;
use crate::topic_alias::{IncomingAliases, OutgoingAliases};
use crate::{Error, Message, Options, ServerLimits};

/// What ends with a connection.
pub(crate) struct Connection {
    link: Box<dyn Link>,
    scratch: Box<[u8]>,
    /// Bytes read and not yet consumed.
    input: Vec<u8>,
    pub(crate) out: Vec<u8>,
    written: usize,
    unflushed: bool,
    keep_alive: KeepAlive,
    timer: Pin<Box<Sleep>>,
    pub(crate) outgoing_aliases: OutgoingAliases,
    incoming_aliases: IncomingAliases,
    pub(crate) limits: Arc<ServerLimits>,
    /// Whether the server sent anything after CONNACK.
    pub(crate) useful: bool,
    /// A consumer has no room: nothing is read until it has.
    stalled: bool,
    closing: Option<Option<tokio::sync::oneshot::Sender<()>>>,
    taken: Vec<(Delivery, ReasonCode)>,
    consumers: Vec<Arc<Inbox>>,
    identifiers: Vec<u32>,
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

    fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes what is there; `true` when something went out.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
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
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
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

    /// Sends PINGREQ when due, sets the timer, or finds the peer dead.
    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        loop {
            match self.keep_alive.due(Instant::now().into_std(), !self.stalled) {
                Due::Dead => {
                    let why = "no answer to PINGREQ";
                    return Err(Error::Lost(io::Error::new(io::ErrorKind::TimedOut, why)));
                }
                Due::Ping => {
                    Packet::PingReq.encode(agentmq_codec::ProtocolVersion::V311, &mut self.out);
                    self.poll_write(cx).map_err(Error::Lost)?;
                }
                Due::Nothing(None) => return Ok(()),
                Due::Nothing(Some(at)) => {
                    let at = Instant::from_std(at);
                    if self.timer.deadline() != at {
                        self.timer.as_mut().reset(at);
                    }
                    if self.timer.as_mut().poll(cx).is_pending() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

impl Driver {
    /// Does everything that can be done now; ready when the connection has ended.
    pub(crate) fn poll_turn(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        match self.turn(connection, cx) {
            Ok(false) => Poll::Pending,
            Ok(true) => {
                if let Some(Some(done)) = connection.closing.take() {
                    let _ = done.send(());
                }
                Poll::Ready(End::Stopped)
            }
            Err(error) => {
                if let Error::Protocol(why) = &error
                    && self.options.version.is_v5()
                {
                    // A last word, if the socket takes it at once (§4.13.1).
                    Disconnect::new(why.reason).encode(self.options.version, &mut connection.out);
                    let _ = connection.poll_write(cx);
                }
                if let Some(Some(done)) = connection.closing.take() {
                    let _ = done.send(());
                    return Poll::Ready(End::Stopped);
                }
                Poll::Ready(End::Lost(error))
            }
        }
    }

    /// `true` when a DISCONNECT of ours has gone out.
    fn turn(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Result<bool, Error> {
        loop {
            self.collect_taken(connection, cx);
            self.consume_input(connection)?;
            self.accept_commands(connection, cx);
            let mut progress = connection.poll_write(cx).map_err(Error::Lost)?;
            if connection.closing.is_some() && connection.out.is_empty() && !connection.unflushed {
                return match Pin::new(&mut *connection.link).poll_shutdown(cx) {
                    Poll::Pending => Ok(false),
                    Poll::Ready(_) => Ok(true),
                };
            }
            if !connection.stalled && connection.unwritten() < MAX_UNWRITTEN {
                progress |= connection.poll_read(cx).map_err(Error::Lost)?;
            }
            if !progress {
                break;
            }
        }
        connection.poll_keep_alive(cx)?;
        Ok(false)
    }

    fn collect_taken(&mut self, connection: &mut Connection, cx: &Context<'_>) {
        self.signal.collect(cx, &mut connection.taken);
        for (delivery, reason) in connection.taken.drain(..) {
            let version = self.options.version;
            self.incoming.taken(delivery, reason, self.epoch, version, &mut connection.out);
        }
    }

    fn accept_commands(&mut self, connection: &mut Connection, cx: &mut Context<'_>) {
        while connection.unwritten() < ENOUGH_UNWRITTEN && connection.closing.is_none() {
            if self.session.must_resend() {
                self.session.resend(&mut connection.outgoing_aliases, &mut connection.out);
                continue;
            }
            let command = match self.parked.take() {
                Some(command) => command,
                None => match self.commands.poll_recv(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Some(command)) => command,
                    // Every handle is gone.
                    Poll::Ready(None) => {
                        self.disconnect(connection, ReasonCode::NORMAL_DISCONNECTION, None);
                        return;
                    }
                },
            };
            match command {
                Command::Publish { publish, done } => {
                    if !self.session.can_publish(publish.qos) {
                        self.parked = Some(Command::Publish { publish, done });
                        return;
                    }
                    if let Err(error) = check_publish(&publish, &connection.limits, &self.options) {
                        let _ = done.send(Err(error));
                        continue;
                    }
                    let aliases = &mut connection.outgoing_aliases;
                    self.session.publish(publish, done, aliases, &mut connection.out);
                }
                Command::Subscribe(request) => self.subscribe(request, connection),
                Command::Unsubscribe { filters, done } => {
                    self.unsubscribe(filters, done, connection);
                }
                Command::Disconnect { reason, properties, done } => {
                    let packet = Disconnect { reason, properties: properties.view() };
                    self.disconnect(connection, reason, Some((packet, done)));
                }
            }
        }
    }

    fn disconnect(
        &self,
        connection: &mut Connection,
        reason: ReasonCode,
        packet: Option<(Disconnect<'_>, tokio::sync::oneshot::Sender<()>)>,
    ) {
        let (packet, done) = match packet {
            Some((packet, done)) => (packet, Some(done)),
            None => (Disconnect::new(reason), None),
        };
        packet.encode(self.options.version, &mut connection.out);
        connection.closing = Some(done);
    }

    /// Handles every whole packet that can be handled.
    fn consume_input(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let input = std::mem::take(&mut connection.input);
        let mut rest = input.as_slice();
        connection.stalled = false;
        while let Some(frame) = frame::cut(rest, self.options.max_packet_size as usize)? {
            let (packet, behind) = rest.split_at_checked(frame.total).unwrap_or((rest, &[]));
            let body = packet.get(frame.body_at..).unwrap_or_default();
            let version = self.options.version;
            let packet = Packet::decode(frame.first, body, version, &PropertyLimits::UNLIMITED)?;
            if !self.handle(packet, connection)? {
                connection.stalled = true;
                break;
            }
            rest = behind;
        }
        let consumed = input.len() - rest.len();
        connection.input = input;
        connection.input.drain(..consumed);
        if connection.input.is_empty() {
            connection.input.shrink_to(KEEP_BYTES);
        }
        Ok(())
    }

    /// `false` when the packet must wait.
    fn handle(&mut self, packet: Packet<'_>, connection: &mut Connection) -> Result<bool, Error> {
        match packet {
            Packet::Publish(publish) => return self.deliver(&publish, connection),
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                self.incoming.released(ack.packet_id, self.options.version, &mut connection.out);
            }
            Packet::Ack(ack) => self.session.acknowledged(&ack, &mut connection.out)?,
            Packet::SubAck(ack) => {
                let reasons = ack.reasons().collect();
                self.answered(ack.packet_id, reasons, ack.properties)?;
            }
            Packet::UnsubAck(ack) => {
                let reasons = ack.reasons().collect();
                self.answered(ack.packet_id, reasons, ack.properties)?;
            }
            Packet::PingResp => {}
            Packet::Disconnect(packet) => {
                let text = packet.properties.text(P::ReasonString).map(str::to_owned);
                return Err(Error::ServerDisconnect { reason: packet.reason, text });
            }
            _ => return Err(DecodeError::protocol("packet that a server must not send").into()),
        }
        Ok(true)
    }

    /// Hands a PUBLISH to its consumers; `false` when one of them has no room.
    fn deliver(
        &mut self,
        publish: &Publish<'_>,
        connection: &mut Connection,
    ) -> Result<bool, Error> {
        let alias = publish.properties.u16(P::TopicAlias);
        let topic = connection.incoming_aliases.resolve(publish.topic, alias)?;
        if publish.qos == QoS::ExactlyOnce {
            match self.incoming.arrival(publish.packet_id, publish.qos) {
                Arrival::New => {}
                Arrival::Repeated => return Ok(true),
                Arrival::Taken => {
                    Ack::new(AckKind::PubRec, publish.packet_id, ReasonCode::Success)
                        .encode(self.options.version, &mut connection.out);
                    return Ok(true);
                }
            }
        }
        let consumers = &mut connection.consumers;
        consumers.clear();
        let is_answer = self.requests.expects(topic);
        if !is_answer {
            connection.identifiers.clear();
            connection.identifiers.extend(publish.properties.subscription_identifiers());
            self.routes.find(topic, &connection.identifiers, consumers);
            // Each is asked, so that each that is full promises to wake us.
            if consumers.iter().filter(|inbox| !inbox.has_room()).count() > 0 {
                consumers.clear();
                return Ok(false);
            }
        }
        let (packet_id, qos, epoch) = (publish.packet_id, publish.qos, self.epoch);
        let delivery = (qos != QoS::AtMostOnce).then_some(Delivery { packet_id, qos, epoch });
        let message = Message {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(publish.payload),
            qos,
            retain: publish.retain,
            dup: publish.dup,
            properties: publish.properties.iter().filter(|p| p.id() != P::TopicAlias).collect(),
            delivery,
        };
        let mut takers = 0u8;
        if is_answer {
            self.requests.answer(message);
        } else {
            for inbox in consumers.drain(..) {
                takers = takers.saturating_add(u8::from(inbox.put(message.clone())));
            }
        }
        if let Some(delivery) = delivery {
            self.incoming.handed_over(delivery, takers.max(1));
            if takers == 0 {
                let version = self.options.version;
                let done = ReasonCode::Success;
                self.incoming.taken(delivery, done, epoch, version, &mut connection.out);
            }
        }
        Ok(true)
    }
}

/// What the server said in CONNACK that it refuses, refused here (MQTT 5 §3.2.2.3).
fn check_publish(
    publish: &crate::Publish,
    limits: &ServerLimits,
    options: &Options,
) -> Result<(), Error> {
    if publish.qos > limits.maximum_qos {
        return Err(Error::Unsupported("this QoS")); // [MQTT-3.2.2-11]
    }
    if publish.retain && !limits.retain {
        return Err(Error::Unsupported("retained messages")); // [MQTT-3.2.2-14]
    }
    let size = publish.longest_packet(options.version);
    let max = limits.maximum_packet_size as usize;
    if size > max {
        return Err(Error::TooLarge { size, max }); // [MQTT-3.2.2-15]
    }
    Ok(())
}

/// Read at once.
const READ_BYTES: usize = 32 << 10;

/// Buffer kept by an idle connection.
const KEEP_BYTES: usize = 64 << 10;

/// No further commands are taken above this many bytes that the socket did not accept; what is
/// asked then waits in the bounded command queue.
const ENOUGH_UNWRITTEN: usize = 256 << 10;

/// Nothing is read above this: acknowledgements would pile up behind a peer that does not read.
const MAX_UNWRITTEN: usize = 4 << 20;
