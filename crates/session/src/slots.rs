//! Numbered places for what there is most of: sessions, connections, sockets.

use std::ops::{Index, IndexMut};

/// An array that grows in chunks, so that growing moves nothing: it costs the same with a million
/// values as with ten, and leaves no large block behind that the allocator must get rid of.
#[derive(Debug)]
pub struct Slots<T> {
    /// All full but the last.
    chunks: Vec<Vec<T>>,
}

/// Values with numbers that stay theirs, and are free for others once they are removed.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Slots<Option<T>>,
    /// Numbers to use again, the last one first.
    free: Vec<usize>,
}

impl<T> Slots<T> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        let last = self.chunks.last().map_or(0, Vec::len);
        self.chunks.len().saturating_sub(1) * CHUNK + last
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The value with this number.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// The value with this number, to change.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    /// Appends a value; its number is the length before.
    pub fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    /// All values in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No value has this number or a higher one.
    pub fn end(&self) -> usize {
        self.slots.len()
    }

    /// Adds a value and returns its number.
    pub fn insert(&mut self, value: T) -> usize {
        let at = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(at) {
            Some(slot) => *slot = Some(value),
            None => self.slots.push(Some(value)),
        }
        at
    }

    /// The value with this number.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.slots.get(at)?.as_ref()
    }

    /// The value with this number, to change.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.slots.get_mut(at)?.as_mut()
    }

    /// Takes a value out.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        let value = self.slots.get_mut(at)?.take()?;
        self.free.push(at);
        Some(value)
    }

    /// All values with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let all = self.slots.iter().enumerate();
        all.filter_map(|(at, slot)| slot.as_ref().map(|value| (at, value)))
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Slots::default(), free: Vec::new() }
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        self.get(at).expect("the caller has the number of a value that is there")
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        self.get_mut(at).expect("the caller has the number of a value that is there")
    }
}

/// Values in a chunk: some 30 KiB of sessions or connections.
const CHUNK: usize = 128;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slab_is_a_map_that_chooses_its_keys(
            steps in prop::collection::vec((any::<bool>(), 0usize..400), 1..1_000),
        ) {
            let (mut slab, mut model) = (Slab::default(), BTreeMap::new());
            for (number, (adds, at)) in steps.into_iter().enumerate() {
                if adds {
                    let key = slab.insert(number);
                    prop_assert_eq!(model.insert(key, number), None, "the number was taken");
                } else {
                    prop_assert_eq!(slab.remove(at), model.remove(&at));
                }
                prop_assert_eq!(slab.get(at), model.get(&at));
                prop_assert_eq!(slab.len(), model.len());
            }
            prop_assert!(slab.iter().eq(model.iter().map(|(&at, value)| (at, value))));
        }
    }

    #[test]
    fn growing_moves_nothing() {
        let mut slots = Slots::default();
        slots.push(0);
        let first: *const i32 = slots.get(0).expect("just pushed");
        (1..1_000).for_each(|number| slots.push(number));
        assert_eq!(slots.len(), 1_000);
        assert!(std::ptr::eq(first, slots.get(0).expect("still there")));
        assert!(slots.iter().copied().eq(0..1_000));
    }

    #[test]
    fn numbers_are_used_again() {
        let mut slab = Slab::default();
        let keys: Vec<_> = ["a", "b", "c"].map(|value| slab.insert(value)).to_vec();
        slab.remove(keys[1]);
        assert_eq!(slab.insert("d"), keys[1]);
        assert_eq!(slab[keys[1]], "d");
    }
}
