//! A server of tools: it says that it is there, and answers whoever calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentmq_agents::{
    AgentTopic, ArgumentSchema, CallErrorKind, CallRequest, Card, McpTool, ServerCard, Status,
    ToolCard, WrongSchema, call_topic, card_topic, is_level, shared_call_filter,
};
use agentmq_client::{
    Client, Event, Message, Messages, Options, PropertiesBuf, Property, PropertyId,
    ProtocolVersion, Publish, QoS, ReasonCode, SubscriptionOptions, Will, random_token,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answering::{Reply, failed};
use super::execute::{Prepared, execute};
use super::{
    CONCURRENCY, Dropped, Error, LONGEST_CALL, NAMESPACE, PAYLOAD_BYTES, RECENT_CALLS, RETURN_SECS,
    Tool,
};
use crate::recent::Recent;

/// What a server offers, and how.
#[derive(Debug, Clone)]
pub struct ToolServerConfig {
    /// Its name, which all its replicas share.
    pub name: String,
    /// Where its topics are: [`NAMESPACE`] unless said otherwise.
    pub namespace: String,
    /// Its tools.
    pub tools: Vec<Tool>,
    /// Whether replicas share the calls, as by default. Otherwise each of them gets every call, and
    /// whoever calls takes the first answer.
    pub shared: bool,
    /// Calls that are worked on at once, [`CONCURRENCY`] by default, 65 535 at most. A further one
    /// is answered `unavailable`.
    pub concurrency: usize,
    /// How long a call may take whose message does not expire, [`LONGEST_CALL`] by default.
    pub longest_call: Duration,
}

/// A server on the bus. When it is dropped it stops as by [`ToolServer::stop`].
#[derive(Debug)]
pub struct ToolServer {
    client: Client,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    ended: watch::Receiver<Option<Error>>,
    dropped: Dropped,
}

/// The server's work.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) client: Client,
    pub(crate) messages: Messages,
    pub(crate) config: ToolServerConfig,
    namespace: Arc<str>,
    /// By the topic of its calls.
    tools: HashMap<String, Arc<Prepared>>,
    places: Arc<Semaphore>,
    recent: Recent<Arc<(String, String)>>,
    dropped: Dropped,
    pub(crate) calls: JoinSet<()>,
    /// It says that it is not there any more.
    pub(crate) leaving: bool,
}

impl ToolServerConfig {
    /// A server without tools yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: NAMESPACE.into(),
            tools: Vec::new(),
            shared: true,
            concurrency: CONCURRENCY,
            longest_call: LONGEST_CALL,
        }
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    fn prepare(&mut self) -> Result<HashMap<String, Arc<Prepared>>, Error> {
        self.namespace = check_namespace(&self.namespace)?;
        self.concurrency = self.concurrency.min(usize::from(u16::MAX));
        check_level("the server's name", &self.name)?;
        let mut tools = HashMap::new();
        for tool in &self.tools {
            check_level("the tool's name", &tool.name)?;
            let schema = ArgumentSchema::read(&tool.input_schema);
            let schema = schema.map_err(|WrongSchema(why)| {
                let tool = tool.name.clone();
                Error::Schema { tool, why }
            })?;
            let prepared = Arc::new(Prepared { tool: tool.clone(), schema });
            if tools.insert(call_topic(&self.namespace, &tool.name), prepared).is_some() {
                let (what, text) = ("the tool's name", tool.name.clone());
                return Err(Error::Name { what, text, why: "stands twice" });
            }
        }
        Ok(tools)
    }

    fn server_card(&self, status: Status) -> (String, Vec<u8>) {
        let tools: Vec<&str> = self.tools.iter().map(|tool| &*tool.name).collect();
        let (server, namespace) = (&*self.name, &*self.namespace);
        let card = ServerCard { server, namespace, tools: &tools };
        let topic = card_topic(namespace, AgentTopic::ServerCard { server });
        (topic, card.payload(status, now_ms()))
    }

    /// All cards as they are to be retained, the server's first.
    pub(crate) fn cards(&self, status: Status) -> impl Iterator<Item = Publish> {
        let tools = self.tools.iter().map(move |tool| {
            let card = ToolCard {
                tool: &tool.name,
                server: &self.name,
                namespace: &self.namespace,
                description: &tool.description,
                input_schema: &tool.input_schema,
                output_schema: tool.output_schema.as_ref(),
                supports_streaming: tool.supports_streaming,
                version: tool.version.as_deref(),
                mcp: tool.mcp.as_ref().map(|it| McpTool {
                    server: &it.server,
                    tool: &it.tool,
                    served: it.served,
                }),
            };
            let topic = card_topic(&self.namespace, AgentTopic::ToolCard { tool: &tool.name });
            (topic, card.payload(status, now_ms()))
        });
        std::iter::once(self.server_card(status))
            .chain(tools)
            .map(|(topic, payload)| Publish::new(topic, payload).qos(QoS::AtLeastOnce).retain(true))
    }

    /// What it subscribes to for its calls.
    pub(crate) fn filters(&self) -> Vec<String> {
        let filter = if self.shared { shared_call_filter } else { call_topic };
        self.tools.iter().map(|tool| filter(&self.namespace, &tool.name)).collect()
    }
}

impl ToolServer {
    /// Connects, shows the cards, and answers calls from now on. A client id that is empty becomes
    /// a new one; a session without expiry lasts [`RETURN_SECS`], and the will is delayed as long,
    /// so that a link that breaks for a moment does nothing.
    pub async fn connect(
        mut options: Options,
        mut config: ToolServerConfig,
    ) -> Result<Self, Error> {
        let tools = config.prepare()?;
        options.version = ProtocolVersion::V5;
        if options.client_id.is_empty() {
            let token = random_token();
            let (namespace, tail) = (config.namespace.replace('/', "-"), token.get(..8));
            options.client_id =
                format!("{namespace}-mcp-{}-{}", config.name, tail.unwrap_or_default());
        }
        if options.session_expiry == 0 {
            options.session_expiry = RETURN_SECS;
        }
        options.max_packet_size = PAYLOAD_BYTES as u32;
        // Each call may have one open request: to be told that it is cancelled.
        options.max_requests = config.concurrency.max(1);
        let (topic, payload) = config.server_card(Status::Offline);
        options.will = Some(Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            delay: options.session_expiry,
            ..Will::new(topic.clone(), payload)
        });
        let (client, messages) = Box::pin(Client::connect(options)).await?;
        let (namespace, dropped) = (config.namespace.as_str().into(), Dropped::default());
        let work = Work {
            client: client.clone(),
            messages,
            namespace,
            tools,
            places: Arc::new(Semaphore::new(config.concurrency)),
            recent: Recent::new(RECENT_CALLS),
            config,
            dropped: dropped.clone(),
            calls: JoinSet::new(),
            leaving: false,
        };
        if let Err(error) = work.begin(topic).await {
            // Its cards may be there already: the will takes that back, at once.
            let at_once =
                PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 0));
            client.disconnect_with(ReasonCode::DisconnectWithWill, at_once).await;
            return Err(error);
        }
        let (stop, stopping) = mpsc::channel(1);
        let (tell, ended) = watch::channel(None);
        tokio::spawn(async move {
            let error = work.run(stopping).await;
            tell.send_replace(Some(error));
        });
        Ok(Self { client, stop, ended, dropped })
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What came and could not be used.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }

    /// Takes no more calls, finishes those under way, says on its cards that it is offline, and
    /// disconnects. Takes ten seconds at most; calls that need longer are not answered.
    pub async fn stop(&self) {
        let (done, finished) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            let _ = finished.await;
        }
    }

    /// Waits until it is over, and tells why: [`Error::Closed`] if it was stopped.
    pub async fn ended(&self) -> Error {
        let mut ended = self.ended.clone();
        let told = ended.wait_for(Option::is_some).await;
        told.ok().and_then(|error| error.clone()).unwrap_or(Error::Closed)
    }
}

impl Work {
    async fn begin(&self, card: String) -> Result<(), Error> {
        for card in self.config.cards(Status::Online) {
            self.client.publish(card).await?.await?;
        }
        // A replica that stops says that all are offline; whoever is still there corrects it.
        let own = SubscriptionOptions::at(QoS::AtLeastOnce);
        if let Err(error) = self.client.subscribe(card, own).await {
            tracing::debug!(%error, "other replicas' words on the server's card are not heard");
        }
        for filter in self.config.filters() {
            self.client.subscribe(filter, SubscriptionOptions::at(QoS::AtLeastOnce)).await?;
        }
        Ok(())
    }

    async fn run(mut self, mut stopping: mpsc::Receiver<oneshot::Sender<()>>) -> Error {
        let mut events = self.client.events();
        loop {
            tokio::select! {
                message = self.messages.next() => match message {
                    Some(message) => self.handle(message).await,
                    None => return self.client.ending().into(),
                },
                // The session is gone, and the will may have been sent. With the session it has
                // not: it is delayed as long as that lives.
                Some(event) = events.next() => if event == Event::Connected {
                    self.show_cards().await;
                },
                Some(_) = self.calls.join_next() => {}
                // Also when the handle is gone.
                done = stopping.recv() => {
                    self.leave().await;
                    let _ = done.map(|done| done.send(()));
                    return Error::Closed;
                }
            }
        }
    }

    async fn show_cards(&self) {
        for card in self.config.cards(Status::Online) {
            // An error is that of the connection, which tells its end itself.
            let _ = self.client.publish(card).await.map(drop);
        }
    }

    pub(crate) async fn handle(&mut self, message: Message) {
        let Some(prepared) = self.tools.get(&message.topic) else {
            return self.heard_of_itself(&message).await;
        };
        if message.retain {
            return self.dropped.add(&message.topic, "was kept from another time");
        }
        let Some(request) = CallRequest::parse(&message.payload) else {
            return self.dropped.add(&message.topic, "is no call");
        };
        let reply = Reply::to(&self.client, &self.namespace, &message, &request);
        let Some(reply) = reply else {
            return self.dropped.add(&message.topic, "names nobody to be answered");
        };
        // Two callers may use one `call_id`.
        let key = (reply.topic.clone(), request.call_id.clone());
        if !self.recent.is_new(Arc::new(key)) {
            return self.dropped.add(&message.topic, "has come before");
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let why = format!(
                "the server works on {} calls and takes no more now",
                self.config.concurrency
            );
            return reply.refuse(failed(CallErrorKind::Unavailable, why)).await;
        };
        let seconds = message.expiry().map(|seconds| Duration::from_secs(seconds.into()));
        let longest = self.config.longest_call.min(LONGEST);
        let deadline = Instant::now() + seconds.map_or(longest, |given| given.min(LONGEST));
        let link = (self.client.clone(), self.namespace.clone());
        self.calls.spawn(execute(prepared.clone(), link, request, reply, deadline, place));
    }

    /// Its own card, perhaps written by another replica that has stopped.
    async fn heard_of_itself(&self, message: &Message) {
        let card = Card::parse(&message.payload);
        if card.and_then(|card| card.status()) == Some(Status::Offline) && !self.leaving {
            self.show_cards().await;
        }
    }
}

/// Without the outer slashes and blanks, as the published package takes it.
pub(crate) fn check_namespace(text: &str) -> Result<String, Error> {
    let namespace = text.trim().trim_matches('/');
    match agentmq_agents::Namespaces::new(&[namespace]) {
        Ok(_) => Ok(namespace.to_owned()),
        Err(_) => Err(Error::Name {
            what: "the namespace",
            text: text.to_owned(),
            why: "is no topic name",
        }),
    }
}

pub(crate) fn check_level(what: &'static str, name: &str) -> Result<(), Error> {
    if is_level(name) {
        return Ok(());
    }
    let why = "is not 1 to 1024 bytes without /, + and #";
    Err(Error::Name { what, text: name.to_owned(), why })
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A day: clocks can count so far, and nobody waits so long.
const LONGEST: Duration = Duration::from_secs(86_400);
