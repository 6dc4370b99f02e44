//! What happens to the connection.

use std::time::Duration;

use agentmq_codec::ReasonCode;
use tokio::sync::broadcast;

/// A change of the connection's state. The first connection is none: its outcome is that of
/// [`crate::Client::connect`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Connected again, but the server did not have the session any more: subscriptions are
    /// repeated and unacknowledged messages published anew.
    Connected,
    /// Connected again, and the server still had the session.
    Resumed,
    /// The server answered a subscription repeated after [`Event::Connected`].
    Resubscribed {
        /// How many it refused.
        refused: usize,
    },
    /// The connection ended.
    Disconnected {
        /// Cause.
        why: String,
        /// The server's reason code, if it sent DISCONNECT.
        reason: Option<ReasonCode>,
        /// When the next attempt starts; `None` when this was the end.
        retry_in: Option<Duration>,
    },
}

/// A stream of [`Event`]s from the time of its creation. A reader that falls more than 64 events
/// behind misses the oldest.
#[derive(Debug)]
pub struct Events(pub(crate) broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Events that wait for a reader.
pub(crate) const EVENT_CAPACITY: usize = 64;
