//! The handles that an application holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_codec::{PropertiesBuf, ReasonCode, SubscriptionOptions, check_topic_name};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use crate::command::{Command, PublishRequest, SubscribeRequest};
use crate::driver::{Driver, open_first};
use crate::ending::Ending;
use crate::event::EVENT_CAPACITY;
use crate::inbox::{ConnectionSignal, Inbox};
use crate::incoming::Incoming;
use crate::options::MAX_STRING;
use crate::reconnect::dice;
use crate::request::Requests;
use crate::routes::Routes;
use crate::session::{Session, SessionNumber};
use crate::subscription::MAX_IDENTIFIER;
use crate::{
    Ack, Acknowledge, Error, Event, Events, Message, Options, Publish, ServerLimits, Subscription,
};

/// A handle to one connection, cheap to clone. When all clones and [`Messages`] are gone, what is
/// queued is sent and the connection ends with DISCONNECT.
///
/// ```no_run
/// use agentmq_client::{Client, Options, Publish, QoS, SubscriptionOptions};
///
/// # async fn example() -> Result<(), agentmq_client::Error> {
/// let mut options = Options::new("mqtt://127.0.0.1:1883")?;
/// options.client_id = "thermostat-1".into();
/// options.session_expiry = 3600; // the broker keeps our messages for an hour while we are away
/// let (client, mut messages) = Client::connect(options).await?;
/// client.subscribe("room/1/set", SubscriptionOptions::at(QoS::AtLeastOnce)).await?;
/// let ack = client.publish(Publish::new("room/1/is", "21").qos(QoS::AtLeastOnce)).await?;
/// ack.await?; // the broker has it; without this line the next one need not wait
/// while let Some(message) = messages.next().await {
///     println!("{} {:?}", message.topic, message.payload);
/// }
/// Err(client.ending()) // broken connections are mended unseen; this one is over
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
struct Shared {
    options: Arc<Options>,
    signal: Arc<ConnectionSignal>,
    requests: Arc<Requests>,
    events: broadcast::WeakSender<Event>,
    server: watch::Receiver<Arc<ServerLimits>>,
    /// The number of the session; see [`Session`].
    session: Arc<AtomicU64>,
    stop: Arc<Notify>,
    ending: Ending,
}

/// The messages of every subscription that has no stream of its own. Bounded: when it is full the
/// socket is not read, so **await an [`Ack`] in another task than the one that takes messages**,
/// or take messages while waiting. Dropping it lets further messages be acknowledged and forgotten;
/// those queued are left unacknowledged, so that a lasting session gets them again.
#[derive(Debug)]
pub struct Messages {
    inbox: Arc<Inbox>,
    /// Keeps the connection up.
    _commands: mpsc::Sender<Command>,
}

impl Client {
    /// Connects and starts the task that owns the connection on the current Tokio runtime. The
    /// first connection is tried once unless [`crate::Reconnect::first_connection`] is set.
    pub async fn connect(options: Options) -> Result<(Self, Messages), Error> {
        options.check()?;
        let options = Arc::new(options);
        let mut attempt = 0;
        let opened = loop {
            let error = match open_first(&options).await {
                Ok(opened) => break opened,
                Err(error) => error,
            };
            let policy = options.reconnect;
            let again = policy.first_connection && error.is_transient();
            match policy.pause(attempt, dice()).filter(|_| again) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
            attempt += 1;
        };
        let signal = Arc::new(ConnectionSignal::default());
        let inbox = new_inbox(&options, &signal);
        let (commands, queue) = mpsc::channel(options.command_capacity);
        let (events, _) = broadcast::channel(EVENT_CAPACITY);
        let (limits, server) = watch::channel(Arc::new(opened.1.limits.clone()));
        let requests = Arc::new(Requests::new(options.max_requests));
        let session = Session::new(options.version);
        let (stop, ending) = (Arc::new(Notify::new()), Ending::default());
        let shared = Shared {
            options: options.clone(),
            signal: signal.clone(),
            requests: requests.clone(),
            events: events.downgrade(),
            server,
            session: session.number.clone(),
            stop: stop.clone(),
            ending: ending.clone(),
        };
        let driver = Driver {
            session,
            // Subscriptions of an earlier life must not be taken for ours.
            next_identifier: if options.clean_start {
                1
            } else {
                dice() as u32 % MAX_IDENTIFIER + 1
            },
            options,
            commands: queue,
            parked: None,
            incoming: Incoming::default(),
            routes: Routes::new(inbox.clone()),
            unanswered: std::collections::HashMap::new(),
            pings: std::collections::VecDeque::new(),
            signal,
            requests,
            events,
            server: limits,
            stop,
            ending,
            epoch: 0,
        };
        tokio::spawn(driver.run(opened));
        let client = Self { shared: Arc::new(shared), commands: commands.clone() };
        Ok((client, Messages { inbox, _commands: commands }))
    }

    /// Queues a publication, waiting while the queue is full. The [`Ack`] tells the outcome.
    pub async fn publish(&self, publish: Publish) -> Result<Ack, Error> {
        self.publish_only_in(publish, None).await
    }

    /// The same for what is of no use outside a session ([`Client::session`]): once the server has
    /// lost that one, it is not sent anew, and the [`Ack`] is [`Error::SessionLost`]. The server
    /// may have taken it before and not said so.
    pub async fn publish_in(&self, session: SessionNumber, publish: Publish) -> Result<Ack, Error> {
        self.publish_only_in(publish, Some(session)).await
    }

    /// The session that the server has for us now, as far as we know.
    pub fn session(&self) -> SessionNumber {
        SessionNumber(self.shared.session.load(Ordering::Relaxed))
    }

    async fn publish_only_in(
        &self,
        publish: Publish,
        only_in: Option<SessionNumber>,
    ) -> Result<Ack, Error> {
        check_topic(&publish.topic)?;
        let (done, answer) = oneshot::channel();
        self.send(Command::Publish(PublishRequest { publish, only_in, done })).await?;
        Ok(Ack { answer, ending: self.shared.ending.clone() })
    }

    /// Waits until the server has dealt with everything sent before, by a PINGREQ: without that a
    /// publication with QoS 0 may be refused, or lost with the connection, unseen.
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Flush { done }).await?;
        answer.await.unwrap_or_else(|_| Err(self.ending()))
    }

    /// Subscribes; messages arrive in [`Messages`]. Returns the QoS granted as reason code; a
    /// refusal is an [`Error::Rejected`].
    pub async fn subscribe(
        &self,
        filter: impl Into<String>,
        options: SubscriptionOptions,
    ) -> Result<ReasonCode, Error> {
        let reasons = self.subscribe_all([(filter.into(), options)], PropertiesBuf::new()).await?;
        Ok(reasons.first().copied().unwrap_or(ReasonCode::UnspecifiedError))
    }

    /// Subscribes to several filters with one packet, with User Properties. Returns a reason code
    /// for each; with more than one filter, refusals stand among them.
    pub async fn subscribe_all(
        &self,
        filters: impl IntoIterator<Item = (String, SubscriptionOptions)>,
        properties: PropertiesBuf,
    ) -> Result<Vec<ReasonCode>, Error> {
        self.subscribe_to(filters.into_iter().collect(), properties, None).await
    }

    /// Subscribes with a stream of its own. Before MQTT 5, and with servers without Subscription
    /// Identifiers, a message that matches the filters of two streams may arrive in both twice.
    pub async fn subscription(
        &self,
        filter: impl Into<String>,
        options: SubscriptionOptions,
    ) -> Result<Subscription, Error> {
        let filter = filter.into();
        let inbox = new_inbox(&self.shared.options, &self.shared.signal);
        let filters = vec![(filter.clone(), options)];
        let reasons = self.subscribe_to(filters, PropertiesBuf::new(), Some(inbox.clone())).await?;
        let granted = reasons.first().copied().unwrap_or(ReasonCode::UnspecifiedError);
        Ok(Subscription { inbox, filter, granted })
    }

    async fn subscribe_to(
        &self,
        filters: Vec<(String, SubscriptionOptions)>,
        properties: PropertiesBuf,
        inbox: Option<Arc<Inbox>>,
    ) -> Result<Vec<ReasonCode>, Error> {
        check_filters(filters.iter().map(|(filter, _)| filter.as_str()))?;
        let (done, answer) = oneshot::channel();
        let request = SubscribeRequest { filters, properties, inbox, done };
        self.send(Command::Subscribe(request)).await?;
        answer.await.unwrap_or_else(|_| Err(self.ending()))
    }

    /// Ends a subscription. Messages already on their way still arrive.
    pub async fn unsubscribe(&self, filter: impl Into<String>) -> Result<ReasonCode, Error> {
        let filters = vec![filter.into()];
        check_filters(filters.iter().map(String::as_str))?;
        let what = filters.concat();
        let (done, answer) = oneshot::channel();
        self.send(Command::Unsubscribe { filters, done }).await?;
        let reasons = answer.await.unwrap_or_else(|_| Err(self.ending()))?;
        match reasons.first() {
            Some(&reason) if reason.is_error() => Err(Error::Rejected { what, reason, text: None }),
            reason => Ok(reason.copied().unwrap_or(ReasonCode::Success)),
        }
    }

    /// Sends what is queued and DISCONNECT, and ends the client. Publications without an
    /// acknowledgement then end with [`Error::Closed`].
    pub async fn disconnect(&self) {
        self.disconnect_with(ReasonCode::NORMAL_DISCONNECTION, PropertiesBuf::new()).await;
    }

    /// The same with a reason code and properties of one's own;
    /// [`ReasonCode::DisconnectWithWill`] has the will published.
    pub async fn disconnect_with(&self, reason: ReasonCode, properties: PropertiesBuf) {
        let (done, finished) = oneshot::channel();
        // Without a connection the queue is not read: this ends the wait for one.
        self.shared.stop.notify_one();
        if self.send(Command::Disconnect { reason, properties, done }).await.is_ok() {
            let _ = finished.await;
        }
    }

    /// What the server said about itself when last connected.
    pub fn server(&self) -> Arc<ServerLimits> {
        self.shared.server.borrow().clone()
    }

    /// Why everything fails since the client has ended: [`Error::Ended`] with the cause, or
    /// [`Error::Closed`] by its own wish.
    pub fn ending(&self) -> Error {
        self.shared.ending.error()
    }

    /// What happens to the connection from now on.
    pub fn events(&self) -> Events {
        match self.shared.events.upgrade() {
            Some(events) => Events(events.subscribe()),
            // The client is closed: a stream that has ended.
            None => Events(broadcast::channel(1).1),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.shared.requests
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| self.ending())
    }
}

impl Messages {
    /// The next message; `None` when the client is closed and everything is taken. Cancel safe.
    pub async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| self.inbox.poll_take(cx)).await
    }

    /// Acknowledges a message, with [`crate::Acknowledge::Manual`].
    pub fn ack(&self, message: &Message) {
        self.reject(message, ReasonCode::Success);
    }

    /// Acknowledges a message with another reason code; 0x80 and above tells the server that the
    /// message was not processed.
    pub fn reject(&self, message: &Message, reason: ReasonCode) {
        if let Some(delivery) = message.delivery {
            self.inbox.signal().taken(delivery, reason);
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.inbox.abandon(false);
    }
}

fn new_inbox(options: &Options, signal: &Arc<ConnectionSignal>) -> Arc<Inbox> {
    let when_taken = options.acknowledge == Acknowledge::WhenTaken;
    Inbox::new(options.queue_capacity, when_taken, signal.clone())
}

fn check_topic(topic: &str) -> Result<(), Error> {
    if topic.is_empty() || topic.len() > MAX_STRING {
        return Err(Error::Invalid("a topic has 1 to 65535 bytes".into()));
    }
    if topic.contains(['+', '#']) {
        return Err(Error::Invalid(format!("topic {topic:?} has a wildcard: only filters may")));
    }
    check_topic_name(topic.as_bytes())
        .map(drop)
        .map_err(|error| Error::Invalid(format!("topic {topic:?}: {}", error.what)))
}

fn check_filters<'f>(filters: impl Iterator<Item = &'f str>) -> Result<(), Error> {
    let mut any = false;
    for filter in filters {
        any = true;
        if filter.is_empty() || filter.len() > MAX_STRING || filter.contains('\0') {
            let what = "a filter has 1 to 65535 bytes and no U+0000";
            return Err(Error::Invalid(format!("filter {filter:?}: {what}")));
        }
    }
    if any { Ok(()) } else { Err(Error::Invalid("no filter given".into())) }
}
