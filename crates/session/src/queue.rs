//! Deliveries that wait: the client is away, its window is full, or something is to go first.

use std::collections::VecDeque;

use agentmq_codec::QoS;

use crate::{Delivery, RetainedCursor, Time};

/// The queue of one session, bounded by count and bytes: messages that survive the broker, which
/// have an ordinal, by one bound, all others by another one. When a message would exceed its bound
/// the expired ones make room, then the oldest of its kind, and are counted. `C` is what else can
/// stand in line: a retained-message cursor, which expands when its turn comes.
#[derive(Debug)]
pub struct Queue<C = RetainedCursor> {
    entries: VecDeque<Entry<C>>,
    bytes: usize,
    /// Cursors among the entries; all others are messages.
    cursors: u32,
    /// QoS 0 messages among the messages.
    qos0: u32,
    /// Messages of shared groups among the messages.
    shared: u32,
    /// Messages that survive the broker among the messages, and their bytes.
    durable: u32,
    durable_bytes: usize,
    /// Nothing in line expires before this point, or is looked for before it.
    expires_from: Time,
}

/// What made room for a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overflow {
    /// Messages that were dropped, the new one included when it alone exceeds the bound.
    pub dropped: usize,
    /// Messages that had expired.
    pub expired: usize,
    /// The new one is among those dropped: it never stood in line.
    pub is_refused: bool,
    /// Where those stood that have left the line, if they had a place that survives a crash.
    pub gone: Vec<u64>,
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
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            cursors: 0,
            qos0: 0,
            shared: 0,
            durable: 0,
            durable_bytes: 0,
            expires_from: Time::NEVER,
        }
    }
}

impl<C> Queue<C> {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.entries.len() - self.cursors()
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
        self.cursors as usize
    }

    /// Whether a QoS 0 message waits: the next one must not overtake it [MQTT-4.6.0-6].
    pub fn has_qos0(&self) -> bool {
        self.qos0 > 0
    }

    /// Appends a message and says what it took to make room for it. `bound` is that of its kind.
    pub fn push(&mut self, delivery: Delivery, bound: QueueBound, now: Time) -> Overflow {
        let size = delivery.message.size();
        if size > bound.bytes || bound.messages == 0 {
            return Overflow { dropped: 1, is_refused: true, ..Overflow::default() };
        }
        let is_durable = delivery.ordinal > 0;
        let is_full = |it: &Self| {
            let (messages, bytes) = it.of_kind(is_durable);
            messages >= bound.messages || bytes + size > bound.bytes
        };
        let mut overflow = Overflow::default();
        if is_full(self) && self.expires_from <= now {
            let expired = self.drop_expired(now);
            overflow.expired = expired.len();
            overflow.gone.extend(expired.iter().map(|it| it.ordinal).filter(|it| *it > 0));
        }
        if !is_durable && self.durable > 0 && is_full(self) {
            // The oldest of its kind may stand behind any number of others: this one gives way.
            return Overflow { dropped: 1, is_refused: true, ..overflow };
        }
        while is_full(self)
            && let Some(oldest) = self.drop_oldest(is_durable)
        {
            overflow.dropped += 1;
            overflow.gone.extend((oldest.ordinal > 0).then_some(oldest.ordinal));
        }
        if let Some(at) = delivery.message.expires_at() {
            self.expires_from = self.expires_from.min(at);
        }
        self.count_in(&delivery);
        self.entries.push_back(Entry::Message(delivery));
        overflow
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
                self.count_out(&delivery);
                Some(delivery)
            }
            Entry::Cursor(_) => {
                self.cursors -= 1;
                None
            }
        }
    }

    /// Removes the first QoS 0 message that no cursor stands before: it need not wait for the
    /// window, which only QoS 1 and 2 need.
    pub fn pop_qos0(&mut self) -> Option<Delivery> {
        if self.qos0 == 0 {
            return None;
        }
        let at =
            self.entries.iter().take_while(|entry| matches!(entry, Entry::Message(_))).position(
                |entry| matches!(entry, Entry::Message(it) if it.qos == QoS::AtMostOnce),
            )?;
        match self.entries.remove(at)? {
            Entry::Message(delivery) => {
                self.count_out(&delivery);
                Some(delivery)
            }
            Entry::Cursor(_) => None,
        }
    }

    /// Forgets the cursors for which `keep` answers false.
    pub fn retain_cursors(&mut self, keep: impl Fn(&C) -> bool) {
        if self.cursors == 0 {
            return;
        }
        let messages = self.len();
        self.entries.retain(|entry| match entry {
            Entry::Message(_) => true,
            Entry::Cursor(cursor) => keep(cursor),
        });
        self.cursors = (self.entries.len() - messages) as u32;
    }

    /// Takes out the messages of the shared groups that `wanted` names.
    pub fn take_shared(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Delivery> {
        if self.shared == 0 {
            return Vec::new();
        }
        self.drop_where(|delivery| delivery.group.is_some_and(&wanted))
    }

    /// Takes out the QoS 0 messages, which no session keeps for an absent client.
    pub fn take_qos0(&mut self) -> Vec<Delivery> {
        if self.qos0 == 0 {
            return Vec::new();
        }
        self.drop_where(|delivery| delivery.qos == QoS::AtMostOnce)
    }

    fn drop_where(&mut self, mut condition: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let entries = std::mem::take(&mut self.entries);
        for entry in entries {
            match entry {
                Entry::Message(delivery) if condition(&delivery) => {
                    self.count_out(&delivery);
                    taken.push(delivery);
                }
                entry => self.entries.push_back(entry),
            }
        }
        taken
    }

    /// Walks the whole queue, so at most once in a while; what expires meanwhile counts as waiting.
    fn drop_expired(&mut self, now: Time) -> Vec<Delivery> {
        let mut next = Time::NEVER;
        let expired = self.drop_where(|delivery| {
            let at = delivery.message.expires_at().unwrap_or(Time::NEVER);
            if at > now {
                next = next.min(at);
            }
            at <= now
        });
        self.expires_from = next.max(now.after_millis(LOOK_AGAIN_MS));
        expired
    }

    /// Messages and bytes of those that survive the broker, or of all others.
    fn of_kind(&self, is_durable: bool) -> (usize, usize) {
        let durable = (self.durable as usize, self.durable_bytes);
        let others = (self.len() - durable.0, self.bytes - durable.1);
        if is_durable { durable } else { others }
    }

    fn drop_oldest(&mut self, is_durable: bool) -> Option<Delivery> {
        let oldest = self.entries.iter().position(
            |entry| matches!(entry, Entry::Message(it) if (it.ordinal > 0) == is_durable),
        );
        match self.entries.remove(oldest?)? {
            Entry::Message(delivery) => {
                self.count_out(&delivery);
                Some(delivery)
            }
            Entry::Cursor(_) => None,
        }
    }

    fn count_in(&mut self, delivery: &Delivery) {
        let size = delivery.message.size();
        self.bytes += size;
        if delivery.ordinal > 0 {
            self.durable += 1;
            self.durable_bytes += size;
        }
        self.qos0 += u32::from(delivery.qos == QoS::AtMostOnce);
        self.shared += u32::from(delivery.group.is_some());
    }

    fn count_out(&mut self, delivery: &Delivery) {
        let size = delivery.message.size();
        self.bytes -= size;
        if delivery.ordinal > 0 {
            self.durable -= 1;
            self.durable_bytes -= size;
        }
        self.qos0 -= u32::from(delivery.qos == QoS::AtMostOnce);
        self.shared -= u32::from(delivery.group.is_some());
    }
}

/// Milliseconds between two looks for expired messages in a full queue.
const LOOK_AGAIN_MS: u64 = 1_000;
/// Slots that an idle session may keep.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use agentmq_codec::Properties;

    use super::*;
    use crate::{Message, MessageParts};

    fn delivery(topic: &str) -> Delivery {
        let qos = QoS::AtLeastOnce;
        let message = Message::plain(topic, b"", qos, false);
        Delivery { message, qos, retain: false, ids: None, group: None, ordinal: 0 }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut queue: Queue<()> = Queue::default();
        let bound = QueueBound { messages: 2, bytes: 10_000 };
        assert_eq!(queue.push(delivery("a"), bound, Time::ZERO).dropped, 0);
        assert_eq!(queue.push(delivery("b"), bound, Time::ZERO).dropped, 0);
        assert_eq!(queue.push(delivery("c"), bound, Time::ZERO).dropped, 1);
        assert_eq!(queue.front().map(|d| d.message.topic()), Some("b"));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn expired_ones_make_room_before_the_oldest() {
        let mut queue: Queue<()> = Queue::default();
        let bound = QueueBound { messages: 3, bytes: 10_000 };
        let at = |secs: u64| Time::from_millis(secs * 1_000);
        let until = |topic, secs| {
            let message = Message::new(&MessageParts {
                topic,
                payload: b"",
                properties: Properties::EMPTY,
                qos: QoS::AtLeastOnce,
                retain: false,
                expires_at: Some(at(secs)),
            });
            Delivery { message, ..delivery(topic) }
        };
        let overflow = |dropped, expired| Overflow { dropped, expired, ..Overflow::default() };
        queue.push(delivery("a"), bound, at(0));
        queue.push(until("b", 5), bound, at(0));
        queue.push(until("c", 9), bound, at(0));
        assert_eq!(queue.push(delivery("d"), bound, at(6)), overflow(0, 1));
        assert_eq!(queue.push(delivery("e"), bound, at(7)), overflow(1, 0), "nothing has expired");
        assert_eq!(queue.push(delivery("f"), bound, at(10)), overflow(0, 1));
        let left: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let left: Vec<_> = left.iter().map(|it| it.message.topic()).collect();
        assert_eq!(left, ["d", "e", "f"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn bytes_bound_too_and_are_given_back() {
        let mut queue: Queue<()> = Queue::default();
        let size = delivery("a").message.size();
        let bound = QueueBound { messages: 100, bytes: 2 * size };
        for topic in ["a", "b", "c"] {
            queue.push(delivery(topic), bound, Time::ZERO);
        }
        assert_eq!((queue.len(), queue.bytes()), (2, 2 * size));
        while queue.pop().is_some() {}
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn what_survives_the_broker_has_a_bound_of_its_own() {
        let mut queue: Queue<()> = Queue::default();
        let size = delivery("a").message.size();
        let durable = |topic, ordinal| Delivery { ordinal, ..delivery(topic) };
        let wide = QueueBound { messages: usize::MAX, bytes: 3 * size };
        let narrow = QueueBound { messages: 1, bytes: 10 * size };
        queue.push(delivery("x"), narrow, Time::ZERO);
        for (topic, ordinal) in [("a", 1), ("b", 2), ("c", 3)] {
            let overflow = queue.push(durable(topic, ordinal), wide, Time::ZERO);
            assert_eq!(overflow, Overflow::default(), "{topic}");
        }
        let overflow = queue.push(delivery("y"), narrow, Time::ZERO);
        assert_eq!((overflow.dropped, overflow.is_refused), (1, true), "no other one goes");
        let overflow = queue.push(durable("d", 4), wide, Time::ZERO);
        assert_eq!((overflow.dropped, overflow.gone), (1, vec![1]), "the oldest of its kind");
        let left: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let left: Vec<_> = left.iter().map(|it| it.message.topic()).collect();
        assert_eq!(left, ["x", "b", "c", "d"]);
        queue.push(delivery("x"), narrow, Time::ZERO);
        assert_eq!(queue.push(delivery("y"), narrow, Time::ZERO).dropped, 1);
        assert_eq!(queue.front().map(|it| it.message.topic()), Some("y"), "the oldest goes again");
    }

    #[test]
    fn a_cursor_keeps_its_place_when_messages_are_dropped() {
        let mut queue: Queue<u8> = Queue::default();
        let bound = QueueBound { messages: 1, bytes: 10_000 };
        queue.push_cursor(7);
        queue.push(delivery("a"), bound, Time::ZERO);
        assert_eq!(queue.push(delivery("b"), bound, Time::ZERO).dropped, 1);
        assert_eq!(queue.front_cursor(), Some(&mut 7));
        queue.pop();
        assert_eq!(queue.front().map(|d| d.message.topic()), Some("b"));
    }

    #[test]
    fn qos_0_passes_what_waits_for_the_window_but_no_cursor() {
        let mut queue: Queue<u8> = Queue::default();
        let bound = QueueBound { messages: 10, bytes: 10_000 };
        queue.push(delivery("a"), bound, Time::ZERO);
        queue.push(Delivery { qos: QoS::AtMostOnce, ..delivery("b") }, bound, Time::ZERO);
        queue.push_cursor(7);
        queue.push(Delivery { qos: QoS::AtMostOnce, ..delivery("c") }, bound, Time::ZERO);
        assert_eq!(queue.pop_qos0().map(|it| it.message.topic().to_string()).as_deref(), Some("b"));
        assert_eq!(queue.pop_qos0(), None);
        assert!(queue.has_qos0());
        queue.retain_cursors(|_| false);
        assert_eq!(queue.pop_qos0().map(|it| it.message.topic().to_string()).as_deref(), Some("c"));
        assert_eq!((queue.len(), queue.cursors(), queue.has_qos0()), (1, 0, false));
    }
}
