//! A client of tools: it finds them and calls them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentmq_agents::{AgentTopic, card_topic, responses_topic, stream_topic};
use agentmq_client::{Client, Options, ProtocolVersion, QoS, SubscriptionOptions, random_token};
use agentmq_topic::ReplyTopic;
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::call::{Calls, Waiting};
use super::client_messages::listen;
use super::limits::{CARD_PATIENCE, LIST_PATIENCE, QUIET};
use super::server::{check_level, check_namespace};
use super::{
    CALL_TIMEOUT, Cards, Dropped, Error, NAMESPACE, OPEN_CALLS, PAYLOAD_BYTES, RETURN_SECS,
    StreamingCall, ToolInfo,
};
use crate::TraceContext;

/// A client of tools on the bus, cheap to clone. It disconnects when all clones are gone.
///
/// ```no_run
/// use agentmq_client::Options;
/// use agentmq_sdk::tools::ToolClient;
/// use serde_json::json;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut options = Options::new("mqtt://127.0.0.1:1883")?;
/// options.client_id = "agent-a".into();
/// let client = ToolClient::connect(options).await?;
/// println!("{}", client.call("add", json!({ "a": 2, "b": 40 })).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ToolClient {
    shared: Arc<Shared>,
    trace: TraceContext,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// What calls say of who calls.
    pub(crate) caller: String,
    /// Where answers come.
    pub(crate) responses: String,
    pub(crate) calls: Mutex<Calls>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) cards: Mutex<Cards>,
    /// Counts changes of the cards.
    pub(crate) version: watch::Sender<u64>,
    watching: OnceCell<()>,
    settled: OnceCell<()>,
    pub(crate) dropped: Dropped,
    /// Ends the task that listens, which would keep the connection up.
    _gone: DropGuard,
}

impl ToolClient {
    /// Connects with the client id as the agent's id, in the default namespace. A session without
    /// expiry lasts [`RETURN_SECS`], so that answers wait for a client that comes back.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        Self::connect_in(options, NAMESPACE).await
    }

    /// The same in another namespace.
    pub async fn connect_in(options: Options, namespace: &str) -> Result<Self, Error> {
        let client_id = options.client_id.clone();
        check_level("the client id, which is the agent's,", &client_id)?;
        let caller = |namespace: &str, _: &Client| {
            (responses_topic(namespace, &client_id), client_id.clone())
        };
        Self::connect_with(options, namespace, caller).await
    }

    /// Connects for an agent with another client id than its own, or for none: a gateway. Answers
    /// come below `$reply/` where the broker offers that, which needs no right of an agent's; calls
    /// then name `agent` as who calls, or nobody. Elsewhere the client id stands for an agent that
    /// has no name.
    pub async fn connect_for(
        options: Options,
        namespace: &str,
        agent: Option<&str>,
    ) -> Result<Self, Error> {
        if let Some(agent) = agent {
            check_level("the agent's id", agent)?;
        }
        let caller = |namespace: &str, client: &Client| {
            let (topic, name) = (client.response_topic(), agent.unwrap_or_default());
            if ReplyTopic::is_meant(&topic) {
                return (topic, name.to_owned());
            }
            let name = agent.map_or_else(|| client.server().client_id.clone(), str::to_owned);
            (responses_topic(namespace, &name), name)
        };
        Self::connect_with(options, namespace, caller).await
    }

    /// `caller` says where answers come, and who calls.
    async fn connect_with(
        mut options: Options,
        namespace: &str,
        caller: impl FnOnce(&str, &Client) -> (String, String),
    ) -> Result<Self, Error> {
        let namespace = check_namespace(namespace)?;
        options.version = ProtocolVersion::V5;
        if options.session_expiry == 0 {
            options.session_expiry = RETURN_SECS;
        }
        options.max_packet_size = PAYLOAD_BYTES as u32;
        let (client, messages) = Box::pin(Client::connect(options)).await?;
        let (responses, caller) = caller(&namespace, &client);
        let gone = CancellationToken::new();
        let shared = Arc::new(Shared {
            client: client.clone(),
            namespace,
            caller,
            responses: responses.clone(),
            calls: Mutex::default(),
            places: Arc::new(Semaphore::new(OPEN_CALLS)),
            cards: Mutex::default(),
            version: watch::Sender::new(0),
            watching: OnceCell::new(),
            settled: OnceCell::new(),
            dropped: Dropped::default(),
            _gone: gone.clone().drop_guard(),
        });
        tokio::spawn(listen(Arc::downgrade(&shared), messages, gone));
        if let Err(error) = client.subscribe(responses, at_least_once()).await {
            client.disconnect().await;
            return Err(error.into());
        }
        Ok(Self { shared, trace: TraceContext::default() })
    }

    /// The same client, whose calls belong to a trace: they carry it as User Properties.
    #[must_use]
    pub fn traced(&self, trace: TraceContext) -> Self {
        Self { shared: self.shared.clone(), trace }
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// What came and could not be used.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.shared.dropped.clone()
    }

    /// Calls a tool and waits [`CALL_TIMEOUT`] at most. Dropping the future cancels the call.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Error> {
        self.call_within(tool, arguments, CALL_TIMEOUT).await
    }

    /// Calls a tool and waits so long at most, which the server is told (Message Expiry Interval,
    /// in whole seconds).
    pub async fn call_within(
        &self,
        tool: &str,
        arguments: Value,
        timeout: Duration,
    ) -> Result<Value, Error> {
        check_level("the tool's name", tool)?;
        let call_id = random_token();
        let mut call = Waiting::begin(&self.shared, tool, call_id, timeout, None).await?;
        call.publish(arguments, &self.trace).await?;
        call.outcome().await
    }

    /// Calls a tool and hears what it says while it works. Dropping the call cancels it.
    pub async fn call_streaming(
        &self,
        tool: &str,
        arguments: Value,
        timeout: Duration,
    ) -> Result<StreamingCall, Error> {
        check_level("the tool's name", tool)?;
        let call_id = random_token();
        let topic = stream_topic(&self.shared.namespace, tool, &call_id);
        let names = (call_id, topic);
        StreamingCall::begin(&self.shared, tool, names, (arguments, &self.trace), timeout).await
    }

    /// What is known of a tool; `None` if it has no card.
    pub async fn card(&self, tool: &str) -> Result<Option<ToolInfo>, Error> {
        let mut changes = self.watch().await?;
        let found = async {
            loop {
                let info = self.cards().tool(tool);
                if info.is_some() || !changes.next().await {
                    return info;
                }
            }
        };
        if self.shared.settled.initialized() {
            return Ok(self.cards().tool(tool));
        }
        Ok(tokio::time::timeout(CARD_PATIENCE, found).await.unwrap_or_default())
    }

    /// Every tool that has a card, whether a server is there for it or not. The first time it
    /// waits until the cards have come.
    pub async fn tools(&self) -> Result<Vec<ToolInfo>, Error> {
        let mut changes = self.watch().await?;
        let quiet =
            async { while let Ok(true) = tokio::time::timeout(QUIET, changes.next()).await {} };
        self.shared
            .settled
            .get_or_init(async || {
                let _ = tokio::time::timeout(LIST_PATIENCE, quiet).await;
            })
            .await;
        Ok(self.cards().tools().collect())
    }

    /// The cards that have come so far.
    #[must_use]
    pub fn cards(&self) -> Cards {
        lock(&self.shared.cards).clone()
    }

    /// Tells of every change of the cards from now on.
    pub async fn watch(&self) -> Result<Changes, Error> {
        let changes = Changes(self.shared.version.subscribe());
        let client = &self.shared.client;
        let namespace = &self.shared.namespace;
        self.shared
            .watching
            .get_or_try_init(async || {
                for any in
                    [AgentTopic::ServerCard { server: "+" }, AgentTopic::ToolCard { tool: "+" }]
                {
                    client.subscribe(card_topic(namespace, any), at_least_once()).await?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        Ok(changes)
    }

    /// Disconnects. Calls under way fail; they are not cancelled.
    pub async fn close(&self) {
        self.shared.client.disconnect().await;
    }
}

/// Tells when the cards have changed.
#[derive(Debug, Clone)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Waits for a change since the last call; `false` when no more will come.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok() && *self.0.borrow() != ENDED
    }
}

pub(crate) fn at_least_once() -> SubscriptionOptions {
    SubscriptionOptions::at(QoS::AtLeastOnce)
}

/// No code that holds such a lock can panic halfway through a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The version of cards to which no more come.
pub(crate) const ENDED: u64 = u64::MAX;
