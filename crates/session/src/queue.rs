//! Deliveries that wait: the client is away, its window is full, or something is to go first.

use std::collections::VecDeque;
use std::sync::Arc;

use agentmq_codec::QoS;
use agentmq_quota::{Holder, Waiting};

use crate::kept::Kept;
use crate::{Away, Delivery, QueueMemory, Recalled, RetainedCursor, Time};

/// The queue of one session, bounded by count and bytes: messages that survive the broker, which
/// have an ordinal, by one bound, all others by another one. When a message would exceed its bound
/// the expired ones make room, then the oldest of its kind, and are counted. Of those that survive
/// the broker only the place need be in memory, see [`Away`]. `C` is what else can stand in line: a
/// retained-message cursor, which expands when its turn comes.
#[derive(Debug)]
pub struct Queue<C = RetainedCursor> {
    entries: VecDeque<Entry<C>>,
    waiting: Waiting,
    /// Cursors among the entries; all others are messages.
    cursors: u32,
    /// QoS 0 messages among the messages.
    qos0: u32,
    /// Messages of shared groups among the messages.
    shared: u32,
    /// Messages that survive the broker among the messages.
    kept: Kept,
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
    /// A message that is on the disk alone.
    Away(Away),
    Cursor(Box<C>),
}

const _: () = assert!(size_of::<Entry<RetainedCursor>>() == size_of::<Delivery>());

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
        Self::NOTHING
    }
}

impl<C> Queue<C> {
    /// One in which nothing waits.
    pub(crate) const NOTHING: Self = Self {
        entries: VecDeque::new(),
        waiting: Waiting::NONE,
        cursors: 0,
        qos0: 0,
        shared: 0,
        kept: Kept::NONE,
        expires_from: Time::NEVER,
    };

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
        self.waiting.bytes()
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
            overflow.gone.extend(expired.into_iter().filter(|ordinal| *ordinal > 0));
        }
        if !is_durable && self.kept.count() > 0 && is_full(self) {
            // The oldest of its kind may stand behind any number of others: this one gives way.
            return Overflow { dropped: 1, is_refused: true, ..overflow };
        }
        while is_full(self)
            && let Some(oldest) = self.drop_oldest(is_durable)
        {
            overflow.dropped += 1;
            overflow.gone.extend((oldest > 0).then_some(oldest));
        }
        if let Some(at) = delivery.message.expires_at() {
            self.expires_from = self.expires_from.min(at);
        }
        self.count_in(&delivery);
        self.entries.push_back(Entry::Message(delivery));
        overflow
    }

    /// Appends a message that is on the disk alone.
    pub fn push_away(&mut self, away: Away) {
        self.expires_from = self.expires_from.min(away.expires_at);
        self.count_in_away(&away);
        self.entries.push_back(Entry::Away(away));
    }

    /// What survives the broker here is counted as part of `all`. To be called while nothing waits.
    pub fn survives(&mut self, all: &Arc<QueueMemory>) {
        debug_assert!(self.kept.count() == 0, "what waits is counted elsewhere");
        self.kept.belongs_to(Arc::clone(all));
    }

    /// What waits counts for this client of an organisation from now on, or for none.
    pub fn belong_to(&mut self, holder: Option<Holder>) {
        self.waiting.belong_to(holder);
    }

    /// The bound where no more than `room` bytes may be added to all that waits.
    pub fn bound_within(&self, bound: QueueBound, room: usize, is_durable: bool) -> QueueBound {
        let (_, bytes) = self.of_kind(is_durable);
        QueueBound { bytes: bound.bytes.min(bytes.saturating_add(room)), ..bound }
    }

    /// Bytes in memory of what survives the broker.
    pub fn resident_bytes(&self) -> usize {
        self.kept.resident_bytes()
    }

    /// Messages that are on the disk alone.
    pub fn away(&self) -> usize {
        self.kept.away()
    }

    /// The message at this place, which the disk has, leaves memory, if it still stands there.
    pub fn let_go(&mut self, ordinal: u64) {
        let is_at = |entry: &Entry<C>| matches!(entry, Entry::Message(it) if it.ordinal == ordinal);
        let at = match self.kept.count() == self.entries.len() {
            true => self.entries.partition_point(|entry| entry.ordinal() < ordinal),
            false => self.entries.iter().position(is_at).unwrap_or(usize::MAX),
        };
        let Some(entry) = self.entries.get_mut(at).filter(|entry| is_at(entry)) else { return };
        let Entry::Message(delivery) = entry else { return };
        let away = Away::of(delivery);
        let Entry::Message(delivery) = std::mem::replace(entry, Entry::Away(away)) else { return };
        self.count_out(&delivery);
        self.count_in_away(&away);
    }

    /// The message at the head, if it is on the disk alone.
    pub fn front_away(&self) -> Option<&Away> {
        match self.entries.front()? {
            Entry::Away(away) => Some(away),
            Entry::Message(_) | Entry::Cursor(_) => None,
        }
    }

    /// Removes the head, if it is a message that is on the disk alone.
    pub fn pop_away(&mut self) -> Option<Away> {
        let away = *self.front_away()?;
        self.entries.pop_front();
        self.count_out_away(&away);
        Some(away)
    }

    /// The places of the first messages, as far as they are on the disk alone, that have `bytes`
    /// together; at least one.
    pub fn first_away(&self, bytes: usize) -> Vec<u64> {
        let (mut places, mut size) = (Vec::new(), 0);
        for entry in &self.entries {
            let Entry::Away(away) = entry else { break };
            if size > 0 && size + away.size as usize > bytes {
                break;
            }
            size += away.size as usize;
            places.push(away.ordinal);
        }
        places
    }

    /// The places of the first messages of the shared groups that `wanted` names and that are on
    /// the disk alone: of as many as `bytes` begin with, which become less by that. And whether
    /// there are more.
    pub fn shared_away(&self, bytes: &mut usize, wanted: impl Fn(u32) -> bool) -> (Vec<u64>, bool) {
        let mut places = Vec::new();
        if self.shared == 0 || self.kept.away() == 0 {
            return (places, false);
        }
        for entry in &self.entries {
            let Entry::Away(away) = entry else { continue };
            if !away.group.is_some_and(&wanted) {
                continue;
            }
            if *bytes == 0 {
                return (places, true);
            }
            *bytes = bytes.saturating_sub(away.size as usize);
            places.push(away.ordinal);
        }
        (places, false)
    }

    /// Messages are in memory again. In their order.
    pub fn fill(&mut self, recalled: impl IntoIterator<Item = (u64, Recalled)>) {
        let mut recalled = recalled.into_iter().peekable();
        let mut entries = std::mem::take(&mut self.entries);
        for entry in &mut entries {
            let Some((ordinal, _)) = recalled.peek() else { break };
            if let Entry::Away(away) = *entry
                && away.ordinal == *ordinal
                && let Some((_, recalled)) = recalled.next()
            {
                let delivery = away.recalled(recalled);
                self.count_out_away(&away);
                self.count_in(&delivery);
                *entry = Entry::Message(delivery);
            }
        }
        self.entries = entries;
    }

    /// Forgets messages that are on the disk alone. In their order.
    pub fn forget_away(&mut self, ordinals: &[u64]) {
        if !ordinals.is_empty() {
            self.drop_where(|entry| match entry {
                Entry::Away(away) => ordinals.binary_search(&away.ordinal).is_ok(),
                Entry::Message(_) | Entry::Cursor(_) => false,
            });
        }
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
            Entry::Away(_) | Entry::Cursor(_) => None,
        }
    }

    /// The cursor at the head, if the head is one.
    pub fn front_cursor(&mut self) -> Option<&mut C> {
        match self.entries.front_mut()? {
            Entry::Cursor(cursor) => Some(cursor),
            Entry::Message(_) | Entry::Away(_) => None,
        }
    }

    /// All cursors in line.
    pub fn cursors_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Cursor(cursor) => Some(&mut **cursor),
            Entry::Message(_) | Entry::Away(_) => None,
        })
    }

    /// Removes the head, message or cursor; of one that is on the disk alone nothing is left.
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
            Entry::Away(away) => {
                self.count_out_away(&away);
                None
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
            self.entries.iter().take_while(|entry| !matches!(entry, Entry::Cursor(_))).position(
                |entry| matches!(entry, Entry::Message(it) if it.qos == QoS::AtMostOnce),
            )?;
        match self.entries.remove(at)? {
            Entry::Message(delivery) => {
                self.count_out(&delivery);
                Some(delivery)
            }
            Entry::Away(_) | Entry::Cursor(_) => None,
        }
    }

    /// Forgets the cursors for which `keep` answers false.
    pub fn retain_cursors(&mut self, keep: impl Fn(&C) -> bool) {
        if self.cursors == 0 {
            return;
        }
        let messages = self.len();
        self.entries.retain(|entry| match entry {
            Entry::Message(_) | Entry::Away(_) => true,
            Entry::Cursor(cursor) => keep(cursor),
        });
        self.cursors = (self.entries.len() - messages) as u32;
    }

    /// Takes out the messages of the shared groups that `wanted` names, up to the first that is on
    /// the disk alone: see [`Self::shared_away`].
    pub fn take_shared(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Delivery> {
        if self.shared == 0 {
            return Vec::new();
        }
        let mut is_behind = false;
        self.take_where(|entry| match entry {
            Entry::Message(delivery) => !is_behind && delivery.group.is_some_and(&wanted),
            Entry::Away(away) => {
                is_behind |= away.group.is_some_and(&wanted);
                false
            }
            Entry::Cursor(_) => false,
        })
    }

    /// Takes out the QoS 0 messages, which no session keeps for an absent client.
    pub fn take_qos0(&mut self) -> Vec<Delivery> {
        if self.qos0 == 0 {
            return Vec::new();
        }
        self.take_where(|entry| matches!(entry, Entry::Message(it) if it.qos == QoS::AtMostOnce))
    }

    fn take_where(&mut self, condition: impl FnMut(&Entry<C>) -> bool) -> Vec<Delivery> {
        let deliveries = self.drop_where(condition).into_iter().filter_map(|entry| match entry {
            Entry::Message(delivery) => Some(delivery),
            Entry::Away(_) | Entry::Cursor(_) => None,
        });
        deliveries.collect()
    }

    /// Drops messages.
    fn drop_where(&mut self, mut condition: impl FnMut(&Entry<C>) -> bool) -> Vec<Entry<C>> {
        let mut taken = Vec::new();
        let entries = std::mem::take(&mut self.entries);
        for entry in entries {
            if condition(&entry) {
                self.count_out_entry(&entry);
                taken.push(entry);
            } else {
                self.entries.push_back(entry);
            }
        }
        taken
    }

    /// Walks the whole queue, so at most once in a while; what expires meanwhile counts as waiting.
    /// Answers where those stood that have expired.
    fn drop_expired(&mut self, now: Time) -> Vec<u64> {
        let mut next = Time::NEVER;
        let expired = self.drop_where(|entry| {
            let at = match entry {
                Entry::Message(delivery) => delivery.message.expires_at().unwrap_or(Time::NEVER),
                Entry::Away(away) => away.expires_at,
                Entry::Cursor(_) => Time::NEVER,
            };
            if at > now {
                next = next.min(at);
            }
            at <= now
        });
        self.expires_from = next.max(now.after_millis(LOOK_AGAIN_MS));
        expired.iter().map(Entry::ordinal).collect()
    }

    /// Messages and bytes of those that survive the broker, or of all others.
    fn of_kind(&self, is_durable: bool) -> (usize, usize) {
        let durable = (self.kept.count(), self.kept.bytes());
        let others = (self.len() - durable.0, self.waiting.bytes() - durable.1);
        if is_durable { durable } else { others }
    }

    /// Answers where it stood.
    fn drop_oldest(&mut self, is_durable: bool) -> Option<u64> {
        let oldest = self.entries.iter().position(|entry| match entry {
            Entry::Message(delivery) => (delivery.ordinal > 0) == is_durable,
            Entry::Away(_) => is_durable,
            Entry::Cursor(_) => false,
        });
        let entry = self.entries.remove(oldest?)?;
        self.count_out_entry(&entry);
        Some(entry.ordinal())
    }

    fn count_in(&mut self, delivery: &Delivery) {
        self.waiting.add(delivery.message.size());
        if delivery.ordinal > 0 {
            self.kept.add(delivery);
        }
        self.qos0 += u32::from(delivery.qos == QoS::AtMostOnce);
        self.shared += u32::from(delivery.group.is_some());
    }

    fn count_out(&mut self, delivery: &Delivery) {
        self.waiting.take(delivery.message.size());
        if delivery.ordinal > 0 {
            self.kept.take(delivery);
        }
        self.qos0 -= u32::from(delivery.qos == QoS::AtMostOnce);
        self.shared -= u32::from(delivery.group.is_some());
    }

    fn count_in_away(&mut self, away: &Away) {
        self.waiting.add(away.size as usize);
        self.kept.add_away(away);
        self.shared += u32::from(away.group.is_some());
    }

    fn count_out_away(&mut self, away: &Away) {
        self.waiting.take(away.size as usize);
        self.kept.take_away(away);
        self.shared -= u32::from(away.group.is_some());
    }

    fn count_out_entry(&mut self, entry: &Entry<C>) {
        match entry {
            Entry::Message(delivery) => self.count_out(delivery),
            Entry::Away(away) => self.count_out_away(away),
            Entry::Cursor(_) => self.cursors -= 1,
        }
    }
}

impl<C> Entry<C> {
    /// The place of a message that survives the broker; 0 for others.
    fn ordinal(&self) -> u64 {
        match self {
            Self::Message(delivery) => delivery.ordinal,
            Self::Away(away) => away.ordinal,
            Self::Cursor(_) => 0,
        }
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
