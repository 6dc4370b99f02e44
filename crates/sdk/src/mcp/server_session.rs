//! The server's side of one session.

use std::sync::Arc;

use agentmq_agents::mcp::{client_capability, client_presence};
use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, RequestId};
use rmcp::service::{Service, serve_server};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Instance;
use super::inbox::{Inbox, inbox};
use super::link::Link;
use super::subscriptions::theirs;
use super::transport::MqttTransport;
use super::wire::Arrived;

/// Whom a session is with.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Arc<str>,
    instance: Instance,
    gone: CancellationToken,
}

impl Caller {
    pub(crate) fn new(client: Arc<str>, instance: &Instance) -> Self {
        Self { client, instance: instance.clone(), gone: CancellationToken::new() }
    }

    /// The client's MQTT client identifier.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The server instance that it talks to.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Cancelled when the session is over: nobody waits for answers any more.
    #[must_use]
    pub fn gone(&self) -> &CancellationToken {
        &self.gone
    }
}

/// What the acceptor knows of a session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    inbox: Option<Inbox>,
    gone: CancellationToken,
}

/// A session is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) client: Arc<str>,
    pub(crate) number: u64,
}

impl Entry {
    /// Where its messages go, while it is not ending.
    pub(crate) fn inbox(&self) -> Option<&Inbox> {
        self.inbox.as_ref()
    }

    /// Ends it by our wish: what is under way is answered, then the client is told.
    pub(crate) fn end(&mut self) {
        self.inbox = None;
    }

    /// Ends it because there is nobody at the other side.
    pub(crate) fn peer_is_gone(&mut self) {
        // In this order: what ends by the token would be answered otherwise.
        if let Some(inbox) = self.inbox.take() {
            inbox.gone();
        }
        self.gone.cancel();
    }
}

/// Starts the task of a session, which begins with this request.
pub(crate) fn start<S: Service<RoleServer>>(
    link: &Link,
    instance: &Instance,
    caller: Caller,
    (number, id, initialize): (u64, RequestId, Arrived),
    service: S,
    ended: mpsc::Sender<Ended>,
) -> Entry {
    let (inbox, outlet) = inbox();
    let _ = inbox.put(initialize);
    let entry = Entry { number, inbox: Some(inbox), gone: caller.gone.clone() };
    let rpc = instance.rpc(&caller.client);
    let transport =
        MqttTransport::<RoleServer>::new(link.clone(), outlet, &rpc, None, caller.gone.clone());
    let link = link.clone();
    let topics =
        [theirs(client_presence(&caller.client)), theirs(client_capability(&caller.client))];
    tokio::spawn(async move {
        // Before the answer: the client says `initialized` on its heels.
        match link.subscriptions.add(&topics).await {
            Ok(()) => {
                match serve_server(service, transport).await {
                    Ok(running) => drop(running.waiting().await),
                    Err(error) => tracing::debug!(client = &*caller.client, %error, "no session"),
                }
                caller.gone.cancel();
                link.subscriptions.remove(&topics).await;
            }
            Err(error) => {
                tracing::warn!(client = &*caller.client, %error, "no session");
                let what = "Failed to subscribe to client topics";
                let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, what, None);
                link.answer_error(&rpc, id, error);
                caller.gone.cancel();
            }
        }
        let _ = ended.send(Ended { client: caller.client, number }).await;
    });
    entry
}

/// Starts the task of a client that asks without a handshake; this is its first request. Nothing is
/// subscribed before the answer.
pub(crate) fn start_stateless<S: Service<RoleServer>>(
    link: &Link,
    caller: Caller,
    (number, request): (u64, Arrived),
    service: S,
    ended: mpsc::Sender<Ended>,
) -> Entry {
    let (inbox, outlet) = inbox();
    let _ = inbox.put(request);
    let entry = Entry { number, inbox: Some(inbox), gone: caller.gone.clone() };
    let rpc = caller.instance.rpc(&caller.client);
    let (link, gone) = (link.clone(), caller.gone.clone());
    let transport = MqttTransport::<RoleServer>::stateless(link.clone(), outlet, &rpc, gone);
    tokio::spawn(async move {
        // Its end ends what it has asked for.
        let topics = [theirs(client_presence(&caller.client))];
        let work = async {
            match serve_server(service, transport).await {
                Ok(running) => drop(running.waiting().await),
                Err(error) => tracing::debug!(client = &*caller.client, %error, "no more requests"),
            }
        };
        let ((), watched) = tokio::join!(work, link.subscriptions.add(&topics));
        caller.gone.cancel();
        match watched {
            Ok(()) => link.subscriptions.remove(&topics).await,
            Err(error) => tracing::debug!(client = &*caller.client, %error, "its end is not seen"),
        }
        let _ = ended.send(Ended { client: caller.client, number }).await;
    });
    entry
}
