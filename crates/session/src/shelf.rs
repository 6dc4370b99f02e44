//! Bytes that are kept for a while, and are cleared in about the order in which they came.

use std::collections::VecDeque;

/// Where something stands on a shelf: the number of its chunk, and where in that. One word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot(u64);

impl Spot {
    fn new(chunk: u32, at: usize) -> Self {
        Self(u64::from(chunk) << 32 | at as u64)
    }

    fn chunk(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn at(self) -> usize {
        self.0 as u32 as usize
    }
}

/// Chunks that are filled one behind the other. One of which everything is cleared is free, and
/// used again or given back; so whatever stays holds no more than its chunk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf {
    chunks: VecDeque<Chunk>,
    /// The number of the first chunk; they wrap.
    first: u32,
    /// The memory of a chunk that was cleared, for the next one.
    spare: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// What stands in it and is not cleared.
    held: u32,
}

impl Shelf {
    /// Has `len` bytes written behind those before.
    #[inline]
    pub(crate) fn put(&mut self, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Spot {
        match self.chunks.back_mut() {
            Some(last) if last.held == 0 => last.bytes.clear(),
            Some(last) if last.bytes.len() + len <= CHUNK => {}
            _ => self.begin_chunk(),
        }
        let number = self.first.wrapping_add(self.chunks.len() as u32).wrapping_sub(1);
        let Some(last) = self.chunks.back_mut() else { return Spot::new(number, 0) };
        let spot = Spot::new(number, last.bytes.len());
        last.bytes.reserve(len);
        write(&mut last.bytes);
        debug_assert_eq!(last.bytes.len(), spot.at() + len, "as much as was said");
        last.held += 1;
        spot
    }

    /// What stands there, and what may stand behind it.
    pub(crate) fn get(&self, spot: Spot) -> &[u8] {
        let chunk = self.chunks.get(self.index_of(spot));
        chunk.and_then(|chunk| chunk.bytes.get(spot.at()..)).unwrap_or_default()
    }

    /// What stands there is not needed any more.
    #[inline]
    pub(crate) fn clear(&mut self, spot: Spot) {
        let at = self.index_of(spot);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        chunk.held -= 1;
        if chunk.held == 0 && at + 1 < self.chunks.len() {
            self.end_chunk(at);
        }
    }

    /// Bytes that it holds, used or not.
    pub(crate) fn memory(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| chunk.bytes.capacity());
        chunks.sum::<usize>() + self.spare.capacity()
    }

    /// Only the first chunk grows little by little: who keeps one message at a time needs no more.
    fn begin_chunk(&mut self) {
        let mut bytes = std::mem::take(&mut self.spare);
        if !self.chunks.is_empty() {
            bytes.reserve_exact(CHUNK);
        }
        self.chunks.push_back(Chunk { bytes, held: 0 });
    }

    fn end_chunk(&mut self, at: usize) {
        if let Some(chunk) = self.chunks.get_mut(at) {
            self.spare = std::mem::take(&mut chunk.bytes);
            self.spare.clear();
        }
        while self.chunks.len() > 1 && self.chunks.front().is_some_and(|it| it.held == 0) {
            self.chunks.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    fn index_of(&self, spot: Spot) -> usize {
        spot.chunk().wrapping_sub(self.first) as usize
    }

    #[cfg(test)]
    pub(crate) fn is_clear(&self) -> bool {
        self.chunks.len() <= 1 && self.chunks.iter().all(|it| it.held == 0)
    }
}

/// Bytes of a chunk. What is larger has one of its own.
const CHUNK: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_there_stays_until_it_is_cleared(
            first in prop_oneof![Just(0u32), Just(u32::MAX - 3)],
            steps in prop::collection::vec((0usize..6, 0usize..9_000, any::<u8>()), 1..300),
        ) {
            let mut shelf = Shelf { first, ..Shelf::default() };
            let mut model: Vec<(Spot, Vec<u8>)> = Vec::new();
            for (kind, number, byte) in steps {
                if kind < 3 || model.is_empty() {
                    let bytes = vec![byte; number];
                    let spot = shelf.put(number, |out| out.extend_from_slice(&bytes));
                    model.push((spot, bytes));
                } else {
                    // Mostly the oldest.
                    let at = if kind == 3 { number % model.len() } else { 0 };
                    shelf.clear(model.remove(at).0);
                }
                for (spot, bytes) in &model {
                    prop_assert!(shelf.get(*spot).starts_with(bytes));
                }
                let held = shelf.memory();
                let bound = (model.len() + 2) * (CHUNK + 9_000);
                prop_assert!(held <= bound, "{held} bytes for {} of them", model.len());
            }
            for (spot, _) in model {
                shelf.clear(spot);
            }
            prop_assert!(shelf.is_clear());
        }
    }

    #[test]
    fn who_keeps_one_at_a_time_needs_little() {
        let mut shelf = Shelf::default();
        for _ in 0..1_000 {
            let spot = shelf.put(7, |out| out.extend_from_slice(b"payload"));
            shelf.clear(spot);
        }
        assert_eq!(shelf.chunks.len(), 1);
        assert!(shelf.chunks[0].bytes.capacity() < 64);
    }
}
