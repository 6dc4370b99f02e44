//! What the publisher of a PUBLISH is told.

use agentmq_codec::{AckKind, Publish, QoS, ReasonCode};
use agentmq_session::{PendingAck, Time};

use crate::connection::{Connection, ConnectionId};
use crate::handle_connect::Refused;
use crate::router::Router;

impl Router {
    pub(crate) fn acknowledge_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) {
        let Some(kind) = ack_kind(publish.qos) else { return };
        if !reason.is_error() {
            return self.acknowledge(id, PendingAck::Ack(kind, publish.packet_id, reason));
        }
        // It was delivered, if not retained. An error would end a QoS 2 exchange [MQTT-4.3.3-4],
        // and a client that misses the PUBREC would publish it again.
        let reason = if kind == AckKind::PubRec { ReasonCode::Success } else { reason };
        let Some(connection) = self.connection_mut(id) else { return };
        let ack = connection.explained(kind, publish.packet_id, reason, NOT_RETAINED);
        self.acknowledge(id, ack);
    }

    /// A publication that is refused: a call by an answer, if it can be answered so, a request of
    /// MCP by an answer, too, all else by its acknowledgement.
    #[cold]
    pub(crate) fn refuse_call(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        refused: &Refused,
        now: Time,
    ) -> Option<ReasonCode> {
        if self.reply_refusal(id, publish, topic, refused, now) {
            self.counters.publish_refused += 1;
            return self.take_in_vain(id, publish);
        }
        let (reason, why) = refused;
        if self.is_mcp(topic) {
            let word = match *reason {
                ReasonCode::QuotaExceeded => "quota_exceeded",
                _ => "not_allowed",
            };
            self.reply_mcp_error(id, publish, topic, (why, Some(word)), now);
        }
        self.refuse_publish(id, publish, *reason, why)
    }

    /// A publication that is not routed: tells its publisher, if it expects an answer. None is left
    /// to send.
    pub(crate) fn refuse_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        reason: ReasonCode,
        why: &str,
    ) -> Option<ReasonCode> {
        self.counters.publish_refused += 1;
        let connection = self.connection_mut(id);
        if let Some(ack) = connection.and_then(|it| it.refusal(publish, reason, why)) {
            self.acknowledge(id, ack);
        }
        None
    }

    /// A publication that goes nowhere, as its publisher need not know. Returns the reason for its
    /// acknowledgement.
    pub(crate) fn take_in_vain(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
    ) -> Option<ReasonCode> {
        if publish.qos == QoS::ExactlyOnce
            && let Some((_, session)) = self.connected(id)
        {
            session.unreleased.insert(publish.packet_id);
        }
        Some(ReasonCode::Success)
    }
}

impl Connection {
    /// The acknowledgement that refuses a publication; none for QoS 0.
    fn refusal(&self, publish: &Publish<'_>, reason: ReasonCode, why: &str) -> Option<PendingAck> {
        let kind = ack_kind(publish.qos)?;
        Some(self.explained(kind, publish.packet_id, reason, why))
    }
}

/// The first answer to a PUBLISH.
fn ack_kind(qos: QoS) -> Option<AckKind> {
    match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce => Some(AckKind::PubAck),
        QoS::ExactlyOnce => Some(AckKind::PubRec),
    }
}

const NOT_RETAINED: &str = "delivered but not retained: retained_messages or retained_bytes is \
    reached, of this server or of the plan; clear retained topics or raise the limit";
