//! The sender's half of the session: what we sent and the server has not yet answered
//! (MQTT 5 §4.3, §4.4, §4.9). No I/O; packets are appended to a buffer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_codec::{
    Ack, AckKind, DecodeError, Properties, PropertyId, ProtocolVersion, QoS, ReasonCode,
};

use crate::command::{PublishRequest, Reply};
use crate::packet_id::PacketIds;
use crate::topic_alias::OutgoingAliases;
use crate::{Error, Publish};

/// Which of the sessions that the server has had for a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionNumber(pub(crate) u64);

/// Publications in flight, in the order they were made. Survives connections.
#[derive(Debug)]
pub(crate) struct Session {
    version: ProtocolVersion,
    /// Counts the sessions that the server has had for us: goes up when it has lost one.
    pub(crate) number: Arc<AtomicU64>,
    pub(crate) ids: PacketIds,
    flights: HashMap<u16, Flight>,
    next_order: u64,
    /// Identifiers to be sent again after a reconnection, as the window allows.
    again: VecDeque<u16>,
    /// How many may be in flight: the server's Receive Maximum or our own bound.
    window: usize,
    /// How many are, on this connection.
    in_window: usize,
}

#[derive(Debug)]
struct Flight {
    order: u64,
    topic: String,
    /// `None` once PUBREC came: the message must not be sent again [MQTT-4.3.3-4].
    publish: Option<Publish>,
    /// Whether any connection carried it; decides DUP.
    sent: bool,
    only_in: Option<SessionNumber>,
    done: Reply<ReasonCode>,
}

impl Session {
    pub(crate) fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            number: Arc::default(),
            ids: PacketIds::default(),
            flights: HashMap::new(),
            next_order: 0,
            again: VecDeque::new(),
            window: 0,
            in_window: 0,
        }
    }

    /// The server does not have it any more. What is unacknowledged is published anew, since the
    /// application was not told that it arrived, but not what was for that session only.
    pub(crate) fn lost(&mut self) {
        self.number.fetch_add(1, Ordering::Relaxed);
        let settled = |flight: &Flight| match (&flight.publish, flight.only_in) {
            // PUBREC was the server's word that it has the message.
            (None, _) => Some(Ok(ReasonCode::Success)),
            (Some(_), Some(_)) => Some(Err(Error::SessionLost)),
            (Some(_), None) => None,
        };
        let all: Vec<_> =
            self.flights.iter().filter_map(|(&id, it)| Some((id, settled(it)?))).collect();
        for (id, result) in all {
            self.settle(id, |_| result);
        }
        for flight in self.flights.values_mut() {
            flight.sent = false;
        }
    }

    /// A connection is up. Everything unacknowledged is sent again, in order and with its
    /// identifier [MQTT-4.4.0-1].
    pub(crate) fn connected(&mut self, window: u16) {
        self.window = usize::from(window);
        self.in_window = 0;
        let mut order: Vec<_> = self.flights.iter().map(|(&id, f)| (f.order, id)).collect();
        order.sort_unstable();
        self.again = order.into_iter().map(|(_, id)| id).collect();
    }

    /// Whether a publication waits for its acknowledgement.
    pub(crate) fn has_unacknowledged(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Whether a new publication of this QoS can be sent now without overtaking an earlier one.
    pub(crate) fn can_publish(&self, qos: QoS) -> bool {
        self.again.is_empty() && (qos == QoS::AtMostOnce || self.in_window < self.window)
    }

    /// Whether something from an earlier connection can be sent again now.
    pub(crate) fn must_resend(&self) -> bool {
        !self.again.is_empty() && self.in_window < self.window
    }

    /// Sends one packet from an earlier connection again.
    pub(crate) fn resend(&mut self, aliases: &mut OutgoingAliases, out: &mut Vec<u8>) {
        let Some(id) = self.again.pop_front() else { return };
        let Some(flight) = self.flights.get_mut(&id) else { return };
        self.in_window += 1;
        match &flight.publish {
            Some(publish) => {
                let dup = std::mem::replace(&mut flight.sent, true);
                let head = publish.head(id, dup, aliases.apply(&publish.topic));
                head.encode(self.version, out);
                out.extend_from_slice(&publish.payload);
            }
            None => Ack::new(AckKind::PubRel, id, ReasonCode::Success).encode(self.version, out),
        }
    }

    /// Sends a publication; [`Self::can_publish`] was true.
    pub(crate) fn publish(
        &mut self,
        PublishRequest { publish, only_in, done }: PublishRequest,
        aliases: &mut OutgoingAliases,
        out: &mut Vec<u8>,
    ) {
        if only_in.is_some_and(|it| it != SessionNumber(self.number.load(Ordering::Relaxed))) {
            let _ = done.send(Err(Error::SessionLost));
            return;
        }
        if publish.qos == QoS::AtMostOnce {
            publish.head(0, false, aliases.apply(&publish.topic)).encode(self.version, out);
            out.extend_from_slice(&publish.payload);
            let _ = done.send(Ok(ReasonCode::Success));
            return;
        }
        let Some(id) = self.ids.take() else {
            let _ = done.send(Err(Error::Invalid("all packet identifiers are in use".into())));
            return;
        };
        publish.head(id, false, aliases.apply(&publish.topic)).encode(self.version, out);
        out.extend_from_slice(&publish.payload);
        let order = self.next_order;
        self.next_order += 1;
        self.in_window += 1;
        let topic = publish.topic.clone();
        let publish = Some(publish);
        let flight = Flight { order, topic, publish, sent: true, only_in, done };
        self.flights.insert(id, flight);
    }

    /// PUBACK, PUBREC or PUBCOMP.
    pub(crate) fn acknowledged(
        &mut self,
        ack: &Ack<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let id = ack.packet_id;
        let flight = self.flights.get_mut(&id);
        let waits_for = flight.as_ref().and_then(|flight| {
            Some(match (&flight.publish, flight.publish.as_ref()?.qos) {
                (Some(_), QoS::AtLeastOnce) => AckKind::PubAck,
                _ => AckKind::PubRec,
            })
        });
        match (ack.kind, flight, waits_for) {
            (AckKind::PubAck, Some(_), Some(AckKind::PubAck))
            | (AckKind::PubComp, Some(_), None) => {
                self.finish(id, ack.reason, ack.properties);
            }
            (AckKind::PubRec, Some(flight), _) => {
                if waits_for == Some(AckKind::PubAck) {
                    return Err(DecodeError::protocol("PUBREC for a QoS 1 message"));
                }
                if ack.reason.is_error() {
                    self.finish(id, ack.reason, ack.properties); // [MQTT-4.3.3-4]
                    return Ok(());
                }
                flight.publish = None;
                Ack::new(AckKind::PubRel, id, ReasonCode::Success).encode(self.version, out);
            }
            (AckKind::PubRec, None, _) => {
                let reason = ReasonCode::PacketIdentifierNotFound;
                Ack::new(AckKind::PubRel, id, reason).encode(self.version, out);
            }
            // A late answer to something already settled with a lost session.
            (_, None, _) => {}
            _ => return Err(DecodeError::protocol("acknowledgement of the wrong kind")),
        }
        Ok(())
    }

    /// The server has answered.
    fn finish(&mut self, id: u16, reason: ReasonCode, properties: Properties<'_>) {
        self.settle(id, |topic| {
            if !reason.is_error() {
                return Ok(reason);
            }
            let text = properties.text(PropertyId::ReasonString).map(str::to_owned);
            Err(Error::Rejected { what: topic, reason, text })
        });
    }

    /// Nothing more is to be sent of it; `result` is given its topic.
    fn settle(&mut self, id: u16, result: impl FnOnce(String) -> Result<ReasonCode, Error>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        self.ids.free(id);
        if self.again.contains(&id) {
            self.again.retain(|&other| other != id);
        } else {
            self.in_window = self.in_window.saturating_sub(1);
        }
        let _ = flight.done.send(result(flight.topic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn send(
        session: &mut Session,
        topic: &str,
        qos: QoS,
        out: &mut Vec<u8>,
    ) -> oneshot::Receiver<Result<ReasonCode, Error>> {
        let (done, answer) = oneshot::channel();
        assert!(session.can_publish(qos));
        let publish = Publish::new(topic.to_owned(), "x").qos(qos);
        let request = PublishRequest { publish, only_in: None, done };
        session.publish(request, &mut OutgoingAliases::new(0), out);
        answer
    }

    fn ack(kind: AckKind, id: u16) -> Ack<'static> {
        Ack::new(kind, id, ReasonCode::Success)
    }

    fn resend_all(session: &mut Session) -> Vec<u8> {
        let mut out = Vec::new();
        while session.must_resend() {
            session.resend(&mut OutgoingAliases::new(0), &mut out);
        }
        out
    }

    #[test]
    fn the_window_bounds_what_is_in_flight() {
        let mut session = Session::new(ProtocolVersion::V311);
        let mut out = Vec::new();
        session.connected(1);
        let mut answer = send(&mut session, "a", QoS::AtLeastOnce, &mut out);
        assert!(!session.can_publish(QoS::AtLeastOnce));
        assert!(session.can_publish(QoS::AtMostOnce));
        session.acknowledged(&ack(AckKind::PubAck, 1), &mut out).unwrap();
        assert_eq!(answer.try_recv().unwrap().unwrap(), ReasonCode::Success);
        assert!(session.can_publish(QoS::AtLeastOnce));
    }

    #[test]
    fn a_resumed_session_sends_again_in_order_and_within_the_window() {
        let mut session = Session::new(ProtocolVersion::V311);
        let mut out = Vec::new();
        session.connected(10);
        let _a = send(&mut session, "a", QoS::AtLeastOnce, &mut out);
        let _b = send(&mut session, "b", QoS::ExactlyOnce, &mut out);
        let _c = send(&mut session, "c", QoS::AtLeastOnce, &mut out);
        session.acknowledged(&ack(AckKind::PubRec, 2), &mut out).unwrap();
        session.connected(2);
        assert!(!session.can_publish(QoS::AtMostOnce));
        let first = resend_all(&mut session);
        assert_eq!(first, [0x3A, 6, 0, 1, b'a', 0, 1, b'x', 0x62, 2, 0, 2]);
        session.acknowledged(&ack(AckKind::PubComp, 2), &mut out).unwrap();
        assert_eq!(resend_all(&mut session), [0x3A, 6, 0, 1, b'c', 0, 3, b'x']);
    }

    #[test]
    fn a_lost_session_publishes_anew_and_settles_what_the_server_had() {
        let mut session = Session::new(ProtocolVersion::V311);
        let mut out = Vec::new();
        session.connected(10);
        let _a = send(&mut session, "a", QoS::AtLeastOnce, &mut out);
        let mut b = send(&mut session, "b", QoS::ExactlyOnce, &mut out);
        session.acknowledged(&ack(AckKind::PubRec, 2), &mut out).unwrap();
        session.lost();
        session.connected(10);
        assert_eq!(b.try_recv().unwrap().unwrap(), ReasonCode::Success);
        assert_eq!(resend_all(&mut session), [0x32, 6, 0, 1, b'a', 0, 1, b'x']);
    }

    #[test]
    fn a_refusal_is_an_error_and_frees_the_window() {
        let mut session = Session::new(ProtocolVersion::V5);
        let mut out = Vec::new();
        session.connected(1);
        let mut answer = send(&mut session, "a", QoS::ExactlyOnce, &mut out);
        let refusal = Ack::new(AckKind::PubRec, 1, ReasonCode::NotAuthorized);
        session.acknowledged(&refusal, &mut out).unwrap();
        assert!(matches!(answer.try_recv(), Ok(Err(Error::Rejected { .. }))));
        assert!(session.can_publish(QoS::ExactlyOnce));
        let wrong = session.acknowledged(&ack(AckKind::PubRec, 1), &mut out);
        assert!(wrong.is_ok(), "unknown PUBREC is answered with PUBREL 0x92");
    }

    #[test]
    fn an_answer_of_the_wrong_kind_is_a_protocol_error() {
        let mut session = Session::new(ProtocolVersion::V5);
        let mut out = Vec::new();
        session.connected(2);
        let _a = send(&mut session, "a", QoS::AtLeastOnce, &mut out);
        assert!(session.acknowledged(&ack(AckKind::PubComp, 1), &mut out).is_err());
        assert!(session.acknowledged(&ack(AckKind::PubRec, 1), &mut out).is_err());
    }
}
