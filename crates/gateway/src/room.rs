//! Room in memory: bytes that things of one kind may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be taken, within those of another room if it is part of one. All clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: usize,
    taken: AtomicUsize,
    within: Option<Room>,
}

/// Something did not fit: it would be more than so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) usize);

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Room,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(bytes: usize, within: Option<Self>) -> Self {
        Self(Arc::new(Inner { bytes, taken: AtomicUsize::new(0), within }))
    }

    /// Takes bytes, for as long as what is returned lives.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Taken, Full> {
        self.take(bytes)?;
        Ok(Taken { room: self.clone(), bytes })
    }

    /// Takes bytes, which are to be given back.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Full> {
        let Inner { bytes: bound, taken, within } = &*self.0;
        let more = |taken: usize| taken.checked_add(bytes).filter(|sum| sum <= bound);
        let order = Ordering::Relaxed;
        taken.fetch_update(order, order, more).map_err(|_| Full(*bound))?;
        let beyond = within.as_ref().map_or(Ok(()), |within| within.take(bytes));
        beyond.inspect_err(|_| {
            taken.fetch_sub(bytes, order);
        })
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.taken.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(within) = &self.0.within {
            within.give_back(bytes);
        }
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

/// Bytes of memory that something takes, given as JSON, about: a short value takes many times there
/// what it takes as text.
pub(crate) fn weight(item: &[u8]) -> usize {
    let (mut is_text, mut is_escaped) = (false, false);
    let mut bytes = ITEM + item.len();
    for &byte in item {
        match byte {
            b'"' if !is_escaped => is_text = !is_text,
            b'{' if !is_text => bytes += OBJECT,
            b'[' | b',' if !is_text => bytes += VALUE,
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    bytes
}

/// What it takes beside its values: itself, and its name where it is looked for.
const ITEM: usize = 512;

/// What an object takes beside its texts: room for eleven members.
const OBJECT: usize = 640;

/// The same for any other value.
const VALUE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_everywhere() {
        let all = Room::new(10, None);
        let part = Room::new(8, Some(all.clone()));
        let held = part.hold(8).expect("it fits");
        assert_eq!((part.hold(1).err(), all.hold(3).err()), (Some(Full(8)), Some(Full(10))));
        let beside = all.hold(2).expect("it fits");
        drop(held);
        assert_eq!(all.taken(), 2);
        let more = all.hold(1).expect("it fits");
        assert_eq!(part.hold(8).err(), Some(Full(10)));
        assert_eq!((part.taken(), all.taken()), (0, 3), "what did not fit takes nothing");
        drop((beside, more));
        assert_eq!(all.taken(), 0);
    }

    #[test]
    fn short_values_weigh_what_they_take() {
        assert_eq!(weight(br#""a,{[\"{\\""#), ITEM + 11);
        assert_eq!(weight(b"[1,2]"), ITEM + 5 + 2 * VALUE);
        assert_eq!(weight(br#"[{},{"a":[]}]"#), ITEM + 13 + 2 * OBJECT + 3 * VALUE);
    }
}
