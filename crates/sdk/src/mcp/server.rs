//! A server on the bus: it says that it is there, and begins a session with each client that asks.

use std::collections::HashMap;
use std::sync::Arc;

use agentmq_agents::mcp::{SERVER_NAME, Topic, check_client_id, check_server_name};
use agentmq_client::{Client, Event, Message, Messages, Options, QoS, SubscriptionOptions};
use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, ProtocolVersion, RequestId, ServerNotification};
use rmcp::service::{Service, TxJsonRpcMessage};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::fault::{Fault, fault};
use super::inbox::Refused;
use super::link::{Link, prepare};
use super::server_name::connect_named;
use super::server_session::{Caller, Ended, Entry, start, start_stateless};
use super::subscriptions::{shared_with_us, theirs};
use super::wire::{Arrived, Component, Envelope, is_self_contained, says_disconnected, sender};
use super::{Dropped, Error, Instance, Online, SESSIONS};

/// What a server is called and says of itself.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// Its server-name, unless the broker assigns one.
    pub name: String,
    /// What it does, in a line for people.
    pub description: String,
    /// Whatever else its online message is to say.
    pub meta: Value,
    /// The revisions of MCP that its services speak, as its online message says; all that are known
    /// where there is none.
    pub versions: Vec<ProtocolVersion>,
}

/// A handle to a server, cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    link: Link,
    instance: Instance,
    commands: mpsc::Sender<Command>,
}

/// The server's work: [`Acceptor::run`] does it.
#[derive(Debug)]
pub struct Acceptor {
    link: Link,
    instance: Instance,
    config: ServerConfig,
    messages: Messages,
    commands: mpsc::Receiver<Command>,
    online: bool,
    sessions: HashMap<Arc<str>, Entry>,
    /// Sessions that have not ended, those included whose client began anew.
    running: usize,
    next_session: u64,
    ended: (mpsc::Sender<Ended>, mpsc::Receiver<Ended>),
}

#[derive(Debug)]
enum Command {
    /// The revisions that it speaks from now on, if these are others.
    Online(Option<Vec<ProtocolVersion>>, oneshot::Sender<()>),
    Offline(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

impl Server {
    /// Connects, takes the name that the broker gives it, and subscribes the topics where it is
    /// asked. Nobody can see it before [`Server::online`].
    pub async fn connect(
        mut options: Options,
        mut config: ServerConfig,
    ) -> Result<(Self, Acceptor), Error> {
        check_server_name(&config.name)?;
        prepare(&mut options, Component::Server, 0)?;
        let (link, messages) = connect_named(options, &mut config).await?;
        let instance = Instance::new(link.client_id(), &config.name)?;
        let control = SubscriptionOptions::at(QoS::AtLeastOnce);
        link.client.subscribe(instance.control(), control).await?;
        let (everybody, options) = shared_with_us(instance.rpc_filter());
        link.client.subscribe(everybody, options).await?;
        let (commands, queue) = mpsc::channel(COMMANDS);
        let server = Self { link: link.clone(), instance: instance.clone(), commands };
        let acceptor = Acceptor {
            link,
            instance,
            config,
            messages,
            commands: queue,
            online: false,
            sessions: HashMap::new(),
            running: 0,
            next_session: 0,
            ended: mpsc::channel(SESSIONS),
        };
        Ok((server, acceptor))
    }

    /// Its name and identifier on the bus.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// What came and could not be used.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.link.dropped.clone()
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.link.client
    }

    /// Says that it is there: clients may begin sessions.
    pub async fn online(&self) {
        self.command(|done| Command::Online(None, done)).await;
    }

    /// The same, with services that speak these revisions from now on
    /// ([`ServerConfig::versions`]).
    pub async fn online_with(&self, versions: Vec<ProtocolVersion>) {
        self.command(|done| Command::Online(Some(versions), done)).await;
    }

    /// Says that it is not there any more, and ends all sessions.
    pub async fn offline(&self) {
        self.command(Command::Offline).await;
    }

    /// Tells all clients with sessions that something has changed: lists, or a resource. Clients of
    /// the revision without sessions hear what a handler tells those who listen to it (`listen`).
    pub async fn notify(&self, notification: ServerNotification) -> Result<(), Error> {
        let message = TxJsonRpcMessage::<RoleServer>::notification(notification);
        let payload = serde_json::to_vec(&message).unwrap_or_default();
        self.link.outbox.send(&self.instance.capability(), payload).await
    }

    /// Goes offline, ends all sessions and disconnects. [`Acceptor::run`] then returns.
    pub async fn close(&self) {
        self.command(Command::Close).await;
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            let _ = finished.await;
        }
    }
}

impl Acceptor {
    /// Serves until the server is closed ([`Error::Closed`]) or the connection has ended for good.
    /// `serve` makes the service of one client; it answers `initialize` or `server/discover`, too.
    pub async fn run<S, F>(mut self, mut serve: F) -> Error
    where
        S: Service<RoleServer>,
        F: FnMut(Caller) -> S,
    {
        let mut events = self.link.client.events();
        loop {
            tokio::select! {
                message = self.messages.next() => match message {
                    Some(message) => self.route(&message, &mut serve),
                    None => break self.link.client.ending().into(),
                },
                Some(event) = events.next() => {
                    if let Err(error) = self.connection(&event) {
                        self.link.client.disconnect().await;
                        break error;
                    }
                }
                Some(command) = self.commands.recv() => match command {
                    Command::Online(versions, done) => {
                        if let Some(versions) = versions {
                            self.config.versions = versions;
                        }
                        self.announce(true).await;
                        let _ = done.send(());
                    }
                    Command::Offline(done) => {
                        self.announce(false).await;
                        let _ = done.send(());
                    }
                    Command::Close(done) => {
                        self.close().await;
                        let _ = done.send(());
                        break Error::Closed;
                    }
                },
                Some(ended) = self.ended.1.recv() => self.forget(&ended),
            }
        }
    }

    async fn close(&mut self) {
        self.announce(false).await;
        // Every session says good-bye and gives its topics up; a task that is stuck is left behind.
        let farewells = async {
            while self.running > 0 {
                let Some(ended) = self.ended.1.recv().await else { break };
                self.forget(&ended);
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewells).await;
        self.link.client.disconnect().await;
    }

    fn forget(&mut self, ended: &Ended) {
        self.running -= 1;
        let same = |entry: &Entry| entry.number == ended.number;
        if self.sessions.get(&ended.client).is_some_and(same) {
            self.sessions.remove(&ended.client);
        }
    }

    /// Publishes or clears the presence.
    async fn announce(&mut self, online: bool) {
        let before = std::mem::replace(&mut self.online, online);
        let (anybody, options) = theirs(self.instance.service_filter());
        if online {
            // Not every broker allows it: then clients choose whom they ask.
            let subscribed = self.link.client.subscribe(anybody, options);
            if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, subscribed).await {
                tracing::debug!(%error, "no requests to any instance");
            }
            self.publish_presence();
        } else {
            for entry in self.sessions.values_mut() {
                entry.end();
            }
            if before {
                // In this order: nobody is to be asked who does not answer.
                let given_up = self.link.client.unsubscribe(anybody);
                let _ = tokio::time::timeout(FAREWELL, given_up).await;
                let cleared = self.link.outbox.presence(&self.instance.presence(), Vec::new());
                // Not for ever: without a connection the will has done it.
                let _ = tokio::time::timeout(FAREWELL, cleared).await;
            }
        }
    }

    fn publish_presence(&self) {
        let online = Online {
            instance: self.instance.clone(),
            description: self.config.description.clone(),
            meta: self.config.meta.clone(),
        };
        let known = ProtocolVersion::KNOWN_VERSIONS;
        let versions = &self.config.versions;
        let online = online.speaking(if versions.is_empty() { known } else { versions });
        drop(self.link.outbox.presence(&self.instance.presence(), online.encode()));
    }

    fn connection(&mut self, event: &Event) -> Result<(), Error> {
        match event {
            // The will has told everybody that we are gone: no session is one any more.
            Event::Disconnected { .. } => {
                self.sessions.values_mut().for_each(Entry::peer_is_gone);
            }
            // The subscriptions are on their way already, and nothing overtakes them.
            Event::Connected | Event::Resumed => {
                let assigned =
                    self.link.client.server().user_property(SERVER_NAME).map(str::to_owned);
                if let Some(to) = assigned.filter(|name| *name != self.config.name) {
                    return Err(Error::Renamed { from: self.config.name.clone(), to });
                }
                if self.online {
                    self.publish_presence();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn route<S, F>(&mut self, message: &Message, serve: &mut F)
    where
        S: Service<RoleServer>,
        F: FnMut(Caller) -> S,
    {
        match Topic::parse(&message.topic) {
            Some(Topic::Control(_)) => self.initialize(message, serve),
            Some(
                Topic::Rpc { client, .. }
                | Topic::Service { client, .. }
                | Topic::ClientCapability(client),
            ) => self.forward(client, message, serve),
            Some(Topic::ClientPresence(client)) if says_disconnected(&message.payload) => {
                if let Some(entry) = self.sessions.get_mut(client) {
                    entry.peer_is_gone();
                }
            }
            _ => self.link.dropped.add(&message.topic, "of no use to a server"),
        }
    }

    /// Gives a message to the session of its client. A request that needs none begins one.
    fn forward<S, F>(&mut self, client: &str, message: &Message, serve: &mut F)
    where
        S: Service<RoleServer>,
        F: FnMut(Caller) -> S,
    {
        // Who sends on a topic is named there; a message that names somebody else is forged.
        if sender(message).is_some_and(|sender| sender != client) {
            return self.link.dropped.add(&message.topic, "names another client");
        }
        if message.retain {
            return self.link.dropped.add(&message.topic, "was kept from another time");
        }
        let inbox = self.sessions.get(client).and_then(Entry::inbox);
        let put = inbox.map_or(Err(Refused::Closed), |inbox| inbox.put(Arrived::of(message)));
        let Err(refused) = put else { return };
        let id = Envelope::read(&message.payload).and_then(|it| it.request_id());
        let error = match (refused, &id) {
            (Refused::Full, _) => fault(Fault::Busy, "too much waits for this session"),
            (_, Some(_)) if !self.online => fault(Fault::Offline, NOT_RUNNING),
            (_, Some(_)) if is_self_contained(&message.payload) => {
                if self.running < SESSIONS {
                    return self.begin_stateless(client, message, serve);
                }
                too_many_sessions()
            }
            _ => fault(Fault::Gone, "no session: initialize first"),
        };
        match id {
            Some(id) => self.refuse(client, id, error),
            None => self.link.dropped.add(&message.topic, &error.message),
        }
    }

    fn begin_stateless<S, F>(&mut self, client: &str, message: &Message, serve: &mut F)
    where
        S: Service<RoleServer>,
        F: FnMut(Caller) -> S,
    {
        self.running += 1;
        self.next_session += 1;
        let caller = Caller::new(client.into(), &self.instance);
        let service = serve(caller.clone());
        let begun = (self.next_session, Arrived::of(message));
        let entry = start_stateless(&self.link, caller, begun, service, self.ended.0.clone());
        self.sessions.insert(client.into(), entry);
    }

    /// A message on the control topic.
    fn initialize<S, F>(&mut self, message: &Message, serve: &mut F)
    where
        S: Service<RoleServer>,
        F: FnMut(Caller) -> S,
    {
        let dropped = self.link.dropped.clone();
        let Some(client) = sender(message).filter(|id| check_client_id(id).is_ok()) else {
            return dropped.add(&message.topic, "does not say which client asks");
        };
        if message.retain {
            return dropped.add(&message.topic, "was kept from another time");
        }
        let envelope = Envelope::read(&message.payload);
        let request = envelope.and_then(|it| Some((it.request_id()?, it.method?)));
        let Some((id, method)) = request else {
            return dropped.add(&message.topic, "is no request");
        };
        if method != "initialize" {
            let what = format!("{method} does not begin a session: only initialize does");
            let error = ErrorData::new(ErrorCode::INVALID_REQUEST, what, None);
            return self.refuse(client, id, error);
        }
        if !self.online {
            return self.refuse(client, id, fault(Fault::Offline, NOT_RUNNING));
        }
        if self.running >= SESSIONS {
            return self.refuse(client, id, too_many_sessions());
        }
        let client: Arc<str> = client.into();
        if let Some(entry) = self.sessions.get_mut(&client) {
            entry.peer_is_gone(); // it begins anew, so the session it had is over
        }
        self.running += 1;
        self.next_session += 1;
        let caller = Caller::new(client.clone(), &self.instance);
        let service = serve(caller.clone());
        let ended = self.ended.0.clone();
        let begun = (self.next_session, id, Arrived::of(message));
        let entry = start(&self.link, &self.instance, caller, begun, service, ended);
        self.sessions.insert(client, entry);
    }

    fn refuse(&self, client: &str, id: RequestId, error: ErrorData) {
        self.link.answer_error(&self.instance.rpc(client), id, error);
    }
}

fn too_many_sessions() -> ErrorData {
    fault(Fault::Busy, format!("this server has {SESSIONS} sessions and takes no more"))
}

const NOT_RUNNING: &str = "this server is not running now";

/// Commands of handles that wait.
const COMMANDS: usize = 16;

/// How long the end of a server may take.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(3);
