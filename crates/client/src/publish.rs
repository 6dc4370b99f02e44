//! A message to publish.

use agentmq_codec::{PropertiesBuf, Property, PropertyId, ProtocolVersion, PublishHead, QoS};
use bytes::Bytes;

/// A message to publish, with QoS 0 and not retained unless said otherwise. Everything from
/// [`Publish::expiry`] on needs MQTT 5 and is left out on older connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry: Option<u32>,
    pub(crate) properties: PropertiesBuf,
}

impl Publish {
    /// A message for `topic`.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            expiry: None,
            properties: PropertiesBuf::new(),
        }
    }

    /// Replaces the payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Sets the Quality of Service.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets the RETAIN flag.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the Message Expiry Interval in seconds.
    #[must_use]
    pub fn expiry(mut self, seconds: u32) -> Self {
        self.expiry = Some(seconds);
        self
    }

    /// Adds a User Property.
    #[must_use]
    pub fn user_property(self, name: &str, value: &str) -> Self {
        self.property(Property::Pair(name, value))
    }

    /// Sets the Response Topic.
    #[must_use]
    pub fn response_topic(self, topic: &str) -> Self {
        self.property(Property::Text(PropertyId::ResponseTopic, topic))
    }

    /// Sets the Correlation Data.
    #[must_use]
    pub fn correlation_data(self, data: &[u8]) -> Self {
        self.property(Property::Binary(PropertyId::CorrelationData, data))
    }

    /// Sets the Content Type.
    #[must_use]
    pub fn content_type(self, kind: &str) -> Self {
        self.property(Property::Text(PropertyId::ContentType, kind))
    }

    /// Declares the payload to be UTF-8 text (Payload Format Indicator 1).
    #[must_use]
    pub fn text(self) -> Self {
        self.property(Property::Byte(PropertyId::PayloadFormatIndicator, 1))
    }

    /// Adds any other property of PUBLISH; Topic Alias, Subscription Identifier and Message
    /// Expiry Interval are not among them, since the client itself writes those.
    #[must_use]
    pub fn property(mut self, property: Property<'_>) -> Self {
        self.properties.push(property);
        self
    }

    /// Everything but the payload, ready to encode.
    pub(crate) fn head<'a>(
        &'a self,
        packet_id: u16,
        dup: bool,
        (topic, topic_alias): (&'a str, Option<u16>),
    ) -> PublishHead<'a> {
        PublishHead {
            dup,
            qos: self.qos,
            retain: self.retain,
            topic,
            packet_id,
            topic_alias,
            message_expiry: self.expiry,
            subscription_identifiers: &[],
            properties: self.properties.view(),
            payload_len: self.payload.len(),
        }
    }

    /// Size of the packet in bytes when the topic is written in full together with an alias, the
    /// longest form it can take.
    pub(crate) fn longest_packet(&self, version: ProtocolVersion) -> usize {
        self.head(1, false, (&self.topic, Some(1))).packet_len(version)
    }
}
