//! The will of a client (MQTT 5 §3.1.2.5).

use agentmq_codec::{self as codec, Properties, PropertiesBuf, PropertyId, Publish, QoS};

use crate::message::expiry;
use crate::{Message, MessageParts, Time};

/// A will as the session keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    topic: Box<str>,
    payload: Box<[u8]>,
    properties: PropertiesBuf,
    qos: QoS,
    retain: bool,
    message_expiry: Option<u32>,
    /// Will Delay Interval, in seconds.
    pub delay: u32,
}

impl Will {
    /// The will of a CONNECT.
    pub fn new(will: &codec::Will<'_>) -> Self {
        Self {
            topic: will.topic.into(),
            payload: will.payload.into(),
            properties: will.properties.forwarded(),
            qos: will.qos,
            retain: will.retain,
            message_expiry: expiry(will.properties),
            delay: will.properties.integer(PropertyId::WillDelayInterval).unwrap_or(0),
        }
    }

    /// Will Topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Will QoS.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Will Payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What is forwarded of the Will Properties.
    pub fn properties(&self) -> Properties<'_> {
        self.properties.view()
    }

    /// Message Expiry Interval, in seconds.
    pub fn message_expiry(&self) -> Option<u32> {
        self.message_expiry
    }

    /// A will that was kept.
    pub fn restored(publish: &Publish<'_>, qos: QoS, delay: u32) -> Self {
        Self {
            topic: publish.topic.into(),
            payload: publish.payload.into(),
            properties: publish.properties.forwarded(),
            qos,
            retain: publish.retain,
            message_expiry: expiry(publish.properties),
            delay,
        }
    }

    /// Will Retain.
    pub fn retains(&self) -> bool {
        self.retain
    }

    /// The message to publish now. Its expiry counts from the publication.
    pub fn into_message(self, now: Time) -> Message {
        Message::new(&MessageParts {
            topic: &self.topic,
            payload: &self.payload,
            properties: self.properties(),
            qos: self.qos,
            retain: self.retain,
            expires_at: self.message_expiry.map(|secs| now.after_secs(secs)),
        })
    }
}
