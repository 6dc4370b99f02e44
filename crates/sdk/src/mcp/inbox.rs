//! The queue of what comes to one session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rmcp::model::{ErrorData, RequestId};
use tokio::sync::mpsc;

use super::wire::Arrived;
use super::{OPEN_REQUESTS, WAITING_BYTES, WAITING_MESSAGES};

/// Where messages for a session are put. It never waits: whoever takes messages off the connection
/// works for all sessions.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: mpsc::Sender<Incoming>,
    shared: Arc<Shared>,
}

/// Where the session takes them.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: mpsc::Receiver<Incoming>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// The last word has been put, or there was no room for it.
    gone: AtomicBool,
    /// The other side has said something that might have been lost.
    is_lossy: AtomicBool,
}

/// What comes to a session.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Arrived),
    /// A request of ours will not be answered.
    Failed(RequestId, ErrorData),
    /// The other side is gone; who ends the session himself drops the inbox.
    Gone,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

pub(crate) fn inbox() -> (Inbox, Outlet) {
    let (sender, queue) = mpsc::channel(WAITING_MESSAGES + OPEN_REQUESTS);
    let shared = Arc::new(Shared::default());
    (Inbox { queue: sender, shared: shared.clone() }, Outlet { queue, shared })
}

impl Inbox {
    pub(crate) fn put(&self, message: Arrived) -> Result<(), Refused> {
        self.shared.is_lossy.fetch_or(message.may_be_lost, Ordering::Relaxed);
        let waiting = &self.shared.waiting;
        let (bytes, before) = (message.payload.len(), waiting.load(Ordering::Relaxed));
        // What is left is for requests that have failed.
        let has_room = self.queue.capacity() > OPEN_REQUESTS;
        if !has_room || (before > 0 && before + bytes > WAITING_BYTES) {
            return Err(Refused::Full);
        }
        waiting.fetch_add(bytes, Ordering::Relaxed);
        self.queue.try_send(Incoming::Message(message)).map_err(|error| {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => Refused::Full,
                mpsc::error::TrySendError::Closed(_) => Refused::Closed,
            }
        })
    }

    /// Whether what the other side says is lost while we are away: it publishes with QoS 0.
    pub(crate) fn is_lossy(&self) -> bool {
        self.shared.is_lossy.load(Ordering::Relaxed)
    }

    /// Ends a request of ours; `false` when there is no room for that.
    pub(crate) fn fail(&self, id: RequestId, error: ErrorData) -> bool {
        self.queue.try_send(Incoming::Failed(id, error)).is_ok()
    }

    /// The last word, since there is nobody at the other side. The session knows at once, and takes
    /// the word when it comes to it; where there is no room for it, it comes to the end.
    pub(crate) fn gone(self) {
        self.shared.gone.store(true, Ordering::Release);
        let _ = self.queue.try_send(Incoming::Gone);
    }
}

impl Outlet {
    /// The next one; `None` at the end. Cancel safe.
    pub(crate) async fn take(&mut self) -> Option<Incoming> {
        let next = self.queue.recv().await?;
        if let Incoming::Message(message) = &next {
            self.shared.waiting.fetch_sub(message.payload.len(), Ordering::Relaxed);
        }
        Some(next)
    }

    /// Whether there is nobody at the other side, also before that is taken.
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.gone.load(Ordering::Acquire)
    }

    pub(crate) fn close(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: Vec<u8>) -> Arrived {
        let (topic, trace) = (String::new(), crate::TraceContext::default());
        let payload = payload.into();
        let (is_signed, may_be_lost, correlation) = (false, false, None);
        Arrived { topic, payload, trace, is_signed, may_be_lost, correlation }
    }

    #[tokio::test]
    async fn messages_and_bytes_have_a_bound() {
        let (inbox, mut outlet) = inbox();
        for _ in 0..WAITING_MESSAGES {
            assert_eq!(inbox.put(message(vec![0])), Ok(()));
        }
        assert_eq!(inbox.put(message(vec![0])), Err(Refused::Full));
        for _ in 0..WAITING_MESSAGES {
            outlet.take().await.unwrap();
        }
        let large = message(vec![0; WAITING_BYTES]);
        assert_eq!(inbox.put(large.clone()), Ok(()));
        assert_eq!(inbox.put(message(vec![0])), Err(Refused::Full));
        outlet.take().await.unwrap();
        assert_eq!(inbox.put(large), Ok(()), "all that was counted is taken off again");
        assert!(!outlet.is_gone());
        inbox.gone();
        assert!(outlet.is_gone());
        outlet.take().await.unwrap();
        assert!(matches!(outlet.take().await, Some(Incoming::Gone)));
        assert!(outlet.take().await.is_none());
    }
}
