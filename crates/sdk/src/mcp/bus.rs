//! A client on the bus: it knows which servers are online, and opens sessions with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentmq_agents::mcp::{NAME_FILTERS, check_name_filter, client_presence, presence_filter};
use agentmq_client::{Client, Options, PropertiesBuf, QoS, Will};
use rmcp::RoleClient;
use rmcp::service::Service;
use tokio::sync::watch;

use super::bus_messages::Pump;
use super::identifier::dice;
use super::link::{Link, prepare};
use super::session::{Desk, Session};
use super::stateless_ask::StatelessDesk;
use super::subscriptions::theirs;
use super::wire::{Component, disconnected};
use super::{AWAY, Directory, Dropped, Error, Instance};

/// Which servers a client wants to know.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// Filters over server-names, unless the broker assigns others.
    pub filters: Vec<String>,
    /// How long a connection may be lost, in whole seconds: whoever is back by then goes on with
    /// its sessions and calls, as far as the broker keeps its MQTT session so long. After it they
    /// end; with zero, or where the options say that nobody comes back, at once.
    pub away: Duration,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self { filters: vec!["#".into()], away: AWAY }
    }
}

/// A connection to the bus, cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) link: Link,
    pub(crate) directory: Mutex<Directory>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) desks: Mutex<HashMap<Instance, Desk>>,
    /// By server-name: of those who need no session.
    pub(crate) stateless: Mutex<HashMap<Arc<str>, StatelessDesk>>,
}

/// What changes for those who look on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// Counts changes of the directory.
    pub(crate) version: u64,
    /// The retained presence of all servers has arrived.
    pub(crate) complete: bool,
    /// The broker is connected.
    pub(crate) connected: bool,
    /// The connection has ended for good.
    pub(crate) ended: bool,
}

impl Bus {
    /// Connects and asks who is there; [`Bus::discovered`] waits for the answer.
    pub async fn connect(mut options: Options, config: BusConfig) -> Result<Self, Error> {
        for filter in &config.filters {
            check_name_filter(filter)?;
        }
        let comes_back = options.reconnect.attempts != Some(0);
        let away = if comes_back { config.away.as_secs() } else { 0 };
        let away = u32::try_from(away).unwrap_or(u32::MAX);
        prepare(&mut options, Component::Client, away)?;
        let will = Will::new(client_presence(&options.client_id), disconnected());
        // The end of the MQTT session is that of the sessions that it carries.
        options.will = Some(Will { qos: QoS::AtLeastOnce, delay: away, ..will });
        let (link, messages) = Link::connect(options, Component::Client).await?;
        let (state, _) = watch::channel(State { connected: true, ..State::default() });
        let shared = Arc::new(Shared {
            link,
            directory: Mutex::default(),
            state,
            desks: Mutex::default(),
            stateless: Mutex::default(),
        });
        let client = &shared.link.client;
        let filters = assigned_filters(client).unwrap_or(config.filters);
        let presence: Vec<_> =
            filters.iter().map(|filter| theirs(presence_filter(filter))).collect();
        let pump = Pump::new(shared.clone(), messages, away, presence.clone());
        let mut wanted = presence;
        wanted.push(theirs(pump.marker().to_owned()));
        let reasons = client.subscribe_all(wanted.clone(), PropertiesBuf::new()).await?;
        if let Some(((filter, _), reason)) =
            wanted.into_iter().zip(reasons).find(|(_, reason)| reason.is_error())
        {
            shared.link.end().await;
            return Err(Error::Subscription { filter, reason });
        }
        pump.send_mark();
        tokio::spawn(pump.run());
        Ok(Self { shared })
    }

    /// Our MQTT client identifier.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.shared.link.client_id()
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.link.client
    }

    /// What came and could not be used.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.shared.link.dropped.clone()
    }

    /// Who is online now.
    #[must_use]
    pub fn directory(&self) -> Directory {
        lock(&self.shared.directory).clone()
    }

    /// Whether the broker is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.state.borrow().connected
    }

    /// Whether the servers that were online when we connected are all known.
    #[must_use]
    pub fn is_discovered(&self) -> bool {
        self.shared.state.borrow().complete
    }

    /// Waits until the servers that were online when we connected are all known; `false` when that
    /// is not so in time.
    pub async fn discovered(&self, patience: Duration) -> bool {
        let mut state = self.shared.state.subscribe();
        let known = state.wait_for(|state| state.complete || state.ended);
        matches!(tokio::time::timeout(patience, known).await, Ok(Ok(state)) if state.complete)
    }

    /// Tells of every change of the directory or of the connection from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.shared.state.subscribe())
    }

    /// Opens a session with one instance; without `initialize` if it says that it needs none. A
    /// session that we had with it is over. Of instances that need none there is one session for
    /// each server-name: to open one with another instance of the name, or with all of them
    /// ([`Bus::open_any`]), ends the one before.
    pub async fn open<S: Service<RoleClient>>(
        &self,
        instance: &Instance,
        service: S,
    ) -> Result<Session, Error> {
        if self.is_stateless(instance) {
            let only = Some(instance.id());
            let opening = Session::open_stateless(&self.shared, instance.name(), only, service);
            return Box::pin(opening).await;
        }
        Box::pin(Session::open(&self.shared, instance, service)).await
    }

    /// Opens a session with a server. Where there are instances that need none, what stands for one
    /// with all of these. Else with whichever takes it first: a random one, and if that fails the
    /// others.
    pub async fn open_any<S, F>(&self, name: &str, mut service: F) -> Result<Session, Error>
    where
        S: Service<RoleClient>,
        F: FnMut() -> S,
    {
        let mut instances: Vec<Instance> =
            self.directory().instances(name).map(|online| online.instance.clone()).collect();
        let mut last = Error::Offline(name.to_owned());
        if instances.iter().any(|it| self.is_stateless(it)) {
            let opening = Session::open_stateless(&self.shared, name, None, service());
            match Box::pin(opening).await {
                Ok(session) => return Ok(session),
                Err(error) => last = error,
            }
            instances.retain(|it| !self.is_stateless(it));
        }
        while !instances.is_empty() {
            let chosen = instances.swap_remove((dice() % instances.len() as u64) as usize);
            match self.open(&chosen, service()).await {
                Ok(session) => return Ok(session),
                Err(error) => {
                    tracing::debug!(server = %chosen, %error, "no session");
                    last = error;
                }
            }
        }
        Err(last)
    }

    fn is_stateless(&self, instance: &Instance) -> bool {
        let directory = lock(&self.shared.directory);
        let mut instances = directory.instances(instance.name());
        instances.any(|it| it.instance == *instance && it.is_stateless())
    }

    /// Says good-bye to all servers and disconnects.
    pub async fn close(&self) {
        for (_, desk) in lock(&self.shared.desks).drain() {
            drop(desk);
        }
        lock(&self.shared.stateless).values_mut().for_each(StatelessDesk::end);
        let farewell = client_presence(self.client_id());
        let told = self.shared.link.outbox.send(&farewell, disconnected());
        // Without a connection the will tells them.
        if self.is_connected() {
            let _ = tokio::time::timeout(FAREWELL, told).await;
        }
        self.shared.link.end().await;
    }
}

/// Tells when something has changed.
#[derive(Debug, Clone)]
pub struct Changes(watch::Receiver<State>);

impl Changes {
    /// Waits for a change since the last call; `false` when no more will come.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok() && !self.0.borrow().ended
    }
}

/// The filters that the broker wants us to use.
fn assigned_filters(client: &Client) -> Option<Vec<String>> {
    let server = client.server();
    let text = server.user_property(NAME_FILTERS)?;
    let filters: Vec<String> = serde_json::from_str(text).ok()?;
    let usable = |filters: &Vec<String>| {
        !filters.is_empty() && filters.iter().all(|filter| check_name_filter(filter).is_ok())
    };
    let usable = Some(filters).filter(usable);
    if usable.is_none() {
        tracing::warn!(filters = text, "the broker assigned filters that are none");
    }
    usable
}

/// No code that holds such a lock can panic halfway through a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long good-bye may take.
const FAREWELL: Duration = Duration::from_secs(1);
