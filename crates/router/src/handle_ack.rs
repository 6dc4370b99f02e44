//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client.

use agentmq_codec::{Ack, AckKind, ReasonCode};
use agentmq_session::{AckOutcome, PendingAck, Time};

use crate::connection::ConnectionId;
use crate::router::Router;

impl Router {
    pub(crate) fn handle_ack(&mut self, id: ConnectionId, ack: &Ack<'_>, now: Time) {
        let Some((connection, session)) = self.connected(id) else { return };
        let (is_v5, index) = (connection.version.is_v5(), connection.session);
        let packet_id = ack.packet_id;
        let outcome = match ack.kind {
            AckKind::PubAck => session.window.acknowledge(packet_id),
            AckKind::PubRec => session.window.receive(packet_id, ack.reason.is_error()),
            AckKind::PubComp => session.window.complete_release(packet_id),
            AckKind::PubRel => {
                let known = session.unreleased.remove(packet_id);
                let reason = if known || !is_v5 {
                    ReasonCode::Success
                } else {
                    ReasonCode::PacketIdentifierNotFound
                };
                let pubcomp = PendingAck::Ack(AckKind::PubComp, packet_id, reason);
                return self.acknowledge(id, pubcomp);
            }
        };
        match (outcome, ack.kind) {
            (AckOutcome::Completed(_), _) => {
                self.drain(index, now);
                self.tell_load(index);
            }
            (AckOutcome::Release, _) => {
                let pubrel = PendingAck::Ack(AckKind::PubRel, packet_id, ReasonCode::Success);
                self.acknowledge(id, pubrel);
            }
            // A PUBREC for nothing gets an answer that ends the exchange (§4.3.3, table 3-6).
            (AckOutcome::Unknown, AckKind::PubRec) if !ack.reason.is_error() => {
                let reason =
                    if is_v5 { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
                self.acknowledge(id, PendingAck::Ack(AckKind::PubRel, packet_id, reason));
            }
            (AckOutcome::Unknown, _) => {}
        }
    }

    /// PUBREL of a resumed exchange.
    pub(crate) fn write_pubrel(&mut self, id: ConnectionId, packet_id: u16) {
        if let Some(connection) = self.dirty_connection(id) {
            Ack::new(AckKind::PubRel, packet_id, ReasonCode::Success)
                .encode(connection.version, connection.outbox.bytes());
        }
    }
}
