//! The bytes that wait to be written to one connection.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::Message;

/// Output of one connection: encoded packets, with large payloads referenced instead of copied.
///
/// The router appends during a turn; the shard writes once at its end. An empty outbox is one
/// pointer to nothing: its memory goes back to the pool with [`Outbox::release`].
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// Encoded bytes, without the referenced payloads.
    bytes: Vec<u8>,
    /// How many of `bytes` have been written.
    written: usize,
    /// Payloads that belong into `bytes`, in order.
    splices: VecDeque<Splice>,
    /// Unwritten bytes of all splices together.
    splice_bytes: usize,
}

#[derive(Debug)]
struct Splice {
    /// The payload stands before `bytes[at]`.
    at: usize,
    message: Message,
    written: usize,
}

/// What empty outboxes have given back, for those that get something next.
#[derive(Debug, Default)]
pub struct OutboxPool {
    #[expect(clippy::vec_box, reason = "what changes hands is the box")]
    kept: Vec<Box<Content>>,
    /// Capacity of all of them together.
    bytes: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |content| content.len())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vector to append encoded packets to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.content().bytes
    }

    /// Appends the message's payload: a copy when it is small, else a reference.
    pub fn push_payload(&mut self, message: &Message) {
        let content = self.content();
        if message.payload().len() < REFERENCE_FROM {
            content.bytes.extend_from_slice(message.payload());
        } else {
            content.splice_bytes += message.payload().len();
            let (at, message) = (content.bytes.len(), message.clone());
            content.splices.push_back(Splice { at, message, written: 0 });
        }
    }

    /// Takes pooled memory if it has none of its own.
    pub fn adopt(&mut self, pool: &mut OutboxPool) {
        if self.0.is_none() {
            self.0 = pool.take();
        }
    }

    /// Gives the memory of an empty outbox back; a buffer that a burst has grown is freed.
    pub fn release(&mut self, pool: &mut OutboxPool) {
        debug_assert!(self.is_empty(), "only an empty outbox gives its memory away");
        if let Some(content) = self.0.take() {
            pool.give(content);
        }
    }

    /// Fills `slices` with what waits, in order; returns how many it used.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.0.as_ref().map_or(0, |content| content.slices(slices))
    }

    /// Forgets the first `count` bytes, which have been written.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "more written than waited");
        if let Some(content) = &mut self.0 {
            content.consume(count);
        }
    }

    /// Drops everything that waits.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    fn content(&mut self) -> &mut Content {
        self.0.get_or_insert_default()
    }
}

impl OutboxPool {
    fn take(&mut self) -> Option<Box<Content>> {
        let content = self.kept.pop()?;
        self.bytes -= content.bytes.capacity();
        Some(content)
    }

    fn give(&mut self, mut content: Box<Content>) {
        let capacity = content.bytes.capacity();
        if capacity > BUFFER_BYTES || self.bytes + capacity > POOL_BYTES {
            return;
        }
        content.bytes.clear();
        content.written = 0;
        if content.splices.capacity() > KEPT_SPLICES {
            content.splices = VecDeque::new();
        }
        self.bytes += capacity;
        self.kept.push(content);
    }
}

impl Content {
    fn len(&self) -> usize {
        self.bytes.len() - self.written + self.splice_bytes
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut used, mut at) = (0, self.written);
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(slot) = slices.get_mut(used) else { return false };
            *slot = IoSlice::new(bytes);
            used += 1;
            true
        };
        for splice in &self.splices {
            if !put(&self.bytes[at..splice.at]) || !put(&splice.message.payload()[splice.written..])
            {
                return used;
            }
            at = splice.at;
        }
        put(&self.bytes[at..]);
        used
    }

    fn consume(&mut self, mut count: usize) {
        while count > 0 {
            let Some(splice) = self.splices.front_mut() else {
                self.written += count;
                break;
            };
            let before = splice.at - self.written;
            if count < before {
                self.written += count;
                break;
            }
            self.written = splice.at;
            count -= before;
            let part = count.min(splice.message.payload().len() - splice.written);
            splice.written += part;
            self.splice_bytes -= part;
            count -= part;
            if splice.written < splice.message.payload().len() {
                break;
            }
            self.splices.pop_front();
        }
        if self.written == self.bytes.len() && self.splices.is_empty() {
            self.bytes.clear();
            self.written = 0;
        } else if self.written > COMPACT_FROM && self.written > self.bytes.len() / 2 {
            self.compact();
        }
    }

    /// Moves the unwritten rest to the front, so that a reader that is always a little behind
    /// does not make the buffer grow without end.
    fn compact(&mut self) {
        self.bytes.drain(..self.written);
        for splice in &mut self.splices {
            splice.at -= self.written;
        }
        self.written = 0;
    }
}

/// Payloads from this size on are referenced: below, a copy is cheaper than one more slice.
pub const REFERENCE_FROM: usize = 4096;
/// Buffers up to this capacity are worth keeping.
const BUFFER_BYTES: usize = 256 * 1024;
/// Capacity of all buffers that wait for use, at most.
const POOL_BYTES: usize = 16 * 1024 * 1024;
/// Places for payloads that a buffer may keep.
const KEPT_SPLICES: usize = 64;
const COMPACT_FROM: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use agentmq_codec::QoS;
    use proptest::prelude::*;

    use super::*;

    fn collect(outbox: &Outbox) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(&[]); 64];
        let used = outbox.slices(&mut slices);
        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    proptest! {
        #[test]
        fn writes_what_was_pushed_in_any_portions(
            parts in prop::collection::vec(prop_oneof![1usize..300, 4096usize..9000], 1..20),
            portion in 1usize..20_000,
        ) {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for (index, &size) in parts.iter().enumerate() {
                let payload: Vec<u8> = (0..size).map(|i| (i * 7 + index) as u8).collect();
                outbox.bytes().push(index as u8);
                expected.push(index as u8);
                let message = Message::plain("t", &payload, QoS::AtMostOnce, false);
                outbox.push_payload(&message);
                expected.extend(payload);
            }
            prop_assert_eq!(outbox.len(), expected.len());
            let mut written = Vec::new();
            while !outbox.is_empty() {
                let next = collect(&outbox);
                let part = portion.min(next.len());
                written.extend_from_slice(&next[..part]);
                outbox.consume(part);
            }
            prop_assert_eq!(written, expected);
        }
    }
}
