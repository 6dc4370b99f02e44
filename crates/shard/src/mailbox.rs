//! Mail between shards.
//!
//! Each shard has one box. Others append at the end of their turn everything they have for it
//! under one lock, and wake it only if it has announced sleep. Both the announcement and the
//! look whether mail is there happen under the same lock as the append, so that no mail can fall
//! between them.
//!
//! A box is bounded. What does not fit stays with its sender, in order, and as long as any sender
//! keeps anything back, no shard reads from its clients: taking mail, delivering it and writing
//! go on, so that the boxes empty and nobody waits for somebody who waits for him.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use agentmq_router::{Mail, Place, PlaceSet};
use mio::Waker;

use crate::handoff::Handoff;

/// The boxes of all shards of a broker.
#[derive(Debug)]
pub struct Mailboxes {
    boxes: Box<[Mailbox]>,
    /// Shards that keep mail back.
    congested: AtomicU64,
    closing: AtomicBool,
}

#[derive(Debug)]
struct Mailbox {
    state: Mutex<State>,
    waker: OnceLock<Arc<Waker>>,
}

#[derive(Debug)]
struct State {
    parcels: Vec<(Place, Parcel)>,
    bytes: usize,
    /// The owner is to be woken: it sleeps, or may.
    sleeps: bool,
}

/// One piece of mail.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// From router to router.
    Router(Mail),
    /// A connection that moves here.
    Handoff(Box<Handoff>),
    /// A connection that came through this listener of the receiver has gone.
    LeftDoor(u16),
}

impl Parcel {
    fn size(&self) -> usize {
        match self {
            Self::Router(mail) => mail.size(),
            Self::Handoff(handoff) => handoff.bytes.len() + size_of::<Handoff>(),
            Self::LeftDoor(_) => size_of::<Self>(),
        }
    }
}

impl Mailboxes {
    /// Boxes for this many shards. Every shard counts as asleep until it first takes mail.
    pub fn new(shards: usize) -> Self {
        let empty = || Mailbox {
            state: Mutex::new(State { parcels: Vec::new(), bytes: 0, sleeps: true }),
            waker: OnceLock::new(),
        };
        Self {
            boxes: (0..shards).map(|_| empty()).collect(),
            congested: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }
    }

    /// What wakes the owner of a box.
    pub(crate) fn set_waker(&self, place: Place, waker: Arc<Waker>) {
        if let Some(mailbox) = self.get(place) {
            // A second waker for one box cannot be: each shard is started once.
            let _ = mailbox.waker.set(waker);
        }
    }

    /// Wakes the owner of a box.
    pub fn wake(&self, place: Place) {
        if let Some(mailbox) = self.get(place) {
            mailbox.wake();
        }
    }

    /// Moves as much of `waiting` into the box of `to` as fits; true when nothing is left.
    pub(crate) fn post(&self, from: Place, to: Place, waiting: &mut VecDeque<Parcel>) -> bool {
        let Some(mailbox) = self.get(to) else {
            waiting.clear();
            return true;
        };
        let mut state = mailbox.lock();
        while let Some(parcel) = waiting.front() {
            let size = parcel.size();
            let fits = state.parcels.len() < BOX_PARCELS && state.bytes + size <= BOX_BYTES;
            if !fits && !state.parcels.is_empty() {
                break; // what is too large for any box goes into an empty one
            }
            state.bytes += size;
            state.parcels.extend(waiting.pop_front().map(|parcel| (from, parcel)));
        }
        let wake = !state.parcels.is_empty() && std::mem::take(&mut state.sleeps);
        drop(state);
        if wake {
            mailbox.wake();
        }
        waiting.is_empty()
    }

    /// Takes everything out of a box into `parcels`, which is empty and gives its memory.
    pub(crate) fn take(&self, own: Place, parcels: &mut Vec<(Place, Parcel)>) {
        let Some(mailbox) = self.get(own) else { return };
        let mut state = mailbox.lock();
        std::mem::swap(&mut state.parcels, parcels);
        state.bytes = 0;
        state.sleeps = false;
    }

    /// The owner is about to sleep: false if it has mail.
    pub(crate) fn announce_sleep(&self, own: Place) -> bool {
        let Some(mailbox) = self.get(own) else { return true };
        let mut state = mailbox.lock();
        state.sleeps = state.parcels.is_empty();
        state.sleeps
    }

    /// A shard keeps mail back, or no longer.
    pub(crate) fn set_congested(&self, place: Place, congested: bool) {
        let bit = PlaceSet::NONE.with(place).0;
        if congested {
            self.congested.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.congested.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether any shard keeps mail back.
    pub(crate) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed) != 0
    }

    /// A shard has ended, so that the others are to end too.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        for mailbox in &self.boxes {
            mailbox.wake();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn get(&self, place: Place) -> Option<&Mailbox> {
        self.boxes.get(usize::from(place.0))
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway but a lack of memory.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get()
            && let Err(error) = waker.wake()
        {
            tracing::error!(%error, "a shard could not be woken for its mail");
        }
    }
}

/// Mail that a box holds.
const BOX_PARCELS: usize = 16_384;
/// Bytes that the mail of one box keeps from being freed.
const BOX_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    fn letters(count: u16) -> VecDeque<Parcel> {
        (0..count).map(Parcel::LeftDoor).collect()
    }

    #[test]
    fn what_does_not_fit_stays_with_the_sender_in_order() {
        let boxes = Mailboxes::new(2);
        let mut waiting = letters(BOX_PARCELS as u16 + 2);
        assert!(!boxes.post(Place(0), Place(1), &mut waiting));
        assert!(matches!(waiting.front(), Some(Parcel::LeftDoor(16_384))));
        let mut taken = Vec::new();
        boxes.take(Place(1), &mut taken);
        assert_eq!(taken.len(), BOX_PARCELS);
        assert!(boxes.post(Place(0), Place(1), &mut waiting));
        taken.clear();
        boxes.take(Place(1), &mut taken);
        assert!(matches!(
            taken[..],
            [(_, Parcel::LeftDoor(16_384)), (_, Parcel::LeftDoor(16_385))]
        ));
    }

    #[test]
    fn mail_forbids_sleep() {
        let boxes = Mailboxes::new(2);
        assert!(boxes.announce_sleep(Place(1)));
        boxes.post(Place(0), Place(1), &mut letters(1));
        assert!(!boxes.announce_sleep(Place(1)));
    }

    /// Senders that post one letter at a time, and a receiver that sleeps without a limit whenever
    /// it may: a wake-up that is lost leaves it asleep for ever.
    #[test]
    fn no_wake_up_is_lost() {
        const LETTERS: u16 = 20_000;
        let boxes = Arc::new(Mailboxes::new(3));
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        boxes.set_waker(Place(0), waker);
        let senders: Vec<_> = [1, 2]
            .map(|from| {
                let boxes = Arc::clone(&boxes);
                std::thread::spawn(move || {
                    for letter in 0..LETTERS {
                        let mut waiting = VecDeque::from([Parcel::LeftDoor(letter)]);
                        while !boxes.post(Place(from), Place(0), &mut waiting) {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .into();
        let mut next = [0, 0, 0];
        let (mut taken, mut events) = (Vec::new(), Events::with_capacity(4));
        while next != [0, LETTERS, LETTERS] {
            let limit = if boxes.announce_sleep(Place(0)) {
                Some(Duration::from_secs(60)) // instead of for ever, for a test that ends
            } else {
                Some(Duration::ZERO)
            };
            poll.poll(&mut events, limit).unwrap();
            boxes.take(Place(0), &mut taken);
            let was_woken = !events.is_empty();
            assert!(was_woken || limit == Some(Duration::ZERO), "nobody woke the sleeper");
            for (from, parcel) in taken.drain(..) {
                let Parcel::LeftDoor(letter) = parcel else { panic!("only letters were sent") };
                assert_eq!(letter, next[usize::from(from.0)], "in order");
                next[usize::from(from.0)] += 1;
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
    }
}
