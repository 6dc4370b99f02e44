//! A session on the bus, whose requests go to the program.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use agentmq_sdk::mcp::{Call, Caller, Fault, fault};
use rmcp::RoleServer;
use rmcp::model::{
    ClientNotification, ClientRequest, ErrorCode, ErrorData, InitializeResult,
    ProgressNotification, ProgressNotificationParam, ProtocolVersion, ServerNotification,
    ServerResult,
};
use rmcp::service::{NotificationContext, Peer, RequestContext, Service};

use crate::child::Child;
use crate::resource_subscriptions::{ResourceSubscriptions, unsubscribe};

/// What the sessions of a server share: the program, while it runs, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    child: RwLock<Option<Arc<Child>>>,
    /// Clients with requests under way. Bounded by the sessions.
    callers: Mutex<HashMap<Arc<str>, Busy>>,
    /// Held while the program is told, so that it and the table agree.
    subscriptions: tokio::sync::Mutex<ResourceSubscriptions>,
}

impl Shared {
    pub(crate) fn child(&self) -> Option<Arc<Child>> {
        self.child.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The program runs, or it does not. It knows nothing of what its predecessor was told.
    pub(crate) async fn set_child(&self, child: Option<Arc<Child>>) {
        *self.subscriptions.lock().await = ResourceSubscriptions::default();
        *self.child.write().unwrap_or_else(PoisonError::into_inner) = child;
    }

    /// Who may hear a message that the program gives no address: the one client with requests under
    /// way. With more than one it could be about the other's request, so nobody hears it.
    pub(crate) fn only_caller(&self) -> Option<Peer<RoleServer>> {
        let callers = lock(&self.callers);
        let mut all = callers.values();
        all.next().filter(|_| callers.len() == 1).map(|busy| busy.peer.clone())
    }

    fn calling(self: &Arc<Self>, client: Arc<str>, peer: &Peer<RoleServer>) -> Calling {
        let begin = || Busy { peer: peer.clone(), requests: 0 };
        lock(&self.callers).entry(client.clone()).or_insert_with(begin).requests += 1;
        Calling { shared: self.clone(), client }
    }

    async fn subscribe(
        &self,
        child: &Child,
        client: &Arc<str>,
        uri: &str,
        request: Call,
    ) -> Result<ServerResult, ErrorData> {
        let mut table = self.subscriptions.lock().await;
        if !table.has_room() {
            return Err(fault(Fault::Busy, "too many subscriptions of resources"));
        }
        if !table.has(uri) {
            child.request(request, NO_PROGRESS, std::future::pending()).await?;
        }
        table.add(uri, client);
        Ok(ServerResult::empty(()))
    }

    async fn unsubscribe(&self, child: &Child, client: &str, uri: &str) -> Result<(), ErrorData> {
        let mut table = self.subscriptions.lock().await;
        if table.remove(uri, client) {
            child.request(unsubscribe(uri), NO_PROGRESS, std::future::pending()).await?;
        }
        Ok(())
    }

    async fn forget(&self, client: &str) {
        let left = self.subscriptions.lock().await.remove_client(client);
        for uri in left {
            if let Some(child) = self.child() {
                // It may be gone itself.
                let _ = child.request(unsubscribe(&uri), NO_PROGRESS, std::future::pending()).await;
            }
        }
    }
}

/// A client with requests under way, and how many.
#[derive(Debug)]
struct Busy {
    peer: Peer<RoleServer>,
    requests: usize,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Forward {
    shared: Arc<Shared>,
    caller: Caller,
}

impl Forward {
    pub(crate) fn new(shared: &Arc<Shared>, caller: Caller) -> Self {
        let (at_end, who) = (shared.clone(), caller.clone());
        tokio::spawn(async move {
            who.gone().cancelled().await;
            at_end.forget(who.client()).await;
        });
        Self { shared: shared.clone(), caller }
    }

    async fn pass(
        &self,
        child: &Child,
        request: Call,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let client: Arc<str> = self.caller.client().into();
        let _calling = self.shared.calling(client, &context.peer);
        let taken_back = async {
            tokio::select! {
                () = context.ct.cancelled() => {}
                () = self.caller.gone().cancelled() => {}
            }
        };
        let peer = &context.peer;
        let progress = context.meta.get_progress_token().map(|token| {
            move |mut report: ProgressNotificationParam| {
                report.progress_token = token.clone();
                async move {
                    let report = ProgressNotification::new(report);
                    let _ = peer.send_notification(report.into()).await;
                }
            }
        });
        child.request(request, progress, taken_back).await
    }
}

impl Service<RoleServer> for Forward {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let Some(child) = self.shared.child() else {
            return Err(fault(Fault::Offline, "the server's program is not running now"));
        };
        match &request {
            ClientRequest::InitializeRequest(_) => {
                return Ok(ServerResult::InitializeResult(child.info().clone()));
            }
            ClientRequest::PingRequest(_) => return Ok(ServerResult::empty(())),
            ClientRequest::DiscoverRequest(_) | ClientRequest::SubscriptionsListenRequest(_) => {
                let what = request.method().to_owned();
                return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, what, None));
            }
            _ => {}
        }
        let mut call = Call::new(request);
        call.meta.clone_from(&context.meta);
        let client: Arc<str> = self.caller.client().into();
        match &call.request {
            ClientRequest::SubscribeRequest(subscribe) => {
                let uri = subscribe.params.uri.clone();
                self.shared.subscribe(&child, &client, &uri, call).await
            }
            ClientRequest::UnsubscribeRequest(unsubscribe) => {
                let uri = unsubscribe.params.uri.clone();
                self.shared.unsubscribe(&child, &client, &uri).await?;
                Ok(ServerResult::empty(()))
            }
            _ => self.pass(&child, call, context).await,
        }
    }

    /// The program was told `initialized` once; it has asked for nothing else that a client tells.
    async fn handle_notification(
        &self,
        _: ClientNotification,
        _: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn get_info(&self) -> InitializeResult {
        self.shared.child().map(|child| child.info().clone()).unwrap_or_default()
    }

    /// No session speaks a newer revision than the program.
    fn supported_protocol_versions(&self) -> std::borrow::Cow<'static, [ProtocolVersion]> {
        let newest = self.get_info().protocol_version;
        let known = ProtocolVersion::KNOWN_VERSIONS.iter();
        known.filter(|it| it.as_str() <= newest.as_str()).cloned().collect::<Vec<_>>().into()
    }
}

/// A request under way.
#[derive(Debug)]
struct Calling {
    shared: Arc<Shared>,
    client: Arc<str>,
}

impl Drop for Calling {
    fn drop(&mut self) {
        let mut callers = lock(&self.shared.callers);
        if let Some(busy) = callers.get_mut(&self.client) {
            busy.requests -= 1;
            if busy.requests == 0 {
                callers.remove(&self.client);
            }
        }
    }
}

/// Tells a client what the program said to all of its clients, or to the one it thinks it has.
pub(crate) enum Audience {
    /// A list or a resource has changed: everybody's business.
    Everybody(ServerNotification),
    /// About a request, which the program does not name.
    Caller(ServerNotification),
    /// Nobody has a use for it.
    Nobody,
}

impl Audience {
    pub(crate) fn of(notification: ServerNotification) -> Self {
        match notification {
            ServerNotification::ToolListChangedNotification(_)
            | ServerNotification::ResourceListChangedNotification(_)
            | ServerNotification::PromptListChangedNotification(_)
            | ServerNotification::ResourceUpdatedNotification(_) => Self::Everybody(notification),
            ServerNotification::LoggingMessageNotification(_)
            | ServerNotification::CustomNotification(_) => Self::Caller(notification),
            _ => Self::Nobody,
        }
    }
}

type Ignore = fn(ProgressNotificationParam) -> std::future::Ready<()>;

/// Nobody wants to know how far it is.
const NO_PROGRESS: Option<Ignore> = None;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
