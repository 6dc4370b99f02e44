//! Room in memory: bytes that things of one kind may take together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that may be taken, within those of another room if it is part of one. All clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: usize,
    /// What parts that have taken more than `few` leave to the others.
    reserve: usize,
    few: usize,
    taken: Mutex<usize>,
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
        Self::of_parts(bytes, 0, 0, within)
    }

    /// One with up to so many parts: each of them can take `few` bytes whatever the others take.
    pub(crate) fn of_parts(bytes: usize, parts: usize, few: usize, within: Option<Self>) -> Self {
        let (reserve, taken) = (parts * few, Mutex::default());
        Self(Arc::new(Inner { bytes, reserve, few, taken, within }))
    }

    /// Takes bytes, for as long as what is returned lives.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Taken, Full> {
        self.take(bytes)?;
        Ok(Taken { room: self.clone(), bytes })
    }

    /// Takes bytes, which are to be given back.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Full> {
        self.take_for(bytes, true)
    }

    /// `has_few`: for a part that has few bytes then, and so have the parts of that one.
    fn take_for(&self, bytes: usize, has_few: bool) -> Result<(), Full> {
        let inner = &*self.0;
        let bound = if has_few { inner.bytes } else { inner.bytes.saturating_sub(inner.reserve) };
        let mut taken = self.lock();
        let sum = taken.checked_add(bytes).filter(|sum| *sum <= bound).ok_or(Full(inner.bytes))?;
        if let Some(within) = &inner.within {
            within.take_for(bytes, has_few && sum <= within.0.few)?;
        }
        *taken = sum;
        Ok(())
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        *self.lock() -= bytes;
        if let Some(within) = &self.0.within {
            within.give_back(bytes);
        }
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        *self.lock()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

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
    fn each_part_can_take_a_few_whatever_others_take() {
        let all = Room::of_parts(100, 4, 10, None);
        let [greedy, small, new] = [(); 3].map(|()| Room::new(90, Some(all.clone())));
        let held = small.hold(5).expect("it fits");
        greedy.take(55).expect("it fits");
        assert_eq!(greedy.take(1), Err(Full(100)), "the rest is for parts with few bytes");
        small.take(5).expect("it has few");
        assert_eq!(small.take(1), Err(Full(100)));
        new.take(10).expect("it has few");
        // A part of a part has few if both have.
        let inner = Room::of_parts(50, 2, 4, Some(Room::of_parts(50, 2, 5, Some(all.clone()))));
        let (one, other) = (Room::new(50, Some(inner.clone())), Room::new(50, Some(inner)));
        assert!(one.take(5).is_err(), "more than few in its own");
        assert!(one.take(4).is_ok() && other.take(1).is_ok() && other.take(1).is_err());
        drop(held);
        assert_eq!(all.taken(), 75);
    }
}
