//! A CONNECT under construction.

use std::cell::RefCell;
use std::rc::Rc;

use agentmq_codec::{Connect, PropertiesBuf, Property, PropertyId as P, ProtocolVersion, Will};

use super::got::qos;
use super::{Client, Got, World};

/// What a client says of itself.
pub(crate) struct Connecting<'a> {
    world: Rc<RefCell<World>>,
    client_id: &'a str,
    version: ProtocolVersion,
    clean_start: bool,
    keep_alive: u16,
    username: Option<&'a str>,
    properties: PropertiesBuf,
    will: Option<WillParts<'a>>,
    acks: bool,
    behind: Vec<u8>,
}

struct WillParts<'a> {
    topic: &'a str,
    payload: &'a str,
    qos: u8,
    retain: bool,
    properties: PropertiesBuf,
}

impl<'a> Connecting<'a> {
    pub(crate) fn new(world: Rc<RefCell<World>>, client_id: &'a str) -> Self {
        Self {
            world,
            client_id,
            version: ProtocolVersion::V5,
            clean_start: true,
            keep_alive: 0,
            username: None,
            properties: PropertiesBuf::new(),
            will: None,
            acks: true,
            behind: Vec::new(),
        }
    }

    pub(crate) fn version(mut self, version: ProtocolVersion) -> Self {
        self.version = version;
        self
    }

    /// MQTT 3.1.1; with [`Self::resuming`], Clean Session 0.
    pub(crate) fn v311(self) -> Self {
        self.version(ProtocolVersion::V311)
    }

    /// Clean Start 0.
    pub(crate) fn resuming(mut self) -> Self {
        self.clean_start = false;
        self
    }

    /// Clean Start 1.
    pub(crate) fn clean(mut self) -> Self {
        self.clean_start = true;
        self
    }

    /// Session Expiry Interval in seconds.
    pub(crate) fn expiry(self, secs: u32) -> Self {
        self.with(Property::U32(P::SessionExpiryInterval, secs))
    }

    pub(crate) fn receive_maximum(self, count: u16) -> Self {
        self.with(Property::U16(P::ReceiveMaximum, count))
    }

    pub(crate) fn maximum_packet_size(self, bytes: u32) -> Self {
        self.with(Property::U32(P::MaximumPacketSize, bytes))
    }

    pub(crate) fn topic_alias_maximum(self, count: u16) -> Self {
        self.with(Property::U16(P::TopicAliasMaximum, count))
    }

    /// Enhanced authentication.
    pub(crate) fn method(self, method: &str, data: &str) -> Self {
        self.with(Property::Text(P::AuthenticationMethod, method))
            .with(Property::Binary(P::AuthenticationData, data.as_bytes()))
    }

    pub(crate) fn with(mut self, property: Property<'_>) -> Self {
        self.properties.push(property);
        self
    }

    pub(crate) fn keep_alive(mut self, secs: u16) -> Self {
        self.keep_alive = secs;
        self
    }

    pub(crate) fn username(mut self, name: &'a str) -> Self {
        self.username = Some(name);
        self
    }

    /// A will with QoS 0.
    pub(crate) fn will(mut self, topic: &'a str, payload: &'a str) -> Self {
        let properties = PropertiesBuf::new();
        self.will = Some(WillParts { topic, payload, qos: 0, retain: false, properties });
        self
    }

    pub(crate) fn will_qos(mut self, level: u8) -> Self {
        self.will.as_mut().expect("a will first").qos = level;
        self
    }

    pub(crate) fn will_retain(mut self) -> Self {
        self.will.as_mut().expect("a will first").retain = true;
        self
    }

    pub(crate) fn will_delay(self, secs: u32) -> Self {
        self.will_with(Property::U32(P::WillDelayInterval, secs))
    }

    pub(crate) fn will_with(mut self, property: Property<'_>) -> Self {
        self.will.as_mut().expect("a will first").properties.push(property);
        self
    }

    /// The test acknowledges publications itself.
    pub(crate) fn by_hand(mut self) -> Self {
        self.acks = false;
        self
    }

    /// Packets sent right behind CONNECT, without waiting for the CONNACK.
    pub(crate) fn followed_by(mut self, packets: &[u8]) -> Self {
        self.behind.extend_from_slice(packets);
        self
    }

    /// The encoded CONNECT.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let will = self.will.as_ref().map(|will| Will {
            qos: qos(will.qos),
            retain: will.retain,
            topic: will.topic,
            payload: will.payload.as_bytes(),
            properties: will.properties.view(),
        });
        let connect = Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive: self.keep_alive,
            client_id: self.client_id,
            will,
            username: self.username,
            password: None,
            properties: self.properties.view(),
        };
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        bytes
    }

    /// Sends CONNECT; the answer is the first packet of [`Client::packets`].
    pub(crate) fn attempt(self) -> Client {
        let mut bytes = self.bytes();
        bytes.extend_from_slice(&self.behind);
        let line = self.world.borrow_mut().open(self.version, self.acks);
        self.world.borrow_mut().send(line, &bytes);
        Client::new(self.world, line)
    }

    /// Connects and expects success; tells Session Present too.
    pub(crate) fn connect_present(self) -> (Client, bool) {
        let client = self.attempt();
        match client.next() {
            Some(Got::ConnAck { code: 0, session_present, .. }) => (client, session_present),
            other => panic!("CONNACK with success expected, got {other:?}"),
        }
    }

    /// Connects and expects success.
    pub(crate) fn connect(self) -> Client {
        self.connect_present().0
    }

    /// Connects and expects a refusal with this code, and the end of the connection.
    pub(crate) fn refused(self) -> u8 {
        let client = self.attempt();
        assert!(client.is_closed(), "[MQTT-3.1.4-5]: a refused connection is closed");
        match client.next() {
            Some(Got::ConnAck { code, session_present: false, .. }) if code != 0 => code,
            other => panic!("CONNACK with an error expected, got {other:?}"),
        }
    }
}
