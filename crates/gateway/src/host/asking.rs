//! Asking a server on the bus what a host asks: by the session there is, and if that goes away by
//! another one where that does no harm.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agentmq_sdk::mcp::{Call, Fault, Session, call, fault, fault_of};
use rmcp::RoleServer;
use rmcp::model::{
    ClientRequest, ErrorData, ProgressNotificationParam, RequestMetaObject, ServerResult,
    TASKS_EXTENSION_ID,
};
use rmcp::service::RequestContext;
use serde::Serialize;

use super::{Host, unreachable};
use crate::endpoint::unread::Unread;

impl Host {
    /// The session with a server, which may be between two instances.
    pub(super) async fn session(&self, server: &str) -> Result<Arc<Session>, ErrorData> {
        let mut state = self.catalogue.watch();
        let waiting = async {
            loop {
                let connected = state.borrow_and_update().connected;
                match self.catalogue.session(server) {
                    Some(Some(session)) if !session.over().is_cancelled() => return Ok(session),
                    None => {
                        let what = format!("the MCP server {server:?} is not online");
                        return Err(fault(Fault::Offline, what));
                    }
                    Some(_) if !connected => return Err(unreachable()),
                    Some(_) => {}
                }
                if state.changed().await.is_err() {
                    return Err(unreachable());
                }
            }
        };
        match tokio::time::timeout(NEXT_INSTANCE, waiting).await {
            Ok(session) => session,
            Err(_) => {
                let what = format!("no instance of the MCP server {server:?} takes a session");
                Err(fault(Fault::Offline, what))
            }
        }
    }

    /// Asks a server, and if it goes away meanwhile another instance, where it does no harm that
    /// both may have done it: only the server itself can say so of its tools.
    pub(super) async fn ask_again(
        &self,
        server: &str,
        request: ClientRequest,
        context: &RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let session = self.session(server).await?;
        let mut again = Call::new(request.clone());
        again.repeatable = true;
        let answer = self.ask_in(&session, again, context).await;
        let gone = answer.as_ref().err().and_then(fault_of) == Some(Fault::Gone);
        if !gone || context.ct.is_cancelled() {
            return answer;
        }
        // What has failed is known a moment before the session is.
        let _ = tokio::time::timeout(NEXT_INSTANCE, session.over().cancelled()).await;
        self.ask(server, request, context).await
    }

    pub(super) async fn ask(
        &self,
        server: &str,
        request: ClientRequest,
        context: &RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let session = self.session(server).await?;
        self.ask_in(&session, Call::new(request), context).await
    }

    async fn ask_in(
        &self,
        session: &Session,
        mut request: Call,
        context: &RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        request.meta.clone_from(&context.meta);
        without_tasks(&mut request.meta);
        let taken_back = context.ct.cancelled();
        let answer = call(session.peer(), request, progress_to(context), taken_back).await;
        match &answer {
            Ok(result) => take_room(context, result)?,
            Err(error) => take_room(context, error)?,
        }
        answer
    }
}

/// Takes room for an answer, where those that the host has not read yet are bounded.
pub(super) fn take_room<T: Serialize>(
    context: &RequestContext<RoleServer>,
    answer: &T,
) -> Result<(), ErrorData> {
    Unread::of(&context.extensions).map_or(Ok(()), |unread| unread.answer(answer))
}

/// Where a host wants to hear how far its request is, if it does.
pub(super) fn progress_to(
    context: &RequestContext<RoleServer>,
) -> Option<impl FnMut(ProgressNotificationParam) -> Told> {
    let token = context.meta.get_progress_token()?;
    let (peer, unread) = (context.peer.clone(), Unread::of(&context.extensions));
    Some(move |mut report: ProgressNotificationParam| -> Told {
        report.progress_token = token.clone();
        let has_room = unread.as_ref().is_none_or(|unread| unread.notification(&report));
        let peer = peer.clone();
        Box::pin(async move {
            if has_room {
                let _ = peer.notify_progress(report).await;
            }
        })
    })
}

pub(super) type Told = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task is asked for by its identifier alone, which does not say which server has it: no server
/// is to make one.
fn without_tasks(meta: &mut RequestMetaObject) {
    if let Some(mut abilities) = meta.client_capabilities()
        && abilities.supports_tasks()
    {
        if let Some(extensions) = &mut abilities.extensions {
            extensions.remove(TASKS_EXTENSION_ID);
        }
        meta.set_client_capabilities(abilities);
    }
}

/// How long a call waits for a session with another instance.
const NEXT_INSTANCE: Duration = Duration::from_secs(10);
