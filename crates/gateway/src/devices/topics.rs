//! The connection to the devices, and who listens to which of their topics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_client::{
    Client, Error, Event, Message, Messages, Options, QoS, ReasonCode, SubscriptionOptions,
};
use tokio::sync::mpsc;

use super::tool::PAYLOAD_BYTES;

/// One connection for all devices. Calls that listen to the same topic share its subscription.
#[derive(Debug)]
pub(crate) struct Topics {
    pub(crate) client: Client,
    inner: Mutex<Inner>,
    /// Held while the broker is told, so that it and the table agree.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    topics: HashMap<String, Topic>,
    next: u64,
    away: bool,
}

#[derive(Debug, Default)]
struct Topic {
    listeners: HashMap<u64, mpsc::Sender<Message>>,
    /// What came last while somebody listened.
    last: Option<Message>,
}

/// A call that listens to a topic. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Listening {
    topics: Arc<Topics>,
    topic: String,
    number: u64,
    messages: mpsc::Receiver<Message>,
}

impl Topics {
    /// Connects to the broker. The second part is to be run by [`Topics::run`].
    pub(crate) async fn connect(mut options: Options) -> Result<(Arc<Self>, Messages), Error> {
        options.clean_start = true;
        options.session_expiry = 0;
        options.max_packet_size = (PAYLOAD_BYTES + LARGEST_HEAD) as u32;
        let (client, messages) = Box::pin(Client::connect(options)).await?;
        let (inner, telling) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok((Arc::new(Self { client, inner, telling }), messages))
    }

    /// Gives messages to who listens until the connection has ended for good.
    pub(crate) async fn run(&self, mut messages: Messages) -> Error {
        let mut events = self.client.events();
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.heard(&message),
                    None => return self.client.ending(),
                },
                Some(event) = events.next() => match event {
                    Event::Disconnected { .. } => {
                        let mut inner = self.lock();
                        inner.away = true;
                        // It may have changed since.
                        inner.topics.values_mut().for_each(|topic| topic.last = None);
                    }
                    Event::Connected | Event::Resumed => self.lock().away = false,
                    _ => {}
                },
            }
        }
    }

    /// Whether there is no connection now. What is published would be sent later, when nobody
    /// expects it any more.
    pub(crate) fn is_away(&self) -> bool {
        self.lock().away
    }

    fn heard(&self, message: &Message) {
        let mut inner = self.lock();
        let Some(topic) = inner.topics.get_mut(&message.topic) else { return };
        topic.last = Some(message.clone());
        for listener in topic.listeners.values() {
            if listener.try_send(message.clone()).is_err() {
                tracing::debug!(topic = message.topic, "dropped: too many messages wait");
            }
        }
    }

    /// Listens to a topic. What is known of it, the retained message among it, comes first.
    pub(crate) async fn listen(self: &Arc<Self>, topic: &str) -> Result<Listening, Error> {
        let (sender, messages) = mpsc::channel(WAITING);
        let telling = self.telling.lock().await;
        let (number, is_first) = {
            let mut inner = self.lock();
            inner.next += 1;
            let number = inner.next;
            let entry = inner.topics.entry(topic.to_owned()).or_default();
            if let Some(last) = &entry.last {
                let mut known = last.clone();
                known.retain = true;
                let _ = sender.try_send(known);
            }
            entry.listeners.insert(number, sender);
            (number, entry.listeners.len() == 1)
        };
        let topic = topic.to_owned();
        let listening = Listening { topics: self.clone(), topic, number, messages };
        if is_first {
            let options = SubscriptionOptions::at(QoS::AtLeastOnce);
            self.client.subscribe(listening.topic.clone(), options).await?;
        }
        drop(telling);
        Ok(listening)
    }

    /// Gives a subscription up, unless somebody listens again.
    async fn give_up(&self, topic: String) {
        let _telling = self.telling.lock().await;
        {
            let mut inner = self.lock();
            if inner.topics.get(&topic).is_none_or(|it| !it.listeners.is_empty()) {
                return;
            }
            inner.topics.remove(&topic);
        }
        match self.client.unsubscribe(topic).await {
            Ok(ReasonCode::Success) => {}
            other => tracing::debug!(?other, "not unsubscribed"),
        }
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// The next message; `retain` says that it was there before.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// Forgets what has come so far.
    pub(crate) fn forget(&mut self) {
        while self.messages.try_recv().is_ok() {}
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut inner = self.topics.lock();
        let Some(topic) = inner.topics.get_mut(&self.topic) else { return };
        topic.listeners.remove(&self.number);
        let is_last = topic.listeners.is_empty();
        drop(inner);
        if is_last && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (topics, topic) = (self.topics.clone(), std::mem::take(&mut self.topic));
            runtime.spawn(async move { topics.give_up(topic).await });
        }
    }
}

/// Messages of a topic that wait for a call. Further ones are dropped.
const WAITING: usize = 64;

/// Bytes of a PUBLISH beside its payload.
const LARGEST_HEAD: usize = 8 << 10;
