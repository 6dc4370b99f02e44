//! A message that arrived.

use agentmq_codec::{PropertiesBuf, PropertyId, QoS};
use bytes::Bytes;

/// A message that arrived, independent of the connection's buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic name, aliases resolved.
    pub topic: String,
    /// Application message.
    pub payload: Bytes,
    /// Quality of Service of this delivery.
    pub qos: QoS,
    /// RETAIN: with default subscription options, true for a message that was stored before the
    /// subscription.
    pub retain: bool,
    /// A repeated delivery attempt; does not prove that the first one arrived.
    pub dup: bool,
    /// All properties, in the order they were sent.
    pub properties: PropertiesBuf,
    pub(crate) delivery: Option<Delivery>,
}

/// What is needed to acknowledge a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    /// Which connection of the client brought it.
    pub(crate) epoch: u64,
}

impl Message {
    /// The Response Topic.
    pub fn response_topic(&self) -> Option<&str> {
        self.properties.view().text(PropertyId::ResponseTopic)
    }

    /// The Correlation Data.
    pub fn correlation_data(&self) -> Option<&[u8]> {
        self.properties.view().binary(PropertyId::CorrelationData)
    }

    /// The Content Type.
    pub fn content_type(&self) -> Option<&str> {
        self.properties.view().text(PropertyId::ContentType)
    }

    /// What remains of the Message Expiry Interval, in seconds.
    pub fn expiry(&self) -> Option<u32> {
        self.properties.view().integer(PropertyId::MessageExpiryInterval)
    }

    /// The User Properties, in order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.view().user_properties()
    }
}
