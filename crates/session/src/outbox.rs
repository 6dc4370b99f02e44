//! The bytes that wait to be written to one connection.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use crate::Message;

/// Output of one connection: encoded packets, with large payloads referenced instead of copied.
///
/// The router appends during a turn; the shard writes once at its end. An empty outbox holds no
/// memory: its buffer goes back to a pool with [`Outbox::release`].
#[derive(Debug, Default)]
pub struct Outbox {
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
    message: Arc<Message>,
    written: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written + self.splice_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vector to append encoded packets to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends the message's payload: a copy when it is small, else a reference.
    pub fn push_payload(&mut self, message: &Arc<Message>) {
        if message.payload.len() < REFERENCE_FROM {
            self.bytes.extend_from_slice(&message.payload);
        } else {
            self.splice_bytes += message.payload.len();
            let message = Arc::clone(message);
            self.splices.push_back(Splice { at: self.bytes.len(), message, written: 0 });
        }
    }

    /// Takes over a pooled buffer if it has none of its own.
    pub fn adopt(&mut self, pool: &mut Vec<Vec<u8>>) {
        if self.bytes.capacity() == 0
            && let Some(buffer) = pool.pop()
        {
            self.bytes = buffer;
        }
    }

    /// Gives the buffer of an empty outbox back; one that a burst has grown is freed.
    pub fn release(&mut self, pool: &mut Vec<Vec<u8>>) {
        debug_assert!(self.is_empty(), "only an empty outbox gives its buffer away");
        self.written = 0;
        self.splices = VecDeque::new();
        let mut buffer = std::mem::take(&mut self.bytes);
        if buffer.capacity() > 0 && buffer.capacity() <= POOLED_BYTES && pool.len() < POOLED_BUFFERS
        {
            buffer.clear();
            pool.push(buffer);
        }
    }

    /// Fills `slices` with what waits, in order; returns how many it used.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
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
            if !put(&self.bytes[at..splice.at]) || !put(&splice.message.payload[splice.written..]) {
                return used;
            }
            at = splice.at;
        }
        put(&self.bytes[at..]);
        used
    }

    /// Forgets the first `count` bytes, which have been written.
    pub fn consume(&mut self, mut count: usize) {
        debug_assert!(count <= self.len(), "more written than waited");
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
            let part = count.min(splice.message.payload.len() - splice.written);
            splice.written += part;
            self.splice_bytes -= part;
            count -= part;
            if splice.written < splice.message.payload.len() {
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

    /// Drops everything that waits.
    pub fn clear(&mut self) {
        *self = Self::default();
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
const POOLED_BYTES: usize = 256 * 1024;
/// Buffers that wait for use, at most.
const POOLED_BUFFERS: usize = 256;
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
                outbox.push_payload(&Arc::new(message));
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
