//! A PUBLISH under construction.

use agentmq_codec::{PropertiesBuf, Property, PropertyId as P, PublishHead};

use super::Client;
use super::got::qos;

/// What a client publishes.
pub(crate) struct Publishing<'c> {
    client: &'c Client,
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    dup: bool,
    id: Option<u16>,
    alias: Option<u16>,
    properties: PropertiesBuf,
}

impl<'c> Publishing<'c> {
    pub(crate) fn new(client: &'c Client, topic: &str, payload: &[u8]) -> Self {
        Self {
            client,
            topic: topic.into(),
            payload: payload.into(),
            qos: 0,
            retain: false,
            dup: false,
            id: None,
            alias: None,
            properties: PropertiesBuf::new(),
        }
    }

    pub(crate) fn qos(mut self, level: u8) -> Self {
        self.qos = level;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// Uses this packet identifier instead of the next one.
    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = Some(id);
        self
    }

    pub(crate) fn alias(mut self, alias: u16) -> Self {
        self.alias = Some(alias);
        self
    }

    pub(crate) fn expiry(self, secs: u32) -> Self {
        self.with(Property::U32(P::MessageExpiryInterval, secs))
    }

    pub(crate) fn with(mut self, property: Property<'_>) -> Self {
        self.properties.push(property);
        self
    }

    /// Sends it; returns its packet identifier.
    pub(crate) fn send(self) -> u16 {
        let id = match (self.qos, self.id) {
            (0, _) => 0,
            (_, Some(id)) => id,
            _ => self.client.next_packet_id(),
        };
        let mut bytes = Vec::new();
        PublishHead {
            dup: self.dup,
            qos: qos(self.qos),
            retain: self.retain,
            topic: &self.topic,
            packet_id: id,
            topic_alias: self.alias,
            message_expiry: None,
            subscription_identifiers: &[],
            properties: self.properties.view(),
            payload_len: self.payload.len(),
        }
        .encode(self.client.version(), &mut bytes);
        bytes.extend_from_slice(&self.payload);
        self.client.send(&bytes);
        id
    }
}
