//! The sessions of one token, by their names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_client::random_token;
use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::{
    ServerSseMessage, SessionId, SessionManager,
};

use crate::endpoint::session::{Over, Session, SessionTransport};

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<SessionId, Arc<Session>>>);

impl Sessions {
    /// The name of a session, if it is one of these.
    pub(crate) fn name(&self, id: &str) -> Option<SessionId> {
        self.lock().get_key_value(id).map(|(id, _)| id.clone())
    }

    pub(crate) fn names(&self) -> Vec<SessionId> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str) {
        self.lock().remove(id);
    }

    fn get(&self, id: &SessionId) -> Result<Arc<Session>, Over> {
        self.lock().get(id).cloned().ok_or(Over)
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionManager for Sessions {
    type Error = Over;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(SessionId, SessionTransport), Over> {
        let (session, transport) = Session::new();
        let id: SessionId = random_token().into();
        self.lock().insert(id.clone(), Arc::new(session));
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Over> {
        self.get(id)?.ask(message).await?.first().await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Over> {
        Ok(self.name(id).is_some())
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Over> {
        self.end(id);
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Over> {
        self.get(id)?.ask(message).await
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Over> {
        self.get(id)?.say(message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Over> {
        Ok(self.get(id)?.listen())
    }

    /// Nothing is sent twice: our events have no names to begin behind.
    async fn resume(
        &self,
        id: &SessionId,
        _: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Over> {
        Ok(self.get(id)?.listen())
    }
}
