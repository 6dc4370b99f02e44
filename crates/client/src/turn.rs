//! One turn of a connection: acknowledgements, packets in, commands, packets out.
//!
//! One task does all of it. In a turn everything that waits is encoded into one buffer, which is
//! written once, so that a burst of publications or acknowledgements costs one write.

use std::pin::Pin;
use std::task::{Context, Poll};

use agentmq_codec::{Disconnect, Packet, ReasonCode};

use crate::command::Command;
use crate::connection::{Connection, End};
use crate::driver::Driver;
use crate::{Error, Options, ServerLimits};

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
        for _ in 0..connection.poll_keep_alive(cx)? {
            self.pings.push_back(None);
        }
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
                Command::Publish(request) => {
                    let publish = &request.publish;
                    if !self.session.can_publish(publish.qos) {
                        self.parked = Some(Command::Publish(request));
                        return;
                    }
                    if let Err(error) = check_publish(publish, &connection.limits, &self.options) {
                        let _ = request.done.send(Err(error));
                        continue;
                    }
                    let aliases = &mut connection.outgoing_aliases;
                    self.session.publish(request, aliases, &mut connection.out);
                }
                Command::Subscribe(request) => self.subscribe(request, connection),
                Command::Unsubscribe { filters, done } => {
                    self.unsubscribe(filters, done, connection);
                }
                Command::Flush { done } => {
                    Packet::PingReq.encode(self.options.version, &mut connection.out);
                    self.pings.push_back(Some(done));
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

/// No further commands are taken above this many bytes that the socket did not accept; what is
/// asked then waits in the bounded command queue.
const ENOUGH_UNWRITTEN: usize = 256 << 10;

/// Nothing is read above this: acknowledgements would pile up behind a peer that does not read.
const MAX_UNWRITTEN: usize = 4 << 20;
