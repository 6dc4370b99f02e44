//! A session on the bus, whose requests go to the program.

#![expect(deprecated, reason = "clients with sessions set how much is logged")]
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use agentmq_sdk::mcp::{Call, Caller, Fault, fault};
use futures_util::{StreamExt as _, stream};
use rmcp::RoleServer;
use rmcp::model::{
    ClientNotification, ClientRequest, DiscoverResult, ErrorCode, ErrorData, InitializeResult,
    LoggingLevel, ProgressNotification, ProgressNotificationParam, ProtocolVersion,
    ServerNotification, ServerResult,
};
use rmcp::service::{NotificationContext, Peer, RequestContext, Service};
use tokio::sync::watch;

use crate::agent_side::{Offer, Offering};
use crate::backend::Backend;
use crate::bus_listeners::{BusListeners, Listener};
use crate::listening::Wanted;
use crate::resource_subscriptions::{ResourceSubscriptions, unsubscribe};

/// What the sessions of a server share: the program, while it runs, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    backend: RwLock<Option<Arc<Backend>>>,
    /// The same for clients of MQTT.Agent.
    offering: watch::Sender<Option<Arc<dyn Offer>>>,
    /// Clients with requests under way. Bounded by the sessions.
    callers: Mutex<HashMap<Arc<str>, Busy>>,
    /// Held while the program is told, so that it and the table agree.
    subscriptions: tokio::sync::Mutex<ResourceSubscriptions>,
    /// The same for a program of the revision without sessions, which is listened to.
    wanted: watch::Sender<Wanted>,
    /// Who listens to us in that revision.
    pub(crate) listeners: BusListeners,
}

impl Shared {
    pub(crate) fn backend(&self) -> Option<Arc<Backend>> {
        self.backend.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The program runs, or it does not. It knows nothing of what its predecessor was told.
    pub(crate) async fn set_backend(&self, backend: Option<Arc<Backend>>) {
        *self.subscriptions.lock().await = ResourceSubscriptions::default();
        self.wanted.send_replace(Wanted::new());
        let offer = backend.clone().map(|backend| backend as Arc<dyn Offer>);
        self.offering.send_replace(offer);
        *self.backend.write().unwrap_or_else(PoisonError::into_inner) = backend;
    }

    /// The resources that a program is to tell of which is listened to.
    pub(crate) fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// The program's tools, whichever process it is.
    pub(crate) fn offering(&self) -> Offering {
        self.offering.subscribe()
    }

    /// The program's list of tools is another one.
    pub(crate) fn tools_changed(&self) {
        self.offering.send_modify(|_| {});
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

    pub(crate) async fn subscribe(
        &self,
        backend: &Backend,
        client: &Arc<str>,
        uri: &str,
        request: Call,
    ) -> Result<ServerResult, ErrorData> {
        let mut table = self.subscriptions.lock().await;
        if !table.has_room() {
            return Err(fault(Fault::Busy, "too many subscriptions of resources"));
        }
        if !table.has(uri) && !backend.is_stateless() {
            backend.request(request, NO_PROGRESS, std::future::pending()).await?;
        }
        table.add(uri, client);
        self.want(backend, &table);
        Ok(ServerResult::empty(()))
    }

    async fn unsubscribe(
        &self,
        backend: &Backend,
        client: &str,
        uri: &str,
    ) -> Result<(), ErrorData> {
        let mut table = self.subscriptions.lock().await;
        let was_last = table.remove(uri, client);
        self.want(backend, &table);
        if was_last && !backend.is_stateless() {
            backend.request(unsubscribe(uri), NO_PROGRESS, std::future::pending()).await?;
        }
        Ok(())
    }

    /// Whom a program of the revision without sessions tells what, it is told as a whole.
    fn want(&self, backend: &Backend, table: &ResourceSubscriptions) {
        if backend.is_stateless() {
            let uris: Wanted = table.uris().cloned().collect();
            self.wanted.send_if_modified(|wanted| {
                let changed = *wanted != uris;
                *wanted = uris;
                changed
            });
        }
    }

    pub(crate) async fn forget(&self, client: &str) {
        let mut table = self.subscriptions.lock().await;
        let left = table.remove_client(client);
        let Some(backend) = self.backend() else { return };
        self.want(&backend, &table);
        if backend.is_stateless() {
            return;
        }
        // The table stays locked: who subscribes meanwhile does so after this.
        let backend = &backend;
        let unsubscribing = stream::iter(left).for_each_concurrent(AT_ONCE, async |uri| {
            // It may be gone itself.
            let _ = backend.request(unsubscribe(&uri), NO_PROGRESS, std::future::pending()).await;
        });
        unsubscribing.await;
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
    /// What a client with a session wants to be logged: a program without sessions is told with
    /// each request.
    level: Mutex<Option<LoggingLevel>>,
}

impl Forward {
    pub(crate) fn new(shared: &Arc<Shared>, caller: Caller) -> Self {
        let (at_end, who) = (shared.clone(), caller.clone());
        tokio::spawn(async move {
            who.gone().cancelled().await;
            at_end.forget(who.client()).await;
        });
        Self { shared: shared.clone(), caller, level: Mutex::default() }
    }

    async fn pass(
        &self,
        backend: &Backend,
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
        backend.request(request, progress, taken_back).await
    }
}

impl Forward {
    /// A request that says itself who sends it: as it is, to a program of that revision.
    async fn handle_stateless(
        &self,
        backend: &Arc<Backend>,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let versions = backend.versions();
        let asked = context.meta.protocol_version();
        if let Some(asked) = asked.filter(|version| !versions.contains(version)) {
            return Err(ErrorData::unsupported_protocol_version(asked, &versions));
        }
        let missing = context.meta.missing_required_keys(&ProtocolVersion::NO_INITIALIZE);
        if !missing.is_empty() {
            let what = format!("the request's _meta has no {}", missing.join(", "));
            return Err(ErrorData::invalid_params(what, None));
        }
        match request {
            ClientRequest::DiscoverRequest(_) => {
                let info = backend.info().clone();
                Ok(ServerResult::DiscoverResult(DiscoverResult::from_server_info(versions, info)))
            }
            ClientRequest::SubscriptionsListenRequest(_) => {
                let (shared, backend) = (self.shared.clone(), backend.clone());
                let listener = Listener { shared, backend, caller: self.caller.clone() };
                listener.handle_request(request, context).await
            }
            ClientRequest::InitializeRequest(_)
            | ClientRequest::PingRequest(_)
            | ClientRequest::SubscribeRequest(_)
            | ClientRequest::UnsubscribeRequest(_)
            | ClientRequest::SetLevelRequest(_) => Err(not_found(&request)),
            _ => {
                let mut call = Call::new(request);
                call.meta.clone_from(&context.meta);
                self.pass(backend, call, context).await
            }
        }
    }
}

fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.meta.protocol_version().is_some_and(|version| !version.has_initialize())
}

fn not_found(request: &ClientRequest) -> ErrorData {
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method().to_owned(), None)
}

impl Service<RoleServer> for Forward {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let Some(backend) = self.shared.backend() else {
            return Err(fault(Fault::Offline, "the server is not there now"));
        };
        if is_stateless(&context) {
            return self.handle_stateless(&backend, request, context).await;
        }
        match &request {
            ClientRequest::InitializeRequest(_) => {
                return Ok(ServerResult::InitializeResult(backend.info().clone()));
            }
            ClientRequest::PingRequest(_) => return Ok(ServerResult::empty(())),
            ClientRequest::DiscoverRequest(_) | ClientRequest::SubscriptionsListenRequest(_) => {
                return Err(not_found(&request));
            }
            ClientRequest::SetLevelRequest(set) if backend.is_stateless() => {
                *lock(&self.level) = Some(set.params.level);
                return Ok(ServerResult::empty(()));
            }
            _ => {}
        }
        let mut call = Call::new(request);
        call.meta.clone_from(&context.meta);
        if let Some(level) = *lock(&self.level) {
            call.meta.set_log_level(level);
        }
        let client: Arc<str> = self.caller.client().into();
        match &call.request {
            ClientRequest::SubscribeRequest(subscribe) => {
                let uri = subscribe.params.uri.clone();
                self.shared.subscribe(&backend, &client, &uri, call).await
            }
            ClientRequest::UnsubscribeRequest(unsubscribe) => {
                let uri = unsubscribe.params.uri.clone();
                self.shared.unsubscribe(&backend, &client, &uri).await?;
                Ok(ServerResult::empty(()))
            }
            _ => {
                let mut result = self.pass(&backend, call, context).await?;
                if matches!(result, ServerResult::InputRequiredResult(_)) {
                    let what = "the program asks what clients of this revision cannot answer";
                    return Err(ErrorData::invalid_request(what, None));
                }
                if backend.is_stateless() {
                    result.strip_result_type_for_legacy_peer();
                    result.strip_non_object_output_for_legacy_peer();
                }
                Ok(result)
            }
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
        self.shared.backend().map(|backend| backend.info().clone()).unwrap_or_default()
    }

    /// Nobody speaks a newer revision with us than the program.
    fn supported_protocol_versions(&self) -> std::borrow::Cow<'static, [ProtocolVersion]> {
        self.shared.backend().map(|backend| backend.versions()).unwrap_or_default().into()
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

/// Resources that a program is told at once that nobody wants to know of any more.
const AT_ONCE: usize = 16;

type Ignore = fn(ProgressNotificationParam) -> std::future::Ready<()>;

/// Nobody wants to know how far it is.
const NO_PROGRESS: Option<Ignore> = None;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
