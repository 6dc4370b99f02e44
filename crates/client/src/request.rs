//! Request and response (MQTT 5 §4.10): one response topic per client, correlation by number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use agentmq_codec::{QoS, ReasonCode, SubscriptionOptions};
use agentmq_topic::ReplyTopic;
use tokio::sync::{OnceCell, Semaphore, oneshot};

use crate::reconnect::dice;
use crate::{Client, Error, Message, Publish};

/// Requests that wait for their answer.
#[derive(Debug)]
pub(crate) struct Requests {
    /// `None` after the end.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Message>>>>,
    topic: OnceLock<String>,
    subscribed: OnceCell<()>,
    next: AtomicU64,
    /// Bounds `waiting`.
    places: Semaphore,
}

impl Requests {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            waiting: Mutex::new(Some(HashMap::new())),
            topic: OnceLock::new(),
            subscribed: OnceCell::new(),
            // Answers to requests of an earlier life of this client id are not taken for ours.
            next: AtomicU64::new(dice()),
            places: Semaphore::new(max),
        }
    }

    /// Whether messages for this topic are answers.
    pub(crate) fn expects(&self, topic: &str) -> bool {
        self.topic.get().is_some_and(|expected| expected == topic)
    }

    /// Gives an answer to who waits for it. A late one is dropped.
    pub(crate) fn answer(&self, message: Message) {
        let number = message.correlation_data().and_then(|data| data.try_into().ok());
        let Some(number) = number.map(u64::from_be_bytes) else { return };
        let waiter = self.lock().as_mut().and_then(|waiting| waiting.remove(&number));
        if let Some(waiter) = waiter {
            let _ = waiter.send(message);
        }
    }

    /// Ends everything that waits.
    pub(crate) fn close(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Message>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a request when its caller stops waiting.
struct Waiting<'a>(&'a Requests, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.lock().as_mut() {
            waiting.remove(&self.1);
        }
    }
}

impl Client {
    /// Publishes a request with QoS 1 and waits for the answer.
    pub async fn request(
        &self,
        topic: impl Into<String>,
        payload: impl Into<bytes::Bytes>,
        timeout: Duration,
    ) -> Result<Message, Error> {
        self.request_with(Publish::new(topic, payload).qos(QoS::AtLeastOnce), timeout).await
    }

    /// Publishes a request, to which a response topic and correlation data are added, and waits
    /// for the answer. The first request subscribes to the response topic. A broker's word that
    /// nobody subscribes to the topic (QoS 1 and 2) is an [`Error::NoResponder`] at once.
    pub async fn request_with(
        &self,
        publish: Publish,
        timeout: Duration,
    ) -> Result<Message, Error> {
        if !self.options().version.is_v5() {
            return Err(Error::Unsupported("request and response before MQTT 5"));
        }
        match tokio::time::timeout(timeout, self.exchange(publish)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout { what: "answer", after: timeout }),
        }
    }

    async fn exchange(&self, publish: Publish) -> Result<Message, Error> {
        let requests = self.requests();
        let topic = requests.topic.get_or_init(|| self.response_topic());
        requests
            .subscribed
            .get_or_try_init(async || {
                let options = SubscriptionOptions::at(QoS::AtLeastOnce);
                self.subscribe(topic.clone(), options).await.map(drop)
            })
            .await?;
        let _place = requests.places.acquire().await.map_err(|_| self.ending())?;
        let number = requests.next.fetch_add(1, Ordering::Relaxed);
        let (waiter, answer) = oneshot::channel();
        requests.lock().as_mut().ok_or_else(|| self.ending())?.insert(number, waiter);
        let _waiting = Waiting(requests, number);
        let publish = publish.response_topic(topic).correlation_data(&number.to_be_bytes());
        let topic = publish.topic.clone();
        let ack = self.publish(publish).await?;
        let refused = async {
            match ack.await {
                // Nobody has the request: nobody will answer.
                Ok(ReasonCode::NoMatchingSubscribers) => Error::NoResponder { topic },
                Ok(_) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| self.ending()),
            error = refused => Err(error),
        }
    }

    /// A topic for answers to this client: the one of the options, else one below the server's
    /// Response Information, else `response/` and the client id.
    pub fn response_topic(&self) -> String {
        if let Some(topic) = &self.options().response_topic {
            return topic.clone();
        }
        let server = self.server();
        match &server.response_information {
            // Whoever knows the rest of it may answer, and nobody can guess it.
            Some(prefix) if ReplyTopic::is_meant(prefix) => {
                format!("{}/{}", prefix.trim_end_matches('/'), random_token())
            }
            Some(prefix) => format!("{}/{}", prefix.trim_end_matches('/'), server.client_id),
            None => format!("response/{}", server.client_id),
        }
    }
}

/// 128 random bits as text: a name that nobody can guess.
#[must_use]
pub fn random_token() -> String {
    let mut bytes = [0; 16];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).expect("the system gives random bytes once it has started");
    format!("{:032x}", u128::from_ne_bytes(bytes))
}
