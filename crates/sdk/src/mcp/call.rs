//! One request to a server: its progress, its time limit, and taking it back.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agentmq_agents::mcp::NO_SERVER;
use rmcp::RoleClient;
use rmcp::model::{
    ClientRequest, ErrorData, GetExtensions as _, ProgressNotificationParam, RequestMetaObject,
    ServerResult,
};
use rmcp::service::{Peer, PeerRequestOptions, RequestHandle, ServiceError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fault::{Fault, fault, timed_out};
use super::progress::ProgressSink;
use super::{WAITING_PROGRESS, request_timeout};

/// A request to make.
#[derive(Debug)]
pub struct Call {
    /// The request.
    pub request: ClientRequest,
    /// Its `_meta`. A progress token in it is replaced by one of our own. What a request of the
    /// revision without sessions says of its sender goes to servers of that revision, and is left
    /// out for others: our sessions have said it.
    pub meta: RequestMetaObject,
    /// How long it may take; each progress notification starts the time anew. A server that has not
    /// got it by then does not get it any more.
    pub timeout: Duration,
    /// Whether to do it twice is to do it once: in a session without a handshake it goes to another
    /// instance when the one that has it goes away.
    pub repeatable: bool,
}

/// How long somebody waits for what comes of a request. It travels in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub(crate) time: Duration,
    /// Who waits, if that is known.
    caller: Option<Weak<()>>,
}

impl Limit {
    /// Nobody knows who waits.
    pub(crate) fn new(time: Duration) -> Self {
        Self { time, caller: None }
    }

    /// Whether who waited has given it up. Until its session ends, `rmcp` holds what sends a
    /// request: nothing else tells.
    pub(crate) fn is_given_up(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.strong_count() == 0)
    }
}

/// That a request may be done twice. Travels like that, too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeatable;

impl Call {
    /// A request with the time limit of its method.
    #[must_use]
    pub fn new(request: ClientRequest) -> Self {
        let timeout = request_timeout(request.method());
        Self { request, meta: RequestMetaObject::new(), timeout, repeatable: false }
    }
}

/// Makes a request and waits for the answer. Progress goes to `progress`, if given, in order and
/// before this returns; it needs a peer over [`super::InOrder`]. When `taken_back` is ready first,
/// or the time is over, the server is told and the call ends with an error.
pub async fn call<P, F>(
    peer: &Peer<RoleClient>,
    call: Call,
    mut progress: Option<P>,
    taken_back: impl Future<Output = ()>,
) -> Result<ServerResult, ErrorData>
where
    P: FnMut(ProgressNotificationParam) -> F,
    F: Future<Output = ()>,
{
    let Call { mut request, mut meta, timeout, repeatable } = call;
    let is_stateless = peer.peer_info().is_some_and(|it| !it.protocol_version.has_initialize());
    meta.retain(|key, _| match key.strip_prefix("io.modelcontextprotocol/") {
        // Whose revision it is, is between us and the server.
        Some(word) => is_stateless && word != "protocolVersion",
        None => true,
    });
    let method = request.method().to_owned();
    // While this lives, somebody waits: what has not been sent by then is not sent any more.
    let caller = Arc::new(());
    let (sink, mut reports) = mpsc::channel(WAITING_PROGRESS);
    request.extensions_mut().insert(ProgressSink(progress.is_some().then_some(sink)));
    request.extensions_mut().insert(Limit { time: timeout, caller: Some(Arc::downgrade(&caller)) });
    if repeatable {
        request.extensions_mut().insert(Repeatable);
    }
    let options = PeerRequestOptions::no_options().with_meta(meta);
    let sent = peer.send_cancellable_request(request, options).await;
    let mut handle = sent.map_err(|error| explain(error, &method))?;
    let mut deadline = Instant::now() + timeout;
    tokio::pin!(taken_back);
    let end = loop {
        tokio::select! {
            biased;
            Some(report) = reports.recv() => {
                deadline = Instant::now() + timeout;
                if let Some(progress) = &mut progress {
                    progress(report).await;
                }
            }
            answer = &mut handle.rx => {
                while let (Some(progress), Ok(report)) = (&mut progress, reports.try_recv()) {
                    progress(report).await;
                }
                let answer = answer.map_err(|_| ServiceError::TransportClosed);
                return answer.flatten().map_err(|error| explain(error, &method));
            }
            () = &mut taken_back => break fault(Fault::Cancelled, "the request was taken back"),
            () = tokio::time::sleep_until(deadline) => break timed_out(&method, timeout),
        }
    };
    give_up(handle, end.message.to_string());
    Err(end)
}

/// Tells the server, without waiting for it.
fn give_up(handle: RequestHandle<RoleClient>, reason: String) {
    tokio::spawn(async move {
        let _ = handle.cancel(Some(reason)).await;
    });
}

/// What the server says is passed on as it is; what happened on the way has a name.
fn explain(error: ServiceError, method: &str) -> ErrorData {
    match error {
        // The word of a broker, or of a gateway, in the server's place.
        ServiceError::McpError(error) if error.code.0 == NO_SERVER && error.data.is_none() => {
            fault(Fault::Gone, error.message)
        }
        ServiceError::McpError(error) => error,
        ServiceError::TransportClosed => {
            fault(Fault::Gone, format!("the server went away before it answered {method}"))
        }
        ServiceError::TransportSend(error) => {
            // Another transport than the bus is a server's own: it broke off.
            let ours = error.error.downcast_ref::<super::Error>();
            fault(ours.map_or(Fault::Gone, kind), error.to_string())
        }
        ServiceError::Cancelled { .. } => fault(Fault::Cancelled, error.to_string()),
        other => ErrorData::internal_error(other.to_string(), None),
    }
}

/// What a request comes to that could not be sent.
pub(crate) fn fault_for(error: &super::Error) -> ErrorData {
    fault(kind(error), error.to_string())
}

fn kind(error: &super::Error) -> Fault {
    match error {
        super::Error::NobodyReads { .. } | super::Error::SessionLost => Fault::Gone,
        super::Error::Mqtt(cause)
            if matches!(cause.cause(), agentmq_client::Error::TooLarge { .. }) =>
        {
            Fault::TooLarge
        }
        _ => Fault::Unreachable,
    }
}
