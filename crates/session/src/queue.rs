//! Deliveries that wait: the client is away, its window is full, or something is to go first.

use std::collections::VecDeque;

use crate::{Delivery, RetainedCursor, Time};

/// The queue of one session, bounded by count and bytes. When a message would exceed a bound the
/// oldest ones make room, and are counted. `C` is what else can stand in line: a retained-message
/// cursor, which expands when its turn comes.
#[derive(Debug)]
pub struct Queue<C = RetainedCursor> {
    entries: VecDeque<Entry<C>>,
    messages: usize,
    bytes: usize,
    cursors: usize,
}

#[derive(Debug)]
enum Entry<C> {
    Message(Delivery),
    Cursor(Box<C>),
}

/// Bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBound {
    /// Messages at most.
    pub messages: usize,
    /// Bytes at most, by [`crate::Message::size`].
    pub bytes: usize,
}

impl<C> Default for Queue<C> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), messages: 0, bytes: 0, cursors: 0 }
    }
}

impl<C> Queue<C> {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a cursor stands in line: then even QoS 0 must wait behind it, since retained
    /// messages come before live ones of the same topic.
    pub fn has_cursor(&self) -> bool {
        self.cursors > 0
    }

    /// Cursors in line.
    pub fn cursors(&self) -> usize {
        self.cursors
    }

    /// Appends a message; returns how many were dropped to make room (the message itself counts
    /// when it alone exceeds the bound).
    pub fn push(&mut self, delivery: Delivery, bound: QueueBound) -> usize {
        let size = delivery.message.size();
        if size > bound.bytes || bound.messages == 0 {
            return 1;
        }
        let mut dropped = 0;
        while self.messages >= bound.messages || self.bytes + size > bound.bytes {
            if !self.drop_oldest() {
                break;
            }
            dropped += 1;
        }
        self.messages += 1;
        self.bytes += size;
        self.entries.push_back(Entry::Message(delivery));
        dropped
    }

    /// Appends a cursor.
    pub fn push_cursor(&mut self, cursor: C) {
        self.cursors += 1;
        self.entries.push_back(Entry::Cursor(Box::new(cursor)));
    }

    /// The message at the head, if the head is one.
    pub fn front(&self) -> Option<&Delivery> {
        match self.entries.front()? {
            Entry::Message(delivery) => Some(delivery),
            Entry::Cursor(_) => None,
        }
    }

    /// The cursor at the head, if the head is one.
    pub fn front_cursor(&mut self) -> Option<&mut C> {
        match self.entries.front_mut()? {
            Entry::Cursor(cursor) => Some(cursor),
            Entry::Message(_) => None,
        }
    }

    /// All cursors in line.
    pub fn cursors_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Cursor(cursor) => Some(&mut **cursor),
            Entry::Message(_) => None,
        })
    }

    /// Removes the head, message or cursor.
    pub fn pop(&mut self) -> Option<Delivery> {
        let entry = self.entries.pop_front()?;
        if self.entries.is_empty() && self.entries.capacity() > KEPT {
            self.entries = VecDeque::new();
        }
        match entry {
            Entry::Message(delivery) => {
                self.messages -= 1;
                self.bytes -= delivery.message.size();
                Some(delivery)
            }
            Entry::Cursor(_) => {
                self.cursors -= 1;
                None
            }
        }
    }

    /// Drops what has expired; returns how many.
    pub fn drop_expired(&mut self, now: Time) -> usize {
        self.drop_where(|delivery| delivery.message.is_expired(now)).len()
    }

    /// Forgets all cursors: retained messages belong to the connection that subscribed.
    pub fn drop_cursors(&mut self) {
        self.entries.retain(|entry| matches!(entry, Entry::Message(_)));
        self.cursors = 0;
    }

    /// Takes out the messages of the shared groups that `wanted` names.
    pub fn take_shared(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Delivery> {
        self.drop_where(|delivery| delivery.group.is_some_and(&wanted))
    }

    /// Takes out the QoS 0 messages, which no session keeps for an absent client.
    pub fn take_qos0(&mut self) -> Vec<Delivery> {
        self.drop_where(|delivery| delivery.qos == agentmq_codec::QoS::AtMostOnce)
    }

    fn drop_where(&mut self, mut condition: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let entries = std::mem::take(&mut self.entries);
        for entry in entries {
            match entry {
                Entry::Message(delivery) if condition(&delivery) => {
                    self.messages -= 1;
                    self.bytes -= delivery.message.size();
                    taken.push(delivery);
                }
                entry => self.entries.push_back(entry),
            }
        }
        taken
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.entries.iter().position(|entry| matches!(entry, Entry::Message(_)));
        let Some(at) = oldest else { return false };
        if let Some(Entry::Message(delivery)) = self.entries.remove(at) {
            self.messages -= 1;
            self.bytes -= delivery.message.size();
        }
        true
    }
}

/// Slots that an idle session may keep.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agentmq_codec::QoS;

    use super::*;
    use crate::Message;

    fn delivery(topic: &str) -> Delivery {
        let qos = QoS::AtLeastOnce;
        let message = Arc::new(Message::plain(topic, b"", qos, false));
        Delivery { message, qos, retain: false, ids: None, group: None }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut queue: Queue<()> = Queue::default();
        let bound = QueueBound { messages: 2, bytes: 10_000 };
        assert_eq!(queue.push(delivery("a"), bound), 0);
        assert_eq!(queue.push(delivery("b"), bound), 0);
        assert_eq!(queue.push(delivery("c"), bound), 1);
        assert_eq!(queue.front().map(|d| &*d.message.topic), Some("b"));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn bytes_bound_too_and_are_given_back() {
        let mut queue: Queue<()> = Queue::default();
        let size = delivery("a").message.size();
        let bound = QueueBound { messages: 100, bytes: 2 * size };
        for topic in ["a", "b", "c"] {
            queue.push(delivery(topic), bound);
        }
        assert_eq!((queue.len(), queue.bytes()), (2, 2 * size));
        while queue.pop().is_some() {}
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_cursor_keeps_its_place_when_messages_are_dropped() {
        let mut queue: Queue<u8> = Queue::default();
        let bound = QueueBound { messages: 1, bytes: 10_000 };
        queue.push_cursor(7);
        queue.push(delivery("a"), bound);
        assert_eq!(queue.push(delivery("b"), bound), 1);
        assert_eq!(queue.front_cursor(), Some(&mut 7));
        queue.pop();
        assert_eq!(queue.front().map(|d| &*d.message.topic), Some("b"));
    }
}
