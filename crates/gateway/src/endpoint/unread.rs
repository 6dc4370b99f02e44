//! What has been said to a client that comes by HTTP, and that it has not read yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use agentmq_sdk::mcp::{Fault, fault};
use agentmq_sdk::weight_of;
use hyper::http::Extensions;
use hyper::http::request::Parts;
use rmcp::model::{ErrorData, Extensions as RequestExtensions};
use serde::Serialize;

use crate::endpoint::lines::LINES;
use crate::room::{Full, Room, Taken};

/// Room for what is said. Notifications have one of their own: whoever says them was not asked, and
/// must not take that of answers.
#[derive(Debug, Clone)]
pub(crate) struct UnreadRoom {
    answers: Room,
    pub(crate) notices: Room,
}

impl UnreadRoom {
    /// That of all clients.
    pub(crate) fn of_all() -> Self {
        Self {
            answers: Room::of_parts(ANSWERS_OF_ALL, LINES, FEW_ANSWERS, None),
            notices: Room::of_parts(NOTICES_OF_ALL, LINES, FEW_NOTICES, None),
        }
    }

    /// That of those of one token.
    pub(crate) fn of_one(all: &Self) -> Self {
        Self {
            answers: Room::new(ANSWERS_OF_TOKEN, Some(all.answers.clone())),
            notices: Room::new(NOTICES_OF_TOKEN, Some(all.notices.clone())),
        }
    }
}

/// What one HTTP request says. It has its room until the last clone is dropped: when its client has
/// read all of it or has gone, and nobody works on it any more.
#[derive(Debug, Clone)]
pub(crate) struct Unread(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: UnreadRoom,
    answers: Mutex<Vec<Taken>>,
    /// The last ones: those before have left.
    notifications: Mutex<VecDeque<Taken>>,
}

impl Unread {
    pub(crate) fn new(room: UnreadRoom) -> Self {
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
        match self.0.room.answers.hold(weight_of(answer)) {
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
        let Ok(taken) = self.0.room.notices.hold(weight_of(said)) else {
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

/// Answers to the clients of one token: 128 MiB of memory. One that has no room is an error.
const ANSWERS_OF_TOKEN: usize = 128 << 20;

/// Answers to all clients: 384 MiB, with the same policy.
const ANSWERS_OF_ALL: usize = 384 << 20;

/// Answers of a token for which no other token can take the room: 128 KiB, or 128 MiB of all.
const FEW_ANSWERS: usize = 128 << 10;

/// Notifications to the clients of one token: 8 MiB. One that has no room is dropped.
const NOTICES_OF_TOKEN: usize = 8 << 20;

/// Notifications to all clients: 64 MiB, with the same policy.
const NOTICES_OF_ALL: usize = 64 << 20;

/// Notifications of a token for which no other token can take the room: 32 KiB, or 32 MiB of all.
const FEW_NOTICES: usize = 32 << 10;

/// Notifications of one request that can be under way: those that wait in its stream, the one that
/// is being sent, and the one that waits for room behind them.
const NOTIFICATIONS: usize = 16 + 2;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rooms(answers: usize, notices: usize) -> UnreadRoom {
        UnreadRoom { answers: Room::new(answers, None), notices: Room::new(notices, None) }
    }

    #[test]
    fn what_is_said_has_room_until_it_is_read() {
        let said = json!("x".repeat(2000));
        let each = weight_of(&said);
        let room = rooms(each, each * NOTIFICATIONS);
        let (one, other) = (Unread::new(room.clone()), Unread::new(room.clone()));
        for _ in 0..NOTIFICATIONS {
            assert!(other.notification(&said));
        }
        assert!(!one.notification(&said));
        one.answer(&said).expect("notifications take no room of answers");
        let refused = other.answer(&said).unwrap_err();
        assert_eq!(agentmq_sdk::mcp::fault_of(&refused), Some(Fault::Busy));
        drop(other);
        for _ in 0..NOTIFICATIONS * 2 {
            // One more than is kept is held for a moment.
            one.notification(&said);
        }
        assert!(room.notices.taken() <= each * NOTIFICATIONS, "only the last ones take room");
        drop(one);
        assert_eq!((room.answers.taken(), room.notices.taken()), (0, 0));
    }

    #[test]
    fn what_others_do_not_read_leaves_room_for_a_few_answers() {
        let all = UnreadRoom::of_all();
        let greedy: Vec<_> = (0..4).map(|_| UnreadRoom::of_one(&all)).collect();
        let held: Vec<_> =
            (0..512).filter_map(|n| greedy[n % 4].answers.hold(1 << 20).ok()).collect();
        assert_eq!(held.len(), 256);
        let other = Unread::new(UnreadRoom::of_one(&all));
        other.answer(&json!("x".repeat(60_000))).expect("it is small");
        other.answer(&json!("x".repeat(60_000))).expect("so are two");
        assert!(other.answer(&json!("x".repeat(60_000))).is_err());
    }

    #[test]
    fn it_is_found_in_the_request() {
        let unread = Unread::new(UnreadRoom::of_all());
        let (mut parts, ()) = hyper::Request::new(()).into_parts();
        unread.put_into(&mut parts.extensions);
        let mut request = RequestExtensions::default();
        assert!(Unread::of(&request).is_none());
        request.insert(parts);
        let found = Unread::of(&request).expect("it is there");
        assert!(Arc::ptr_eq(&found.0, &unread.0));
    }
}
