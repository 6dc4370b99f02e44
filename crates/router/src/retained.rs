//! Retained messages (MQTT 5 §3.3.1.3).

use std::ops::ControlFlow;
use std::sync::Arc;

use agentmq_session::{Message, RetainedCursor, Time};
use agentmq_topic::TopicTree;

/// The newest retained message of each topic, in the order of topics.
#[derive(Debug)]
pub(crate) struct Retained {
    tree: TopicTree<Stored>,
    bytes: u64,
    /// Counts stores, so that a subscriber gets a message either from here or live.
    clock: u64,
    sweep_after: Option<Box<str>>,
}

#[derive(Debug)]
struct Stored {
    message: Arc<Message>,
    stored_at: u64,
}

/// Bounds of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetainedBound {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

impl Retained {
    pub(crate) fn new() -> Self {
        Self { tree: TopicTree::new(), bytes: 0, clock: 0, sweep_after: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The store's clock: messages stored from now on have a later one.
    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    /// Stores the message as the topic's retained one; an empty payload clears it
    /// [MQTT-3.3.1-5, -6, -7]. False when a bound forbids it.
    pub(crate) fn store(&mut self, message: &Arc<Message>, bound: RetainedBound) -> bool {
        if message.payload.is_empty() {
            if let Some(old) = self.tree.remove(&message.topic) {
                self.bytes -= old.message.size() as u64;
            }
            return true;
        }
        let size = message.size() as u64;
        let old = self.tree.get(&message.topic).map(|stored| stored.message.size() as u64);
        let fits = self.bytes - old.unwrap_or(0) + size <= bound.bytes
            && (old.is_some() || self.tree.len() < bound.messages);
        if !fits {
            if let Some(old) = self.tree.remove(&message.topic) {
                // Better none than one that has been replaced [MQTT-3.3.1-5].
                self.bytes -= old.message.size() as u64;
            }
            return false;
        }
        self.clock += 1;
        self.bytes = self.bytes - old.unwrap_or(0) + size;
        let stored = Stored { message: Arc::clone(message), stored_at: self.clock };
        self.tree.insert(&message.topic, stored);
        true
    }

    /// Whether the topic's retained message has this payload.
    pub(crate) fn holds(&self, topic: &str, payload: &[u8]) -> bool {
        self.tree.get(topic).is_some_and(|stored| *stored.message.payload == *payload)
    }

    /// Whether a filter matches any retained message, or may do so: only a few topics are tried.
    pub(crate) fn may_match(&self, filter: &str) -> bool {
        let stop = |_: &str, _: &Stored| ControlFlow::Break(());
        self.tree.for_each_match_within(filter, None, LOOKS, stop).is_some()
    }

    /// The next messages for a cursor, at most `count`, and whether there may be more.
    pub(crate) fn next(
        &self,
        cursor: &mut RetainedCursor,
        count: usize,
        now: Time,
        found: &mut Vec<Arc<Message>>,
    ) -> bool {
        let (after, mut last) = (cursor.after.as_deref(), None);
        let stopped =
            self.tree.for_each_match_within(&cursor.filter, after, LOOKS, |topic, stored| {
                if last.is_some() {
                    return ControlFlow::Break(()); // there is another one for the next step
                }
                if stored.stored_at <= cursor.up_to && !stored.message.is_expired(now) {
                    found.push(Arc::clone(&stored.message));
                }
                if found.len() >= count {
                    last = Some(topic.to_owned());
                }
                ControlFlow::Continue(())
            });
        let more = stopped.is_some();
        cursor.after = last.or(stopped).map(String::into_boxed_str);
        more
    }

    /// Removes expired messages among the next few topics; call it now and then.
    pub(crate) fn sweep(&mut self, now: Time) -> usize {
        let (mut expired, mut last, mut visited) = (Vec::new(), None::<Box<str>>, 0);
        self.tree.for_each_after(self.sweep_after.as_deref(), |topic, stored| {
            visited += 1;
            if stored.message.is_expired(now) {
                expired.push(Box::<str>::from(topic));
            }
            if visited < SWEEP_VISITS {
                return ControlFlow::Continue(());
            }
            last = Some(topic.into());
            ControlFlow::Break(())
        });
        self.sweep_after = last;
        for topic in &expired {
            if let Some(old) = self.tree.remove(topic) {
                self.bytes -= old.message.size() as u64;
            }
        }
        expired.len()
    }
}

/// Topics that one step of a cursor looks at, matching or not.
const LOOKS: usize = 1024;
/// Topics that one sweep looks at.
const SWEEP_VISITS: usize = 4096;
