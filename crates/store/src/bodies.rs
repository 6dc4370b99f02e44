//! Reading messages back from the log: for a start, and for queues whose tail is on the disk alone.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use agentmq_codec::{Publish, QoS};
use agentmq_log::{Disk, Position, ReadError, SegmentReader, keep_segment};
use agentmq_session::{Author, Message, MessageParts, Recall, Recalled, SessionKey, Time};

use crate::record::{author_of, publish_of};
use crate::state::{Entry, State, StoredMessage};

/// Where the packet of a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PacketPlace {
    pub(crate) record: Position,
    /// Bytes from the start of the record's content.
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// Reads packets: fastest in the order of the log.
#[derive(Debug)]
pub(crate) struct Reading<'a, D: Disk> {
    disk: &'a D,
    open: Option<SegmentReader<D::File>>,
}

impl<'a, D: Disk> Reading<'a, D> {
    pub(crate) fn new(disk: &'a D) -> Self {
        Self { disk, open: None }
    }

    /// The message that stands at this place. Its expiry is not in it: the log has it by the
    /// system's clock.
    pub(crate) fn message(
        &mut self,
        stored: &StoredMessage,
        expires_at: Option<Time>,
    ) -> Result<Message, ReadError> {
        self.message_and_author(stored, expires_at).map(|(message, _)| message)
    }

    /// The same, and who has published it, where that is known.
    pub(crate) fn message_and_author(
        &mut self,
        stored: &StoredMessage,
        expires_at: Option<Time>,
    ) -> Result<(Message, Option<Author>), ReadError> {
        let place = stored.packet;
        let position = place.record;
        let damaged = || ReadError::Damaged {
            place: format!("file {} of the log", position.segment),
            offset: position.offset,
            sequence: position.sequence,
        };
        if self.open.as_ref().is_none_or(|it| it.number() != position.segment) {
            self.open = Some(SegmentReader::open(self.disk, position.segment)?);
        }
        let Some(open) = &mut self.open else { return Err(damaged()) };
        let content = open.read(position)?;
        let (from, to) = (place.at as usize, place.at as usize + place.len as usize);
        let publish = content.get(from..to).and_then(publish_of).ok_or_else(damaged)?;
        let author = content.get(to..to + stored.author as usize).and_then(author_of);
        Ok((message_of(&publish, stored.qos, expires_at), author))
    }
}

/// The message that was recorded as this packet.
pub(crate) fn message_of(publish: &Publish<'_>, qos: QoS, expires_at: Option<Time>) -> Message {
    Message::new(&MessageParts {
        topic: publish.topic,
        payload: publish.payload,
        properties: publish.properties, // as they were recorded: what is forwarded
        qos,
        retain: publish.retain,
        expires_at,
    })
}

/// What a shard's engine reads back with, while the writer writes and cleans.
pub(crate) trait Bodies: Debug + Send + Sync {
    /// Reads what waits in a session's line at these places.
    fn recall(&self, session: SessionKey, ordinals: &[u64]) -> Vec<Recall>;
    /// The same; `None` while the writer is at the index.
    fn try_recall(&self, session: SessionKey, ordinals: &[u64]) -> Option<Vec<Recall>>;
}

/// The log's files, and the index that says where in them everything stands.
#[derive(Debug)]
pub(crate) struct LogBodies<D> {
    disk: D,
    state: Arc<RwLock<State>>,
    /// The system does not open files: that has been told.
    is_stuck: AtomicBool,
}

/// Nothing is recorded.
#[cfg(test)]
impl Bodies for () {
    fn recall(&self, _: SessionKey, ordinals: &[u64]) -> Vec<Recall> {
        ordinals.iter().map(|_| Recall::Gone).collect()
    }

    fn try_recall(&self, session: SessionKey, ordinals: &[u64]) -> Option<Vec<Recall>> {
        Some(self.recall(session, ordinals))
    }
}

/// A delivery as the index has it.
#[derive(Debug, Clone)]
struct Found {
    entry: Entry,
    message: StoredMessage,
}

impl<D: Disk + Clone + Send + Sync> Bodies for LogBodies<D> {
    fn recall(&self, session: SessionKey, ordinals: &[u64]) -> Vec<Recall> {
        let found = look_up(&self.state(), session, ordinals);
        self.read_all(session, ordinals, found)
    }

    fn try_recall(&self, session: SessionKey, ordinals: &[u64]) -> Option<Vec<Recall>> {
        let state = match self.state.try_read() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let found = look_up(&state, session, ordinals);
        drop(state);
        Some(self.read_all(session, ordinals, found))
    }
}

impl<D> LogBodies<D> {
    pub(crate) fn new(disk: D, state: Arc<RwLock<State>>) -> Self {
        Self { disk, state, is_stuck: AtomicBool::new(false) }
    }
}

fn look_up(state: &State, session: SessionKey, ordinals: &[u64]) -> Vec<Option<Found>> {
    let entries = state.sessions.get(&session).map(|it| &it.entries);
    let found = ordinals.iter().map(|ordinal| {
        let entry = entries?.get(ordinal)?.clone();
        let message = *state.messages.get(&entry.message)?;
        Some(Found { entry, message })
    });
    found.collect()
}

impl<D: Disk + Clone + Send + Sync> LogBodies<D> {
    /// The index. A panic of the writer leaves places that are checked when they are read.
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(
        &self,
        session: SessionKey,
        ordinals: &[u64],
        found: Vec<Option<Found>>,
    ) -> Vec<Recall> {
        let mut reading = Reading::new(&self.disk);
        let recalls = ordinals.iter().zip(found).map(|(ordinal, found)| match found {
            Some(found) => self.read(&mut reading, session, *ordinal, found),
            None => Recall::Gone,
        });
        recalls.collect()
    }

    fn read(
        &self,
        reading: &mut Reading<'_, D>,
        session: SessionKey,
        ordinal: u64,
        mut found: Found,
    ) -> Recall {
        loop {
            let error = match reading.message(&found.message, None) {
                Ok(message) => {
                    self.is_stuck.store(false, Ordering::Relaxed);
                    let Entry { qos, retain, .. } = found.entry;
                    let ids = found.entry.ids();
                    return Recall::Message(Box::new(Recalled { message, qos, retain, ids }));
                }
                Err(error @ ReadError::NotOpened { .. }) => {
                    if !self.is_stuck.swap(true, Ordering::Relaxed) {
                        tracing::warn!(
                            %error,
                            "what waits on the disk cannot be read back now; it is tried again \
                             every second: raise the limit of open files, if it is that"
                        );
                    }
                    return Recall::Later;
                }
                Err(error) => error,
            };
            // Cleaning may have moved it meanwhile.
            let now = look_up(&self.state(), session, &[ordinal]).pop().flatten();
            let Some(now) = now else { return Recall::Gone };
            let place = found.message.packet.record;
            if now.message.packet.record == place {
                let kept = keep_segment(&mut self.disk.clone(), place.segment);
                let kept = kept.as_deref().unwrap_or("nowhere: it could not be linked");
                tracing::error!(
                    %error,
                    kept,
                    "the log is damaged: a message that waited for a client cannot be read any \
                     more and is lost; everything else is delivered"
                );
                return Recall::Damaged;
            }
            found = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use agentmq_log::SimulatedDisk;

    use super::*;

    #[test]
    fn nobody_need_wait_while_the_writer_is_at_the_index() {
        let state = Arc::new(RwLock::new(State::default()));
        let bodies = LogBodies::new(SimulatedDisk::default(), Arc::clone(&state));
        let writer = state.write().expect("no panic");
        assert_eq!(bodies.try_recall(SessionKey(1), &[1]), None);
        drop(writer);
        let _another_shard = state.read().expect("no panic");
        assert_eq!(bodies.try_recall(SessionKey(1), &[1]), Some(vec![Recall::Gone]));
    }
}
