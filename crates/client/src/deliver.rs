//! Packets from the server: cut, handled, handed to their consumers.

use agentmq_codec::{
    Ack, AckKind, DecodeError, Packet, PropertyId as P, PropertyLimits, Publish, QoS, ReasonCode,
    frame,
};
use bytes::Bytes;

use crate::connection::{Connection, KEEP_BYTES};
use crate::driver::Driver;
use crate::incoming::Arrival;
use crate::message::Delivery;
use crate::{Error, Message};

impl Driver {
    /// Handles every whole packet that can be handled.
    pub(crate) fn consume_input(&mut self, connection: &mut Connection) -> Result<(), Error> {
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
            Packet::PingResp => {
                if let Some(Some(waiting)) = self.pings.pop_front() {
                    let _ = waiting.send(Ok(()));
                }
            }
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
