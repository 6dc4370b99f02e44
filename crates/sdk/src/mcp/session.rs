//! The client's side of one session.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use rmcp::RoleClient;
use rmcp::service::{Peer, RunningService, Service, serve_client_with_ct};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::bus::{Shared, lock};
use super::identifier::dice;
use super::inbox::{Inbox, inbox};
use super::outbox::Until;
use super::progress::InOrder;
use super::subscriptions::{shared_with_us, theirs};
use super::transport::MqttTransport;
use super::wire::disconnected;
use super::{Error, INITIALIZE_TIMEOUT, Instance};

/// A session with a server. Dropping it ends it: the server is told.
pub struct Session {
    instance: Instance,
    peer: Peer<RoleClient>,
    over: CancellationToken,
    _end: DropGuard,
}

/// Where the messages for a session are given.
#[derive(Debug)]
pub(crate) struct Desk {
    number: u64,
    inbox: Option<Inbox>,
}

impl Desk {
    /// `false` when there is no room, or nobody takes anything any more.
    pub(crate) fn give(&self, payload: Bytes) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.put(payload).is_ok())
    }

    /// Calls under way end at once.
    pub(crate) fn peer_is_gone(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            inbox.gone();
        }
    }
}

impl Session {
    pub(crate) async fn open<S: Service<RoleClient>>(
        shared: &Arc<Shared>,
        instance: &Instance,
        service: S,
    ) -> Result<Self, Error> {
        let link = &shared.link;
        let rpc = instance.rpc(link.client_id());
        let (inbox, outlet) = inbox();
        let number = dice();
        let desk = Desk { number, inbox: Some(inbox) };
        if let Some(mut before) = lock(&shared.desks).insert(instance.clone(), desk) {
            // `initialize` ends that session at the server; a farewell would end this one.
            before.peer_is_gone();
        }
        let leave = Leave { shared: shared.clone(), instance: instance.clone(), number };
        let topics = [theirs(instance.capability()), shared_with_us(rpc.clone())];
        // Before `initialize`: the answer comes on a topic that must be ours by then.
        link.subscriptions.add(&topics).await?;
        let control = Some(instance.control());
        let transport = InOrder::new(MqttTransport::<RoleClient>::new(
            link.clone(),
            outlet,
            &rpc,
            control,
            CancellationToken::new(),
        ));
        let stop = CancellationToken::new();
        let subscriptions = link.subscriptions.clone();
        let begun = begin(instance, service, transport, stop.clone()).await;
        let running = match begun {
            Ok(running) => running,
            Err(error) => {
                // It may have begun one all the same.
                drop(link.outbox.send(&rpc, disconnected(), Until::Queued));
                subscriptions.remove(&topics).await;
                return Err(error);
            }
        };
        let (peer, over) = (running.peer().clone(), CancellationToken::new());
        let ending = over.clone();
        tokio::spawn(async move {
            let _ = running.waiting().await;
            ending.cancel();
            drop(leave);
            subscriptions.remove(&topics).await;
        });
        Ok(Self { instance: instance.clone(), peer, over, _end: stop.drop_guard() })
    }

    /// The server.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The other side, to make requests.
    #[must_use]
    pub fn peer(&self) -> &Peer<RoleClient> {
        &self.peer
    }

    /// Cancelled when the session is over, whoever ended it.
    #[must_use]
    pub fn over(&self) -> &CancellationToken {
        &self.over
    }
}

impl Deref for Session {
    type Target = Peer<RoleClient>;

    fn deref(&self) -> &Self::Target {
        &self.peer
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("instance", &self.instance).finish_non_exhaustive()
    }
}

async fn begin<S: Service<RoleClient>>(
    instance: &Instance,
    service: S,
    transport: InOrder<MqttTransport<RoleClient>>,
    stop: CancellationToken,
) -> Result<RunningService<RoleClient, S>, Error> {
    let begun = serve_client_with_ct(service, transport, stop);
    match tokio::time::timeout(INITIALIZE_TIMEOUT, begun).await {
        Ok(Ok(running)) => Ok(running),
        Ok(Err(error)) => {
            Err(Error::Initialize { server: instance.to_string(), why: error.to_string() })
        }
        Err(_) => Err(Error::Timeout { what: "answer to initialize", after: INITIALIZE_TIMEOUT }),
    }
}

/// Takes the desk away at the end, unless another session has it by now.
struct Leave {
    shared: Arc<Shared>,
    instance: Instance,
    number: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut desks = lock(&self.shared.desks);
        if desks.get(&self.instance).is_some_and(|desk| desk.number == self.number) {
            desks.remove(&self.instance);
        }
    }
}
