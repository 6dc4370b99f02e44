//! What handles ask the connection's task to do.

use std::sync::Arc;

use agentmq_codec::{PropertiesBuf, ReasonCode, SubscriptionOptions};
use tokio::sync::oneshot;

use crate::inbox::Inbox;
use crate::session::SessionNumber;
use crate::{Error, Publish};

/// Where the answer goes. The asker may have stopped waiting; then nobody hears it.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

#[derive(Debug)]
pub(crate) enum Command {
    Publish(PublishRequest),
    Subscribe(SubscribeRequest),
    Unsubscribe { filters: Vec<String>, done: Reply<Vec<ReasonCode>> },
    Flush { done: Reply<()> },
    Disconnect { reason: ReasonCode, properties: PropertiesBuf, done: oneshot::Sender<()> },
}

/// A PUBLISH to send.
#[derive(Debug)]
pub(crate) struct PublishRequest {
    pub(crate) publish: Publish,
    /// The only session in which it may be sent.
    pub(crate) only_in: Option<SessionNumber>,
    pub(crate) done: Reply<ReasonCode>,
}

/// A SUBSCRIBE to send.
#[derive(Debug)]
pub(crate) struct SubscribeRequest {
    pub(crate) filters: Vec<(String, SubscriptionOptions)>,
    /// User Properties.
    pub(crate) properties: PropertiesBuf,
    /// A stream of its own for what matches; else the client's common stream.
    pub(crate) inbox: Option<Arc<Inbox>>,
    pub(crate) done: Reply<Vec<ReasonCode>>,
}
