//! The will (MQTT 5 §3.1.2.5).

use agentmq_codec::{PropertiesBuf, Property, PropertyId, ProtocolVersion, QoS, Will as WireWill};
use bytes::Bytes;

/// What the server publishes when this client vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic name.
    pub topic: String,
    /// Application message, at most 65 535 bytes.
    pub payload: Bytes,
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Everything but the Will Delay Interval. Ignored before version 5.
    pub properties: PropertiesBuf,
    /// Seconds that the server waits for the client to come back. Ignored before version 5.
    pub delay: u32,
}

impl Will {
    /// A will with QoS 0 that is not retained.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PropertiesBuf::new(),
            delay: 0,
        }
    }

    /// All properties as they stand in CONNECT.
    pub(crate) fn wire_properties(&self, version: ProtocolVersion) -> PropertiesBuf {
        if !version.is_v5() {
            return PropertiesBuf::new();
        }
        let mut properties = self.properties.clone();
        if self.delay > 0 {
            properties.push(Property::U32(PropertyId::WillDelayInterval, self.delay));
        }
        properties
    }

    pub(crate) fn wire<'a>(&'a self, properties: &'a PropertiesBuf) -> WireWill<'a> {
        WireWill {
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            payload: &self.payload,
            properties: properties.view(),
        }
    }
}
