//! From the state that recovery has made to what a router takes up.

use std::collections::HashMap;
use std::sync::Arc;

use agentmq_identity::Principal;
use agentmq_session::{
    Delivery, Durable, Message, RestoredEntry, RestoredSession, RestoredSubscription, Session,
    SessionKey, Ticket, Time, Will,
};

use crate::record::publish_of;
use crate::state::{Map, State, StoredMessage, StoredSession};

/// What survived.
#[derive(Debug, Default)]
pub struct Restored {
    /// Sessions with what waits in them.
    pub sessions: Vec<RestoredSession>,
    /// Retained messages.
    pub retained: Vec<Arc<Message>>,
    /// Keys of sessions that ended while nobody was there to say so.
    pub(crate) ended: Vec<SessionKey>,
    /// Deliveries of publications that have not arrived: their publishers send them again.
    pub(crate) dropped: Vec<(SessionKey, u64)>,
}

/// What time it is on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// The broker's.
    pub now: Time,
    /// Milliseconds since 1970.
    pub wall: u64,
}

impl Clocks {
    /// A stored point on the broker's clock; what is over is now.
    fn time(self, stored: u64) -> Option<Time> {
        (stored != 0).then(|| self.now.after_millis(stored.saturating_sub(self.wall)))
    }
}

/// Makes of a state what a router takes up.
pub(crate) fn restore(state: &State, clocks: Clocks) -> Restored {
    let mut restored = Restored::default();
    // Of a client that has come back while its session's end was not recorded yet.
    let mut newest: HashMap<&str, SessionKey> = HashMap::new();
    for (key, stored) in &state.sessions {
        let newest = newest.entry(&stored.client_id).or_insert(*key);
        *newest = (*newest).max(*key);
    }
    let messages: Map<u64, Arc<Message>> = state
        .messages
        .iter()
        .filter_map(|(id, stored)| Some((*id, Arc::new(message(stored, clocks)?))))
        .collect();
    for id in state.retained.values() {
        if let Some(message) = messages.get(id)
            && !message.is_expired(clocks.now)
        {
            restored.retained.push(Arc::clone(message));
        }
    }
    for (key, stored) in &state.sessions {
        let entries = stored.entries.iter().filter(|(_, it)| is_undecided(state, it.message));
        restored.dropped.extend(entries.map(|(ordinal, _)| (*key, *ordinal)));
        let has_successor = newest.get(&*stored.client_id).is_some_and(|newest| newest > key);
        if stored.is_connected && stored.expiry == 0 || has_successor {
            restored.ended.push(*key); // it was to end with its connection, or with the next one
        } else {
            restored.sessions.push(session(*key, stored, state, &messages, clocks));
        }
    }
    restored
}

/// Whether the publication that brought a message has not arrived.
fn is_undecided(state: &State, message: u64) -> bool {
    state.messages.get(&message).is_some_and(|it| it.depends_on.is_some())
}

fn message(stored: &StoredMessage, clocks: Clocks) -> Option<Message> {
    let publish = publish_of(stored.packet.as_deref()?)?;
    Some(Message {
        topic: publish.topic.into(),
        payload: publish.payload.into(),
        properties: publish.properties.forwarded(),
        qos: stored.qos,
        retain: publish.retain,
        expires_at: clocks.time(stored.expires_at),
    })
}

fn session(
    key: SessionKey,
    stored: &StoredSession,
    state: &State,
    messages: &Map<u64, Arc<Message>>,
    clocks: Clocks,
) -> RestoredSession {
    let mut session = Session::new((*stored.client_id).into(), 0, stored.version);
    let newest = stored.entries.last_key_value().map_or(0, |(ordinal, _)| *ordinal);
    let none = Ticket::default();
    let durable = Durable { key, next_ordinal: newest, exchanges: none, posted: none, terms: none };
    session.durable = Some(Box::new(durable));
    session.principal = stored.name.as_deref().map_or(Principal::ANONYMOUS, Principal::named);
    session.expiry = stored.expiry;
    session.will = stored.will.as_ref().and_then(|will| {
        Some(Box::new(Will::restored(&publish_of(&will.packet)?, will.qos, will.delay)))
    });
    if stored.is_connected {
        // Its connection broke with the broker: what counts from there counts from now.
        let lasts = stored.expiry != u32::MAX;
        session.expires_at = lasts.then(|| clocks.now.after_secs(stored.expiry));
        session.will_at = session.will.as_ref().map(|will| clocks.now.after_secs(will.delay));
    } else {
        session.expires_at = clocks.time(stored.expires_at);
        let due = stored.will.as_ref().map(|will| will.due);
        session.will_at = due.and_then(|due| clocks.time(due));
    }
    for packet_id in stored.arrived.keys() {
        session.unreleased.insert(*packet_id);
    }
    let subscriptions = stored.subscriptions.iter().map(|(filter, it)| RestoredSubscription {
        filter: filter.clone(),
        options: it.options,
        id: it.id,
    });
    let kept = stored.entries.iter().filter(|(_, entry)| !is_undecided(state, entry.message));
    let entries = kept.filter_map(|(ordinal, entry)| {
        let delivery = Delivery {
            message: Arc::clone(messages.get(&entry.message)?),
            qos: entry.qos,
            retain: entry.retain,
            ids: (!entry.ids.is_empty()).then(|| Arc::from(&*entry.ids)),
            group: None,
            ordinal: *ordinal,
        };
        Some(RestoredEntry { packet_id: entry.packet_id, delivery, group: entry.group.clone() })
    });
    let mut releasing: Vec<(u32, u16)> =
        stored.releasing.iter().map(|(id, it)| (it.order, *id)).collect();
    releasing.sort_unstable();
    RestoredSession {
        session,
        subscriptions: subscriptions.collect(),
        entries: entries.collect(),
        releasing: releasing.into_iter().map(|(_, id)| id).collect(),
    }
}
