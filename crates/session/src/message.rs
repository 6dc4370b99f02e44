//! An application message that waits somewhere, and what is known of one delivery of it.

use std::sync::Arc;

use agentmq_codec::{Properties, PropertiesBuf, PropertyId, Publish, PublishHead, QoS};

use crate::Time;

/// An application message, shared by all that must still get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic name.
    pub topic: Box<str>,
    /// The payload.
    pub payload: Box<[u8]>,
    /// What is forwarded unaltered; see [`Properties::forwarded`].
    pub properties: PropertiesBuf,
    /// QoS as published.
    pub qos: QoS,
    /// RETAIN as published.
    pub retain: bool,
    /// When the Message Expiry Interval ends.
    pub expires_at: Option<Time>,
}

impl Message {
    /// What a queued message costs beside its bytes: two reference counts, pointers, lengths.
    pub const OVERHEAD: usize = 160;

    /// The message of a PUBLISH that arrived at `now`. `topic` is given apart, since an alias may
    /// have stood for it.
    pub fn from_publish(publish: &Publish<'_>, topic: &str, now: Time) -> Self {
        Self {
            topic: topic.into(),
            payload: publish.payload.into(),
            properties: publish.properties.forwarded(),
            qos: publish.qos,
            retain: publish.retain,
            expires_at: expiry(publish.properties).map(|secs| now.after_secs(secs)),
        }
    }

    /// A message of the broker's own.
    pub fn plain(topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            properties: PropertiesBuf::new(),
            qos,
            retain,
            expires_at: None,
        }
    }

    /// Bytes that the message takes in a queue.
    pub fn size(&self) -> usize {
        self.topic.len()
            + self.payload.len()
            + self.properties.view().as_bytes().len()
            + Self::OVERHEAD
    }

    /// Whether its time has run out: it must not be delivered any more [MQTT-3.3.2-5].
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|deadline| deadline <= now)
    }

    /// What remains of the Message Expiry Interval, in seconds [MQTT-3.3.2-6].
    pub fn remaining_expiry(&self, now: Time) -> Option<u32> {
        self.expires_at.map(|deadline| deadline.secs_from(now))
    }

    /// The head of a PUBLISH that delivers the message now; packet id, DUP and alias are to be
    /// filled in.
    pub fn head<'a>(&'a self, delivery: &'a Delivery, now: Time) -> PublishHead<'a> {
        PublishHead {
            dup: false,
            qos: delivery.qos,
            retain: delivery.retain,
            topic: &self.topic,
            packet_id: 0,
            topic_alias: None,
            message_expiry: self.remaining_expiry(now),
            subscription_identifiers: delivery.subscription_ids(),
            properties: self.properties.view(),
            payload_len: self.payload.len(),
        }
    }
}

/// The Message Expiry Interval of a PUBLISH or a will, in seconds.
pub(crate) fn expiry(properties: Properties<'_>) -> Option<u32> {
    properties.integer(PropertyId::MessageExpiryInterval)
}

/// Subscription Identifiers of one delivery; `None` when no matching subscription has any.
pub type SubscriptionIds = Option<Arc<[u32]>>;

/// One message on its way to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// QoS of this delivery: the lower of published and granted.
    pub qos: QoS,
    /// RETAIN as this client sees it.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub ids: SubscriptionIds,
    /// The shared subscription it came through: if the client vanishes before it acknowledges,
    /// another member gets the message.
    pub group: Option<u32>,
    /// Its place in the session's line, where that must survive a crash; else 0.
    pub ordinal: u64,
}

impl Delivery {
    /// The Subscription Identifiers as a slice.
    pub fn subscription_ids(&self) -> &[u32] {
        self.ids.as_deref().unwrap_or_default()
    }
}
