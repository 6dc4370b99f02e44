//! The client's side of one session.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use agentmq_agents::mcp::answers_filter;
use rmcp::RoleClient;
use rmcp::model::ProtocolVersion;
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, Peer, RunningService, Service,
    serve_client_with_ct, serve_client_with_lifecycle_and_ct,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::bus::{Shared, lock};
use super::identifier::dice;
use super::inbox::{Inbox, inbox};
use super::progress::InOrder;
use super::stateless_ask::StatelessDesk;
use super::stateless_calls::StatelessCalls;
use super::stateless_transport::StatelessTransport;
use super::subscriptions::{shared_with_us, theirs};
use super::transport::MqttTransport;
use super::wire::{Arrived, disconnected};
use super::{Error, INITIALIZE_TIMEOUT, Instance};

/// A session with an instance of a server, or what stands for one with all of them: in the revision
/// without `initialize` each request goes to one of them. Dropping it ends it: the server is told.
pub struct Session {
    server: Arc<str>,
    instance: Option<Instance>,
    peer: Peer<RoleClient>,
    over: CancellationToken,
    _end: DropGuard,
}

/// Where the messages for a session are given.
#[derive(Debug)]
pub(crate) struct Desk {
    number: u64,
    inbox: Option<Inbox>,
    /// We have been away since it began, and might have missed the end of the other side.
    pub(crate) was_away: bool,
}

impl Desk {
    /// `false` when there is no room, or nobody takes anything any more.
    pub(crate) fn give(&self, arrived: Arrived) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.put(arrived).is_ok())
    }

    /// Whether what its server says is lost while we are away.
    pub(crate) fn is_lossy(&self) -> bool {
        self.inbox.as_ref().is_some_and(Inbox::is_lossy)
    }

    /// Calls under way end at once; `false` when it was over already.
    pub(crate) fn peer_is_gone(&mut self) -> bool {
        let inbox = self.inbox.take();
        inbox.map(Inbox::gone).is_some()
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
        let desk = Desk { number, inbox: Some(inbox), was_away: false };
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
        let begun = serve_client_with_ct(service, transport, stop.clone());
        let begun = in_time(&instance.to_string(), "answer to initialize", begun).await;
        let running = match begun {
            Ok(running) => running,
            Err(error) => {
                // It may have begun one all the same.
                drop(link.outbox.send(&rpc, disconnected()));
                subscriptions.remove(&topics).await;
                return Err(error);
            }
        };
        let (server, instance) = (instance.name().into(), Some(instance.clone()));
        let at_end = async move {
            drop(leave);
            subscriptions.remove(&topics).await;
        };
        Ok(Self::run(server, instance, running, stop, at_end))
    }

    /// Asks the instances of a server that need no session, or one of them.
    pub(crate) async fn open_stateless<S: Service<RoleClient>>(
        shared: &Arc<Shared>,
        name: &str,
        only: Option<&str>,
        service: S,
    ) -> Result<Self, Error> {
        let link = &shared.link;
        let (inbox, outlet) = inbox();
        let (number, name): (u64, Arc<str>) = (dice(), name.into());
        let calls = Arc::new(std::sync::Mutex::new(StatelessCalls::new(&name, only)));
        let desk = StatelessDesk::new(number, inbox, &calls);
        if let Some(mut before) = lock(&shared.stateless).insert(name.clone(), desk) {
            before.end();
        }
        let leave = LeaveStateless { shared: shared.clone(), name: name.clone(), number };
        let topics = [shared_with_us(answers_filter(link.client_id(), &name))];
        link.subscriptions.add(&topics).await?;
        let transport = InOrder::new(StatelessTransport::new(shared, &calls, outlet));
        let stop = CancellationToken::new();
        let mode = ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::NO_INITIALIZE],
        };
        let begun = serve_client_with_lifecycle_and_ct(service, transport, mode, stop.clone());
        let subscriptions = link.subscriptions.clone();
        let running = match in_time(&name, "answer to server/discover", begun).await {
            Ok(running) => running,
            Err(error) => {
                subscriptions.remove(&topics).await;
                return Err(error);
            }
        };
        let at_end = async move {
            drop(leave);
            subscriptions.remove(&topics).await;
        };
        Ok(Self::run(name, None, running, stop, at_end))
    }

    fn run<S: Service<RoleClient>>(
        server: Arc<str>,
        instance: Option<Instance>,
        running: RunningService<RoleClient, S>,
        stop: CancellationToken,
        at_end: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (peer, over) = (running.peer().clone(), CancellationToken::new());
        let ending = over.clone();
        tokio::spawn(async move {
            let _ = running.waiting().await;
            ending.cancel();
            at_end.await;
        });
        Self { server, instance, peer, over, _end: stop.drop_guard() }
    }

    /// The server-name.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The instance that the session is with; `None` when each request goes to one of them.
    #[must_use]
    pub fn instance(&self) -> Option<&Instance> {
        self.instance.as_ref()
    }

    /// Whether it stands for a session that does not exist: in the revision without `initialize`.
    #[must_use]
    pub fn is_stateless(&self) -> bool {
        self.peer.peer_info().is_some_and(|info| !info.protocol_version.has_initialize())
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
        f.debug_struct("Session").field("server", &self.server).finish_non_exhaustive()
    }
}

async fn in_time<S: Service<RoleClient>>(
    server: &str,
    what: &'static str,
    begun: impl Future<Output = Result<RunningService<RoleClient, S>, ClientInitializeError>>,
) -> Result<RunningService<RoleClient, S>, Error> {
    match tokio::time::timeout(INITIALIZE_TIMEOUT, begun).await {
        Ok(Ok(running)) => Ok(running),
        Ok(Err(error)) => {
            Err(Error::Initialize { server: server.to_owned(), why: error.to_string() })
        }
        Err(_) => Err(Error::Timeout { what, after: INITIALIZE_TIMEOUT }),
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

/// The same of a client without a session.
struct LeaveStateless {
    shared: Arc<Shared>,
    name: Arc<str>,
    number: u64,
}

impl Drop for LeaveStateless {
    fn drop(&mut self) {
        let mut desks = lock(&self.shared.stateless);
        if desks.get(&self.name).is_some_and(|desk| desk.number == self.number) {
            desks.remove(&self.name);
        }
    }
}
