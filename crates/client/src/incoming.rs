//! QoS 1 and 2 messages received and not yet done with (MQTT 5 §4.3.2, §4.3.3).

use std::collections::HashMap;

use agentmq_codec::{Ack, AckKind, ProtocolVersion, QoS, ReasonCode};

use crate::message::Delivery;

/// The receiver's half of the session.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    by_id: HashMap<u16, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    qos: QoS,
    epoch: u64,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// With so many consumers.
    Waiting(u8),
    /// PUBREC is sent, PUBREL awaited.
    Received,
}

/// What to do with a PUBLISH.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Hand it over.
    New,
    /// A repetition whose first copy is still being handed over.
    Repeated,
    /// A repetition of what is already taken: send PUBREC again.
    Taken,
}

impl Incoming {
    /// A PUBLISH arrived on connection `epoch`.
    pub(crate) fn arrival(&self, packet_id: u16, qos: QoS) -> Arrival {
        // A repeated QoS 1 message is a new one for us: its first copy may have been lost with
        // the connection (§4.3.2).
        match self.by_id.get(&packet_id) {
            Some(entry) if qos == QoS::ExactlyOnce && entry.qos == qos => match entry.step {
                Step::Waiting(_) => Arrival::Repeated,
                Step::Received => Arrival::Taken,
            },
            _ => Arrival::New,
        }
    }

    /// Remembers a message handed to `consumers`.
    pub(crate) fn handed_over(&mut self, delivery: Delivery, consumers: u8) {
        let Delivery { packet_id, qos, epoch } = delivery;
        self.by_id.insert(packet_id, Entry { qos, epoch, step: Step::Waiting(consumers) });
    }

    /// A consumer is done with a message; appends PUBACK or PUBREC when it was the last one. An
    /// acknowledgement of a QoS 1 message from an earlier connection is void: the server sends
    /// the message again, and its identifier may by now stand for another one.
    pub(crate) fn taken(
        &mut self,
        delivery: Delivery,
        reason: ReasonCode,
        epoch: u64,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) {
        let Some(entry) = self.by_id.get_mut(&delivery.packet_id) else { return };
        let Step::Waiting(consumers) = entry.step else { return };
        if entry.epoch != delivery.epoch {
            return;
        }
        if consumers > 1 && !reason.is_error() {
            entry.step = Step::Waiting(consumers - 1);
            return;
        }
        let kind = if entry.qos == QoS::ExactlyOnce {
            entry.step = Step::Received;
            if reason.is_error() {
                self.by_id.remove(&delivery.packet_id); // [MQTT-4.3.3-9]
            }
            AckKind::PubRec
        } else {
            let current = entry.epoch == epoch;
            self.by_id.remove(&delivery.packet_id);
            if !current {
                return;
            }
            AckKind::PubAck
        };
        Ack::new(kind, delivery.packet_id, reason).encode(version, out);
    }

    /// PUBREL: appends PUBCOMP.
    pub(crate) fn released(&mut self, packet_id: u16, version: ProtocolVersion, out: &mut Vec<u8>) {
        let known = self.by_id.remove(&packet_id).is_some();
        // Older versions have no code; there PUBCOMP always ends the exchange.
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        Ack::new(AckKind::PubComp, packet_id, reason).encode(version, out);
    }

    /// The server lost the session: nothing received earlier can be acknowledged.
    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V5: ProtocolVersion = ProtocolVersion::V5;

    fn delivery(packet_id: u16, qos: QoS, epoch: u64) -> Delivery {
        Delivery { packet_id, qos, epoch }
    }

    #[test]
    fn qos_1_is_acknowledged_once_by_the_last_consumer() {
        let (mut incoming, mut out) = (Incoming::default(), Vec::new());
        let message = delivery(5, QoS::AtLeastOnce, 1);
        incoming.handed_over(message, 2);
        incoming.taken(message, ReasonCode::Success, 1, V5, &mut out);
        assert!(out.is_empty());
        incoming.taken(message, ReasonCode::Success, 1, V5, &mut out);
        assert_eq!(out, [0x40, 2, 0, 5]);
        incoming.taken(message, ReasonCode::Success, 1, V5, &mut out);
        assert_eq!(out.len(), 4);
    }

    #[test]
    fn an_acknowledgement_does_not_outlive_its_connection_at_qos_1() {
        let (mut incoming, mut out) = (Incoming::default(), Vec::new());
        let old = delivery(5, QoS::AtLeastOnce, 1);
        incoming.handed_over(old, 1);
        incoming.taken(old, ReasonCode::Success, 2, V5, &mut out);
        assert!(out.is_empty());
        let again = delivery(5, QoS::AtLeastOnce, 2);
        incoming.handed_over(again, 1);
        incoming.taken(old, ReasonCode::Success, 2, V5, &mut out);
        assert!(out.is_empty());
        incoming.taken(again, ReasonCode::Success, 2, V5, &mut out);
        assert_eq!(out, [0x40, 2, 0, 5]);
    }

    #[test]
    fn qos_2_is_handed_over_once_whatever_is_repeated() {
        let (mut incoming, mut out) = (Incoming::default(), Vec::new());
        let message = delivery(9, QoS::ExactlyOnce, 1);
        assert_eq!(incoming.arrival(9, QoS::ExactlyOnce), Arrival::New);
        incoming.handed_over(message, 1);
        assert_eq!(incoming.arrival(9, QoS::ExactlyOnce), Arrival::Repeated);
        incoming.taken(message, ReasonCode::Success, 2, V5, &mut out);
        assert_eq!(out, [0x50, 2, 0, 9]);
        assert_eq!(incoming.arrival(9, QoS::ExactlyOnce), Arrival::Taken);
        out.clear();
        incoming.released(9, V5, &mut out);
        assert_eq!(out, [0x70, 2, 0, 9]);
        assert_eq!(incoming.arrival(9, QoS::ExactlyOnce), Arrival::New);
        out.clear();
        incoming.released(9, V5, &mut out);
        assert_eq!(out, [0x70, 3, 0, 9, 0x92]);
    }
}
