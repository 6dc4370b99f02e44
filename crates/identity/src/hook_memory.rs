//! Clients that a hook has let in, for as long as it need not be asked again.

use std::collections::HashMap;

use crate::principal::Principal;

/// By the keyed hash of the question. Bounded in number and in what was answered: beyond that those
/// go that are over, and if that makes no room, all.
#[derive(Debug, Default)]
pub(crate) struct HookMemory {
    all: HashMap<[u8; 32], Remembered>,
    /// Bytes of the answers.
    bytes: usize,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    /// Whom the hook has let in.
    pub(crate) principal: Principal,
    /// When he has to go, in Unix seconds.
    pub(crate) expires_at: Option<u64>,
    /// Unix time from which on the hook is asked again.
    pub(crate) until: u64,
    /// Bytes of the answer.
    pub(crate) bytes: usize,
}

impl HookMemory {
    pub(crate) fn get(&self, question: &[u8; 32], now: u64) -> Option<&Remembered> {
        self.all.get(question).filter(|it| now < it.until)
    }

    pub(crate) fn put(&mut self, question: [u8; 32], new: Remembered, now: u64) {
        let has_room = |all: &Self| all.all.len() < MOST && all.bytes + new.bytes <= MOST_BYTES;
        if !has_room(self) {
            self.all.retain(|_, it| now < it.until);
            self.bytes = self.all.values().map(|it| it.bytes).sum();
        }
        if !has_room(self) {
            *self = Self::default();
        }
        self.bytes += new.bytes;
        if let Some(old) = self.all.insert(question, new) {
            self.bytes -= old.bytes;
        }
    }
}

/// Clients at most.
const MOST: usize = 10_000;
/// Bytes of all answers at most. What is made of one takes some ten times as much.
const MOST_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(until: u64, bytes: usize) -> Remembered {
        Remembered { principal: Principal::named("scout"), expires_at: None, until, bytes }
    }

    fn key(number: usize) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn what_is_over_is_not_remembered() {
        let mut memory = HookMemory::default();
        memory.put(key(1), remembered(100, 10), 90);
        assert!(memory.get(&key(1), 99).is_some());
        assert!(memory.get(&key(1), 100).is_none() && memory.get(&key(2), 99).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = HookMemory::default();
        for number in 0..MOST * 2 + 10 {
            memory.put(key(number), remembered(number as u64 + 20, 10), number as u64);
            assert!(memory.all.len() <= MOST);
        }
        assert!(memory.get(&key(MOST * 2 + 9), 0).is_some(), "the newest is there");
        let mut memory = HookMemory::default();
        for number in 0..1_000 {
            memory.put(key(number), remembered(100, 16 * 1024), 0);
            memory.put(key(number), remembered(100, 16 * 1024), 0);
            assert_eq!(memory.bytes, memory.all.len() * 16 * 1024, "each once");
            assert!(memory.bytes <= MOST_BYTES);
        }
    }
}
