//! Retained messages (MQTT 5 §3.3.1.3). Every active shard keeps them all, so that a subscriber's
//! snapshot is local, in order and exactly once (`docs/decisions/0004-retained-replicas.md`).

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use agentmq_session::{Author, Message, RetainedCursor, Time};
use agentmq_topic::TopicTree;

use crate::mail::{Replica, Stamp};
use crate::places::Place;
use crate::retain_source::By;

/// The newest retained message of each topic, in the order of topics.
#[derive(Debug)]
pub(crate) struct Retained {
    tree: TopicTree<Stored>,
    /// What was cleared not long ago, oldest first: these topics hold the message that cleared
    /// them, so that an older one which arrives later from another shard is known as older.
    cleared: VecDeque<(Time, Stamp, Box<str>)>,
    /// Topics in the tree that are cleared.
    cleared_now: usize,
    /// Topics in the tree whose message expires.
    expiring: usize,
    bytes: u64,
    /// Counts stores, so that a subscriber gets a message either from here or live.
    clock: u64,
    sweep_after: Option<Box<str>>,
}

#[derive(Debug)]
struct Stored {
    /// One without payload is what cleared the topic.
    message: Message,
    stored_at: u64,
    stamp: Stamp,
    /// `None`: nobody who could be asked about. Boxed, since there are many of these.
    by: Option<Box<By>>,
}

impl Stored {
    fn is_cleared(&self) -> bool {
        self.message.payload().is_empty()
    }
}

/// Bounds of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetainedBound {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

impl Retained {
    pub(crate) fn new() -> Self {
        Self {
            tree: TopicTree::new(),
            cleared: VecDeque::new(),
            cleared_now: 0,
            expiring: 0,
            bytes: 0,
            clock: 0,
            sweep_after: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.len() - self.cleared_now
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The store's clock: messages stored from now on have a later one.
    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    /// Whether a message that arrives here may be stored. Only the shard at which it arrives asks:
    /// what one has accepted the others take over, or they would not agree.
    pub(crate) fn has_room(&self, message: &Message, bound: RetainedBound) -> bool {
        if message.payload().is_empty() {
            return true;
        }
        let size = message.size() as u64;
        let old = self.tree.get(message.topic()).filter(|stored| !stored.is_cleared());
        let old_size = old.map_or(0, |stored| stored.message.size() as u64);
        self.bytes - old_size + size <= bound.bytes
            && (old.is_some() || self.len() < bound.messages)
    }

    /// Stores the message as the topic's retained one; an empty payload clears it
    /// [MQTT-3.3.1-5, -6, -7].
    pub(crate) fn store(&mut self, message: &Message, stamp: Stamp, author: Option<Arc<Author>>) {
        if message.payload().is_empty() {
            if let Some(old) = self.tree.remove(message.topic()) {
                self.forget(&old);
            }
            return;
        }
        self.put(message, stamp, author);
    }

    /// Like [`Self::store`] where other shards are active: does nothing if the topic has a newer
    /// message, and remembers for a while what was cleared. The stamps make all shards agree on
    /// the newest message of a topic, in whatever order they learn of them. Returns whether it is
    /// the newest here.
    pub(crate) fn replicate(
        &mut self,
        message: &Message,
        stamp: Stamp,
        author: Option<Arc<Author>>,
        now: Time,
    ) -> bool {
        if self.tree.get(message.topic()).is_some_and(|stored| stored.stamp >= stamp) {
            return false;
        }
        if message.payload().is_empty() {
            let until = now.after_millis(CLEARED_MS);
            self.cleared.push_back((until, stamp, message.topic().into()));
        }
        self.put(message, stamp, author);
        true
    }

    /// What arrived at one shard, cleared topics included.
    pub(crate) fn arrived_at(&self, origin: Place, now: Time) -> impl Iterator<Item = Replica> {
        self.tree
            .iter()
            .filter(move |(_, it)| it.stamp.origin == origin && !it.message.is_expired(now))
            .map(|(_, it)| Replica {
                message: it.message.clone(),
                stamp: it.stamp,
                author: it.by.as_ref().map(|by| Arc::clone(by.author())),
            })
    }

    fn put(&mut self, message: &Message, stamp: Stamp, author: Option<Arc<Author>>) {
        self.clock += 1;
        let by = author.map(|author| Box::new(By::new(author)));
        let stored = Stored { message: message.clone(), stored_at: self.clock, stamp, by };
        if stored.is_cleared() {
            self.cleared_now += 1;
        } else {
            self.bytes += message.size() as u64;
        }
        self.expiring += usize::from(message.expires_at().is_some());
        if let Some(old) = self.tree.insert(message.topic(), stored) {
            self.forget(&old);
        }
    }

    /// Takes what has left the tree out of the sums.
    fn forget(&mut self, old: &Stored) {
        if old.is_cleared() {
            self.cleared_now -= 1;
        } else {
            self.bytes -= old.message.size() as u64;
        }
        self.expiring -= usize::from(old.message.expires_at().is_some());
    }

    /// A topic's retained message.
    pub(crate) fn get(&self, topic: &str) -> Option<&Message> {
        self.tree.get(topic).filter(|stored| !stored.is_cleared()).map(|stored| &stored.message)
    }

    /// Whether the topic's retained message has this payload.
    pub(crate) fn holds(&self, topic: &str, payload: &[u8]) -> bool {
        self.get(topic).is_some_and(|message| *message.payload() == *payload)
    }

    /// All topics that a filter matches, however long that takes.
    pub(crate) fn topics(&self, filter: &str) -> Vec<String> {
        let mut topics = Vec::new();
        self.tree.for_each_match_after(filter, None, |topic, stored| {
            topics.extend((!stored.is_cleared()).then(|| topic.to_owned()));
            ControlFlow::Continue(())
        });
        topics
    }

    /// The topics that a filter matches; `None` when these are more than `most`, or too many have
    /// to be passed over.
    pub(crate) fn few_topics(&self, filter: &str, most: usize) -> Option<Vec<String>> {
        let mut topics = Vec::new();
        let stopped = self.tree.for_each_match_within(filter, None, FEW_LOOKS, |topic, stored| {
            if stored.is_cleared() {
                return ControlFlow::Continue(());
            }
            if topics.len() == most {
                return ControlFlow::Break(());
            }
            topics.push(topic.to_owned());
            ControlFlow::Continue(())
        });
        stopped.is_none().then_some(topics)
    }

    /// Whether a filter matches any retained message, or may do so: only a few topics are tried.
    pub(crate) fn may_match(&self, filter: &str) -> bool {
        let stop = |_: &str, stored: &Stored| match stored.is_cleared() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        self.tree.for_each_match_within(filter, None, LOOKS, stop).is_some()
    }

    /// The next messages for a cursor, until there is no room, and whether there may be more.
    /// `may_serve` is asked about those that have an author.
    pub(crate) fn next(
        &self,
        cursor: &mut RetainedCursor,
        room: Room,
        now: Time,
        found: &mut Vec<Message>,
        mut may_serve: impl FnMut(&By, &str) -> bool,
    ) -> bool {
        let (after, mut last, mut bytes) = (cursor.after.as_deref(), None, 0);
        let stopped =
            self.tree.for_each_match_within(&cursor.filter, after, LOOKS, |topic, stored| {
                if last.is_some() {
                    return ControlFlow::Break(()); // there is another one for the next step
                }
                let is_due = stored.stored_at <= cursor.up_to && !stored.is_cleared();
                let may = |by: &By| may_serve(by, topic);
                let is_there = is_due && !stored.message.is_expired(now);
                if is_there && stored.by.as_deref().is_none_or(may) {
                    found.push(stored.message.clone());
                    bytes += topic.len() + stored.message.payload().len();
                }
                if found.len() >= room.count || bytes >= room.bytes {
                    last = Some(topic.to_owned());
                }
                ControlFlow::Continue(())
            });
        let more = stopped.is_some();
        cursor.after = last.or(stopped).map(String::into_boxed_str);
        more
    }

    /// Whether [`Self::sweep`] will ever have anything to do: something expires, or is remembered
    /// as cleared.
    pub(crate) fn needs_sweep(&self) -> bool {
        self.expiring > 0 || !self.cleared.is_empty()
    }

    /// Removes expired messages among the next few topics and answers which; call it now and then.
    pub(crate) fn sweep(&mut self, now: Time) -> Vec<(Box<str>, Stamp)> {
        let (mut expired, mut last, mut visited) = (Vec::new(), None::<Box<str>>, 0);
        self.tree.for_each_after(self.sweep_after.as_deref(), |topic, stored| {
            visited += 1;
            if stored.message.is_expired(now) {
                expired.push((Box::<str>::from(topic), stored.stamp));
            }
            if visited < SWEEP_VISITS {
                return ControlFlow::Continue(());
            }
            last = Some(topic.into());
            ControlFlow::Break(())
        });
        self.sweep_after = last;
        for (topic, _) in &expired {
            if let Some(old) = self.tree.remove(topic) {
                self.forget(&old);
            }
        }
        self.sweep_cleared(now);
        expired
    }

    fn sweep_cleared(&mut self, now: Time) {
        while let Some((_, stamp, topic)) = self.cleared.pop_front_if(|(until, ..)| *until <= now) {
            let is_same = self.tree.get(&topic).is_some_and(|stored| stored.stamp == stamp);
            if is_same && let Some(old) = self.tree.remove(&topic) {
                self.forget(&old);
            }
        }
    }
}

/// What a step of a cursor may bring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Messages, at least 1.
    pub(crate) count: usize,
    /// Their topics and payloads: the message that exceeds it is the last.
    pub(crate) bytes: usize,
}

/// Milliseconds for which a cleared topic is remembered: longer than any mail is under way.
const CLEARED_MS: u64 = 60_000;
/// Topics that one step of a cursor looks at, matching or not.
const LOOKS: usize = 1024;
/// Topics that a search for a few looks at: below a millisecond, and more than 1 000 that a `+`
/// stands for.
const FEW_LOOKS: usize = 4096;
/// Topics that one sweep looks at.
const SWEEP_VISITS: usize = 4096;

#[cfg(test)]
mod tests {
    use agentmq_codec::QoS;

    use super::*;

    #[test]
    fn all_topics_are_found_behind_many_that_were_cleared() {
        let (mut retained, now) = (Retained::new(), Time::ZERO);
        let mut replicate = |topic: &str, payload: &[u8], order| {
            let message = Message::plain(topic, payload, QoS::AtLeastOnce, true);
            let stamp = Stamp { order, origin: Place(0) };
            assert!(retained.replicate(&message, stamp, None, now));
        };
        for number in 0..=FEW_LOOKS as u64 {
            let topic = format!("a/{number:06}");
            replicate(&topic, b"x", 2 * number + 1);
            replicate(&topic, b"", 2 * number + 2);
        }
        replicate("a/last", b"x", u64::MAX);
        assert_eq!(retained.topics("a/#"), ["a/last"]);
        assert_eq!(retained.few_topics("a/#", 64), None, "it cannot say in a few looks");
    }
}
