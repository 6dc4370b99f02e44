//! What has been said to a client that comes by HTTP, and that it has not read yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use agentmq_sdk::mcp::{Fault, fault};
use hyper::http::Extensions;
use hyper::http::request::Parts;
use rmcp::model::{ErrorData, Extensions as RequestExtensions};
use serde::Serialize;

use crate::room::{Full, Room, Taken, weight};

/// For what is said to all clients.
pub(crate) fn of_all() -> Room {
    Room::new(OF_ALL, None)
}

/// For what is said to those of one token.
pub(crate) fn of_one(all: &Room) -> Room {
    Room::new(OF_TOKEN, Some(all.clone()))
}

/// Room for something that is said, until what is returned is dropped.
pub(crate) fn hold<T: Serialize>(room: &Room, said: &T) -> Result<Taken, Full> {
    let text = serde_json::to_vec(said).unwrap_or_default();
    room.hold(weight(&text))
}

/// What one HTTP request says. It has its room until the last clone is dropped: when its client has
/// read all of it or has gone, and nobody works on it any more.
#[derive(Debug, Clone)]
pub(crate) struct Unread(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: Room,
    answers: Mutex<Vec<Taken>>,
    /// The last ones: those before have left.
    notifications: Mutex<VecDeque<Taken>>,
}

impl Unread {
    pub(crate) fn new(room: Room) -> Self {
        let (answers, notifications) = Default::default();
        Self(Arc::new(Inner { room, answers, notifications }))
    }

    /// That of an HTTP request.
    pub(crate) fn put_into(&self, extensions: &mut Extensions) {
        extensions.insert(self.clone());
    }

    /// That of the HTTP request by which a request of MCP came; `None`: it came otherwise.
    pub(crate) fn of(request: &RequestExtensions) -> Option<Self> {
        request.get::<Parts>()?.extensions.get::<Self>().cloned()
    }

    /// Takes room for the answer.
    ///
    /// # Errors
    /// The one that is the answer then.
    pub(crate) fn answer<T: Serialize>(&self, answer: &T) -> Result<(), ErrorData> {
        match hold(&self.0.room, answer) {
            Ok(taken) => {
                self.0.answers.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
                Ok(())
            }
            Err(Full(bytes)) => {
                let what = format!(
                    "the answer has no room: answers that nobody has read yet have {bytes} bytes \
                     of memory together; read them, and ask again"
                );
                Err(fault(Fault::Busy, what))
            }
        }
    }

    /// Takes room for a notification; `false`: there is none, and it is to be dropped. Whoever says
    /// it waits until it is on its way, so that of those before only a few can be unread.
    pub(crate) fn notification<T: Serialize>(&self, said: &T) -> bool {
        let Ok(taken) = hold(&self.0.room, said) else {
            tracing::debug!("notification dropped: the client does not read");
            return false;
        };
        let mut all = self.0.notifications.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= NOTIFICATIONS {
            all.pop_front();
        }
        all.push_back(taken);
        true
    }
}

/// Of what is said to the clients of one token: 128 MiB of memory. An answer that has no room is an
/// error, a notification is dropped.
const OF_TOKEN: usize = 128 << 20;

/// Of what is said to all clients: 256 MiB, with the same policy.
const OF_ALL: usize = 256 << 20;

/// Notifications of one request that can be under way: those that wait in its stream, the one that
/// is being sent, and the one that waits for room behind them.
const NOTIFICATIONS: usize = 16 + 2;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_has_room_until_it_is_read() {
        let said = json!("x".repeat(2000));
        let each = weight(said.to_string().as_bytes());
        let room = Room::new(each * (NOTIFICATIONS + 1), None);
        let (one, other) = (Unread::new(room.clone()), Unread::new(room.clone()));
        for _ in 0..NOTIFICATIONS * 2 {
            assert!(other.notification(&said), "only the last ones take room");
        }
        one.answer(&said).expect("it fits");
        let refused = one.answer(&said).unwrap_err();
        assert_eq!(agentmq_sdk::mcp::fault_of(&refused), Some(Fault::Busy));
        assert!(!one.notification(&said));
        drop(other);
        one.answer(&said).expect("it fits");
        drop(one);
        assert_eq!(room.taken(), 0);
    }

    #[test]
    fn it_is_found_in_the_request() {
        let unread = Unread::new(of_one(&of_all()));
        let (mut parts, ()) = hyper::Request::new(()).into_parts();
        unread.put_into(&mut parts.extensions);
        let mut request = RequestExtensions::default();
        assert!(Unread::of(&request).is_none());
        request.insert(parts);
        let found = Unread::of(&request).expect("it is there");
        assert!(Arc::ptr_eq(&found.0, &unread.0));
    }
}
