//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client.

use agentmq_codec::{Ack, AckKind, ReasonCode};
use agentmq_session::{AckOutcome, Change, PendingAck};

use crate::connection::{Connection, ConnectionId};
use crate::router::Router;

impl Router {
    pub(crate) fn handle_ack(&mut self, id: ConnectionId, ack: &Ack<'_>) {
        let is_undecided = self.is_undecided(id, ack);
        let Some((connection, session)) = self.connected(id) else { return };
        let (is_v5, index) = (connection.version.is_v5(), connection.session);
        let (packet_id, key) = (ack.packet_id, session.key());
        let outcome = match ack.kind {
            AckKind::PubAck => session.window.acknowledge(packet_id),
            AckKind::PubRec => session.window.receive(packet_id, ack.reason.is_error()),
            AckKind::PubComp => session.window.complete_release(packet_id),
            AckKind::PubRel => {
                let known = !is_undecided && session.unreleased.remove(packet_id);
                let pubcomp = if known || !is_v5 {
                    PendingAck::Ack(AckKind::PubComp, packet_id, ReasonCode::Success)
                } else {
                    not_found(connection, AckKind::PubComp, packet_id)
                };
                if known && key.is_some() {
                    self.record_exchange(index, Change::Released { session: key, packet_id });
                }
                return self.acknowledge(id, pubcomp);
            }
        };
        if key.is_some() {
            match outcome {
                AckOutcome::Completed => self.record(Change::Completed { session: key, packet_id }),
                AckOutcome::Release => {
                    self.record_exchange(index, Change::Received { session: key, packet_id });
                }
                AckOutcome::Unknown => {}
            }
        }
        match (outcome, ack.kind) {
            (AckOutcome::Completed, _) => {
                self.drain_later(index);
                self.tell_homes(index);
            }
            (AckOutcome::Release, _) => {
                let pubrel = PendingAck::Ack(AckKind::PubRel, packet_id, ReasonCode::Success);
                self.acknowledge(id, pubrel);
            }
            // A PUBREC for nothing gets an answer that ends the exchange (§4.3.3, table 3-6).
            (AckOutcome::Unknown, AckKind::PubRec) if !ack.reason.is_error() => {
                let Some(connection) = self.connection_mut(id) else { return };
                let pubrel = if is_v5 {
                    not_found(connection, AckKind::PubRel, packet_id)
                } else {
                    PendingAck::Ack(AckKind::PubRel, packet_id, ReasonCode::Success)
                };
                self.acknowledge(id, pubrel);
            }
            (AckOutcome::Unknown, _) => {}
        }
    }
}

impl Router {
    /// Whether this is a PUBREL that comes before its PUBREC: the exchange has not come so far.
    fn is_undecided(&mut self, id: ConnectionId, ack: &Ack<'_>) -> bool {
        let session = self.connected(id).filter(|_| ack.kind == AckKind::PubRel);
        let durable = session.and_then(|(_, session)| session.durable.as_deref().copied());
        durable.is_some_and(|durable| self.undecided.has((durable.key, ack.packet_id)))
    }
}

fn not_found(connection: &Connection, kind: AckKind, packet_id: u16) -> PendingAck {
    let why = match kind {
        AckKind::PubRel => "no QoS 2 PUBLISH to this client has this identifier: it is over",
        _ => "no QoS 2 PUBLISH of this client waits with this identifier: it is over",
    };
    connection.explained(kind, packet_id, ReasonCode::PacketIdentifierNotFound, why)
}
