//! From the state that recovery has made to what a router takes up.

use std::collections::HashMap;
use std::sync::Arc;

use agentmq_identity::Principal;
use agentmq_log::Disk;
use agentmq_session::{
    Author, Authors, Away, Delivery, Durable, Message, RestoredEntry, RestoredRetained,
    RestoredSession, RestoredSubscription, RestoredWaiting, RestoredWill, Session, SessionKey,
    Ticket, Time, Will,
};

use crate::bodies::{Reading, message_of};
use crate::record::{author_of, publish_of};
use crate::state::{Map, State, StoredSession, StoredUnderWay};

/// What survived.
#[derive(Debug, Default)]
pub struct Restored {
    /// Sessions with what waits in them.
    pub sessions: Vec<RestoredSession>,
    /// Retained messages.
    pub retained: Vec<RestoredRetained>,
    /// Wills that were on their way.
    pub wills: Vec<RestoredWill>,
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

/// Makes of a state what a router takes up. Retained messages and what is in flight are read from
/// the disk; what waits in line stays there.
pub(crate) fn restore<D: Disk>(state: &State, disk: &D, clocks: Clocks) -> Restored {
    let mut restored = Restored::default();
    // Of a client that has come back while its session's end was not recorded yet, or damage has
    // taken the record that says so.
    let mut newest: HashMap<&str, SessionKey> = HashMap::new();
    for (key, stored) in &state.sessions {
        let newest = newest.entry(&stored.client_id).or_insert(*key);
        *newest = (*newest).max(*key);
    }
    let (messages, mut authors) = read(state, disk, clocks);
    // In the order of the log, whatever that of the maps is: the same log, the same start.
    let mut retained: Vec<u64> = state.retained.values().copied().collect();
    retained.sort_unstable();
    for id in &retained {
        if let Some(message) = messages.get(id)
            && !message.is_expired(clocks.now)
        {
            let (message, author) = (message.clone(), authors.remove(id));
            restored.retained.push(RestoredRetained { message, author });
        }
    }
    let mut sessions: Vec<_> = state.sessions.iter().collect();
    sessions.sort_unstable_by_key(|(key, _)| **key);
    for (key, stored) in sessions {
        let entries = stored.entries.iter().filter(|(_, it)| is_undecided(state, it.message));
        restored.dropped.extend(entries.map(|(ordinal, _)| (*key, *ordinal)));
        let mut session = session(*key, stored, state, &messages, clocks);
        if newest.get(&*stored.client_id) != Some(key) {
            is_over(&mut session, clocks);
        }
        restored.sessions.push(session);
    }
    restored.wills = state.wills.iter().filter_map(|(key, it)| will(*key, it, clocks)).collect();
    restored.wills.sort_unstable_by_key(|will| will.key);
    restored
}

/// A session that its client has replaced: others are still to get what it holds of shared groups.
/// Its will was sent, or taken back, before the younger one began.
fn is_over(restored: &mut RestoredSession, clocks: Clocks) {
    (restored.is_replaced, restored.was_connected) = (true, false);
    restored.session.expires_at = Some(clocks.now);
    (restored.session.will, restored.session.will_at) = (None, None);
}

fn will(key: SessionKey, stored: &StoredUnderWay, clocks: Clocks) -> Option<RestoredWill> {
    let publish = publish_of(&stored.packet)?;
    let message = message_of(&publish, stored.qos, clocks.time(stored.expires_at));
    let author = author_of(&stored.author).map(Arc::new);
    Some(RestoredWill { key, client_id: stored.client_id.clone(), message, author })
}

/// Whether the publication that brought a message has not arrived.
fn is_undecided(state: &State, message: u64) -> bool {
    state.depends_on(message).is_some()
}

/// Messages and who has published them, by where they were recorded first.
type Bodies = (Map<u64, Message>, Map<u64, Arc<Author>>);

/// The messages that a start needs in memory, read in the order of the log.
fn read<D: Disk>(state: &State, disk: &D, clocks: Clocks) -> Bodies {
    let entries = state.sessions.values().flat_map(|it| it.entries.values());
    let in_flight = entries.filter(|it| it.packet_id != 0).map(|it| it.message);
    let mut wanted: Vec<_> = in_flight
        .chain(state.retained.values().copied())
        .filter_map(|id| Some((state.messages.get(&id)?.packet, id)))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let (mut reading, mut known) = (Reading::new(disk), Authors::default());
    let (mut messages, mut authors) = (Map::default(), Map::default());
    for (_, id) in wanted {
        let Some(stored) = state.messages.get(&id) else { continue };
        match reading.message_and_author(stored, clocks.time(stored.expires_at)) {
            Ok((message, author)) => {
                messages.insert(id, message);
                authors.extend(author.map(|author| (id, known.known(Arc::new(author)))));
            }
            Err(error) => tracing::error!(
                %error,
                "the log is damaged: a message that could be read a moment ago is left out"
            ),
        }
    }
    (messages, authors)
}

fn session(
    key: SessionKey,
    stored: &StoredSession,
    state: &State,
    messages: &Map<u64, Message>,
    clocks: Clocks,
) -> RestoredSession {
    let mut session = Session::new((*stored.client_id).into(), 0, stored.version);
    let newest = stored.entries.last_key_value().map_or(0, |(ordinal, _)| *ordinal);
    let none = Ticket::default();
    let durable = Durable { key, next_ordinal: newest, exchanges: none, posted: none };
    session.durable = Some(Box::new(durable));
    session.principal =
        stored.principal.as_deref().map_or(Principal::ANONYMOUS, Principal::recorded);
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
    let (mut in_flight, mut waiting) = (Vec::new(), Vec::new());
    for (ordinal, entry) in kept {
        let group = entry.group().map(Into::into);
        if entry.packet_id == 0 {
            let Some(message) = state.messages.get(&entry.message) else { continue };
            let away = Away {
                ordinal: *ordinal,
                expires_at: clocks.time(message.expires_at).unwrap_or(Time::NEVER),
                size: message.packet.len.saturating_add(Message::OVERHEAD as u32),
                group: None,
            };
            waiting.push(RestoredWaiting { away, group });
        } else if let Some(message) = messages.get(&entry.message) {
            let delivery = Delivery {
                message: message.clone(),
                qos: entry.qos,
                retain: entry.retain,
                ids: entry.ids(),
                group: None,
                ordinal: *ordinal,
            };
            in_flight.push(RestoredEntry { packet_id: entry.packet_id, delivery, group });
        }
    }
    let mut releasing: Vec<(u64, u16)> =
        stored.releasing.iter().map(|(id, it)| (it.order, *id)).collect();
    releasing.sort_unstable();
    RestoredSession {
        session,
        was_connected: stored.is_connected,
        is_replaced: false,
        subscriptions: subscriptions.collect(),
        in_flight,
        waiting,
        releasing: releasing.into_iter().map(|(_, id)| id).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use agentmq_codec::{ProtocolVersion, QoS};
    use agentmq_log::SimulatedDisk;

    use super::*;
    use crate::record::{Record, SessionRecord, WillRecord};
    use crate::{OpenedStore, Settings};

    #[test]
    fn of_two_sessions_of_one_client_the_newer_one_counts() {
        let disk = SimulatedDisk::default();
        let open = || {
            let settings = Settings {
                folder: PathBuf::new(),
                syncs: true,
                segment_bytes: 4096,
                seed: 1,
                watermarks: crate::Watermarks::default(),
            };
            let clocks = Clocks { now: Time::ZERO, wall: 0 };
            OpenedStore::open(disk.clone(), &settings, clocks).expect("a store")
        };
        let (mut committer, _engines) = open().by_hand(vec![Box::new(|| {})]);
        let will = crate::record::clearing_packet("will");
        let mut batch = Vec::new();
        for key in [1, 2] {
            let mut content = Vec::new();
            let record = SessionRecord {
                key: SessionKey(key),
                client_id: "client",
                version: ProtocolVersion::V5,
                principal: None,
                expiry: 100,
                is_connected: true,
                expires_at: 0,
                will: Some(WillRecord { qos: QoS::AtLeastOnce, delay: 0, due: 0, packet: &will }),
            };
            Record::Session(record).encode(&mut content);
            batch.extend((content.len() as u32).to_le_bytes());
            batch.extend(content);
        }
        committer.shared().submit(0, Ticket(1), batch, true);
        committer.step();
        let opened = open();
        let [older, newer] = opened.restored.sessions.as_slice() else { panic!("two sessions") };
        assert_eq!((older.session.key(), newer.session.key()), (SessionKey(1), SessionKey(2)));
        assert!(older.is_replaced && !older.was_connected && older.session.will.is_none());
        assert_eq!(older.session.expires_at, Some(Time::ZERO), "it ends with the first tick");
        assert!(!newer.is_replaced && newer.was_connected && newer.session.will.is_some());
    }
}
