//! The sessions of one token, by their names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_client::random_token;
use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::{
    ServerSseMessage, SessionId, SessionManager,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::endpoint::session::{Over, Session, SessionTransport};
use crate::room::Room;

/// All of them.
#[derive(Debug)]
pub(crate) struct Sessions {
    table: Mutex<HashMap<SessionId, Placed>>,
    places: Arc<Semaphore>,
    /// For notifications that their clients have not read.
    notices: Room,
}

/// A session, and its place among those of all tokens.
#[derive(Debug)]
struct Placed {
    session: Arc<Session>,
    _place: OwnedSemaphorePermit,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSession {
    #[error("this token has {SESSIONS_OF_ONE} sessions: end some (DELETE)")]
    TooManyOfToken,
    #[error("there are {SESSIONS} sessions: try again later")]
    TooMany,
    #[error(transparent)]
    Over(#[from] Over),
}

impl Sessions {
    /// None yet, which take their places from among these.
    pub(crate) fn new(places: Arc<Semaphore>, notices: Room) -> Self {
        Self { table: Mutex::default(), places, notices }
    }

    /// The name of a session, if it is one of these.
    pub(crate) fn name(&self, id: &str) -> Option<SessionId> {
        self.lock().get_key_value(id).map(|(id, _)| id.clone())
    }

    pub(crate) fn names(&self) -> Vec<SessionId> {
        self.lock().keys().cloned().collect()
    }

    /// Why there is no room for another one; `None` when there is some.
    pub(crate) fn full(&self) -> Option<String> {
        let why = if self.lock().len() >= SESSIONS_OF_ONE {
            NoSession::TooManyOfToken
        } else if self.places.available_permits() == 0 {
            NoSession::TooMany
        } else {
            return None;
        };
        Some(why.to_string())
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str) {
        self.lock().remove(id);
    }

    fn get(&self, id: &SessionId) -> Result<Arc<Session>, Over> {
        self.lock().get(id).map(|it| it.session.clone()).ok_or(Over)
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Placed>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places for the sessions of all tokens.
pub(crate) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SESSIONS))
}

impl SessionManager for Sessions {
    type Error = NoSession;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(SessionId, SessionTransport), NoSession> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| NoSession::TooMany)?;
        let (session, transport) = Session::new(self.notices.clone());
        let id: SessionId = random_token().into();
        let mut table = self.lock();
        if table.len() >= SESSIONS_OF_ONE {
            return Err(NoSession::TooManyOfToken);
        }
        table.insert(id.clone(), Placed { session: session.into(), _place: place });
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, NoSession> {
        Ok(self.get(id)?.ask(message).await?.first().await?)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, NoSession> {
        Ok(self.name(id).is_some())
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), NoSession> {
        self.end(id);
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        Ok(self.get(id)?.ask(message).await?)
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), NoSession> {
        Ok(self.get(id)?.say(message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        Ok(self.get(id)?.listen())
    }

    /// Nothing is sent twice: our events have no names to begin behind.
    async fn resume(
        &self,
        id: &SessionId,
        _: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        Ok(self.get(id)?.listen())
    }
}

/// Sessions in all. A further one is refused.
const SESSIONS: usize = 4096;
/// Sessions of one token, with the same policy.
const SESSIONS_OF_ONE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_bounds_hold_where_sessions_begin() {
        let places = Arc::new(Semaphore::new(SESSIONS_OF_ONE + 1));
        let sessions = || Sessions::new(places.clone(), Room::new(0, None));
        let (one, other) = (sessions(), sessions());
        let mut first = None;
        for _ in 0..SESSIONS_OF_ONE {
            assert_eq!(one.full(), None);
            first = Some(one.create_session().await.unwrap().0);
        }
        assert!(one.full().unwrap().contains("this token"));
        assert!(matches!(one.create_session().await, Err(NoSession::TooManyOfToken)));
        other.create_session().await.unwrap();
        assert!(other.full().unwrap().contains("there are"));
        assert!(matches!(other.create_session().await, Err(NoSession::TooMany)));
        one.end(&first.unwrap());
        assert!(one.create_session().await.is_ok(), "a place is free again");
        drop((one, other));
        assert_eq!(places.available_permits(), SESSIONS_OF_ONE + 1);
    }
}
