//! How long a connection may stay, and whose place it takes meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::places::Taken;

/// A connection's place. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Stay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Mutex<Place>,
    /// Places of those who may stay.
    room: Arc<Semaphore>,
    allowed: Notify,
}

#[derive(Debug)]
#[expect(dead_code, reason = "what is in them is given back when they are dropped")]
enum Place {
    /// One of those that everybody may take, for a while.
    Anybody(OwnedSemaphorePermit, Taken),
    /// One of those for who is known.
    Staying(OwnedSemaphorePermit),
}

impl Stay {
    pub(crate) fn new(place: (OwnedSemaphorePermit, Taken), room: Arc<Semaphore>) -> Self {
        let place = Mutex::new(Place::Anybody(place.0, place.1));
        Self(Arc::new(Inner { place, room, allowed: Notify::new() }))
    }

    /// It may stay, as long as there is room for it.
    pub(crate) fn allow(&self) {
        let mut place = self.place();
        if matches!(*place, Place::Anybody(..))
            && let Ok(room) = Arc::clone(&self.0.room).try_acquire_owned()
        {
            *place = Place::Staying(room);
            self.0.allowed.notify_one();
        }
    }

    /// Ready when it must go.
    pub(crate) async fn over(&self) {
        tokio::select! {
            () = self.0.allowed.notified() => std::future::pending().await,
            () = tokio::time::sleep(LONGEST_CONNECTION) => {}
        }
    }

    /// No code that holds this lock can panic halfway through a change.
    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection ends then, whatever happens on it, unless it may stay.
const LONGEST_CONNECTION: Duration = Duration::from_secs(300);
/// Connections that may stay. Beyond them it is as for everybody.
pub(crate) const STAYING: usize = 8192;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::places::Places;

    #[tokio::test(start_paused = true)]
    async fn who_may_stay_takes_nobodys_place() {
        let (all, staying) = (Arc::new(Semaphore::new(2)), Arc::new(Semaphore::new(1)));
        let places = Places::default();
        let come = || {
            let room = Arc::clone(&all).try_acquire_owned().expect("there is room");
            let place = places.take(IpAddr::from([127, 0, 0, 1])).expect("there is a place");
            Stay::new((room, place), Arc::clone(&staying))
        };
        let (first, second) = (come(), come());
        assert_eq!(all.available_permits(), 0);
        first.allow();
        first.allow();
        assert_eq!((all.available_permits(), staying.available_permits()), (1, 0));
        second.allow();
        assert_eq!(all.available_permits(), 1, "no room to stay is left");
        second.over().await;
        let long = tokio::time::timeout(LONGEST_CONNECTION * 2, first.over());
        assert!(long.await.is_err());
        drop((first, second));
        assert_eq!((all.available_permits(), staying.available_permits()), (2, 1));
    }
}
