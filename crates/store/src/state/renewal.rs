//! What is written again of a record whose segment goes.

use agentmq_log::Position;
use agentmq_session::SessionKey;

use super::{Place, State};
use crate::record::{
    MessageRecord, RecipientRecord, Record, UnderWayRecord, clearing_packet, publish_of,
};

impl State {
    /// Whether a record at `position` still counts, and what is to be written instead of it when
    /// its segment goes: appends that to `out`. `wall` is the time, in milliseconds since 1970.
    pub(crate) fn renew(
        &self,
        position: Position,
        record: &Record<'_>,
        wall: u64,
        out: &mut Vec<u8>,
    ) {
        match record {
            Record::Message(record) => self.renew_message(position, record, wall, out),
            other => {
                if let Some(again) = self.renewed(Place::of(position), other) {
                    again.encode(out);
                }
            }
        }
    }

    /// A change is written again from the record that it stands in, and from no earlier one of
    /// the same thing: those may be many.
    fn renewed<'a>(&'a self, place: Place, record: &Record<'a>) -> Option<Record<'a>> {
        match record {
            Record::Session(record) => {
                let session = self.sessions.get(&record.key)?;
                (session.place == place).then(|| Record::Session(session.record(record.key)))
            }
            Record::Will(record) => {
                let will = self.wills.get(&record.key)?;
                let again = UnderWayRecord { will_of: SessionKey::NONE, ..record.clone() };
                (will.place == place).then_some(Record::Will(again))
            }
            Record::Subscribed { session, filter, .. } => {
                let stored = self.sessions.get(session)?.subscriptions.get(*filter)?;
                let (session, options, id) = (*session, stored.options, stored.id);
                let again = Record::Subscribed { session, filter, options, id };
                (stored.place == place).then_some(again)
            }
            Record::Received { session, packet_id, .. } => {
                let releasing = self.sessions.get(session)?.releasing.get(packet_id)?;
                let (session, packet_id, order) = (*session, *packet_id, releasing.order);
                let again = Record::Received { session, packet_id, order };
                (releasing.place == place).then_some(again)
            }
            Record::Arrived { session, packet_id } => {
                let (session, packet_id) = (*session, *packet_id);
                let at = *self.sessions.get(&session)?.arrived.get(&packet_id)?;
                (at == place).then_some(Record::Arrived { session, packet_id })
            }
            _ => None,
        }
    }

    fn renew_message(
        &self,
        position: Position,
        record: &MessageRecord<'_>,
        wall: u64,
        out: &mut Vec<u8>,
    ) {
        let id = if record.id == 0 { position.sequence } else { record.id };
        let place = Place::of(position);
        let arrived = record.arrived.filter(|(session, packet_id)| {
            let (session, packet_id) = (*session, *packet_id);
            self.renewed(place, &Record::Arrived { session, packet_id }).is_some()
        });
        let message = self.messages.get(&id).filter(|it| it.packet.record == position);
        let Some(message) = message else {
            if let Some((session, packet_id)) = arrived {
                Record::Arrived { session, packet_id }.encode(out);
            }
            return;
        };
        // Nobody will get it any more who has not got it: it is not written again for ever.
        let is_over =
            message.expires_at != 0 && message.expires_at.saturating_add(EXPIRED_FOR_MS) <= wall;
        let topic = record.is_retained.then(|| publish_of(record.packet));
        let topic = topic.flatten().map(|publish| publish.topic);
        let topic = topic.filter(|topic| self.retained.get(*topic) == Some(&id));
        let (mut recipients, mut dropped) = (Vec::new(), Vec::new());
        for recipient in &record.recipients {
            let (session, ordinal) = (recipient.session, recipient.ordinal);
            let entry = self.sessions.get(&session).and_then(|it| it.entries.get(&ordinal));
            let Some(entry) = entry.filter(|it| it.message == id) else { continue };
            let packet_id = entry.packet_id;
            if is_over && packet_id == 0 {
                dropped.push(Record::Dropped { session, ordinal });
            } else {
                recipients.push(RecipientRecord { packet_id, ..recipient.clone() });
            }
        }
        let is_retained = topic.is_some() && !is_over;
        if recipients.is_empty() && !is_retained {
            if let Some((session, packet_id)) = arrived {
                Record::Arrived { session, packet_id }.encode(out);
            }
        } else {
            let again = MessageRecord {
                id,
                qos: message.qos,
                is_retained,
                expires_at: message.expires_at,
                arrived,
                depends_on: self.depends_on(id),
                will_of: SessionKey::NONE,
                recipients,
                packet: record.packet,
                author: if is_retained { record.author } else { &[] },
            };
            Record::Message(again).encode(out);
        }
        dropped.iter().for_each(|dropped| dropped.encode(out));
        if let Some(topic) = topic.filter(|_| is_over) {
            Record::Message(MessageRecord::clearing(&clearing_packet(topic))).encode(out);
        }
    }
}

/// Milliseconds after which an expired message leaves the log: the router, which goes by another
/// clock, has dropped it long since.
const EXPIRED_FOR_MS: u64 = 60_000;
