//! How to connect.

use std::time::Duration;

use agentmq_codec::{PropertiesBuf, ProtocolVersion};

use crate::{Dial, Endpoint, Error, Reconnect, Tls, Will};

/// Everything that [`crate::Client::connect`] needs. Start from [`Options::new`] and change fields.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the broker is.
    pub endpoint: Endpoint,
    /// How to get there, if not by that address, which is then a name for people.
    pub dial: Option<Dial>,
    /// Protocol version; MQTT 5 by default.
    pub version: ProtocolVersion,
    /// Client identifier; empty lets the server choose (MQTT 5 and 3.1.1 only).
    pub client_id: String,
    /// User Name.
    pub username: Option<String>,
    /// Password: any bytes.
    pub password: Option<Vec<u8>>,
    /// Start without the session that the server may hold. Applies to the first connection; when
    /// this client reconnects it always asks for its session.
    pub clean_start: bool,
    /// Seconds that the server keeps the session after the connection; `u32::MAX` never expires.
    /// Before MQTT 5 only zero or not zero matters.
    pub session_expiry: u32,
    /// Interval of PINGREQ when idle; zero turns it off. The server may demand another one.
    pub keep_alive: Duration,
    /// How long an answer to PINGREQ may take before the peer counts as dead.
    pub ping_timeout: Duration,
    /// How long name resolution, transport, TLS and CONNACK may take together.
    pub connect_timeout: Duration,
    /// What the server publishes when this client vanishes.
    pub will: Option<Will>,
    /// User Properties of CONNECT (MQTT 5).
    pub properties: PropertiesBuf,
    /// Unacknowledged QoS 1 and 2 messages that the server may send (MQTT 5).
    pub receive_maximum: u16,
    /// Unacknowledged QoS 1 and 2 messages that we send; the server's Receive Maximum may lower it.
    pub max_in_flight: u16,
    /// Largest packet accepted, in bytes; a larger one ends the connection with 0x95.
    pub max_packet_size: u32,
    /// Highest topic alias that the server may use (MQTT 5).
    pub topic_alias_maximum: u16,
    /// How many topics we send by alias, if the server allows; 0 turns it off.
    pub outgoing_aliases: u16,
    /// Messages that wait in [`crate::Messages`] and in each [`crate::Subscription`]. When one is
    /// full, the socket is not read until its consumer takes messages.
    pub queue_capacity: usize,
    /// Commands (publish, subscribe …) that wait for the connection; a caller waits beyond it.
    pub command_capacity: usize,
    /// When messages are acknowledged.
    pub acknowledge: Acknowledge,
    /// What happens when the connection breaks.
    pub reconnect: Reconnect,
    /// Repeat the subscriptions when the server lost the session.
    pub resubscribe: bool,
    /// TLS settings for `mqtts` and `wss`.
    pub tls: Tls,
    /// Where answers to [`crate::Client::request`] arrive; by default derived from the server's
    /// Response Information (below `$reply/`, a topic that nobody can guess) or the client id.
    pub response_topic: Option<String>,
    /// Requests that may wait for an answer at once; a further one waits.
    pub max_requests: usize,
}

/// When a QoS 1 or 2 message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledge {
    /// When the application takes it from the stream.
    #[default]
    WhenTaken,
    /// When the application calls `ack`.
    Manual,
}

impl Options {
    /// Defaults for a broker at `url`, whose user and password, if any, are taken over.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self::for_endpoint(Endpoint::parse(url)?))
    }

    /// Defaults for an endpoint.
    pub fn for_endpoint(mut endpoint: Endpoint) -> Self {
        let username = endpoint.username.take();
        let password = endpoint.password.take().map(String::into_bytes);
        Self {
            endpoint,
            dial: None,
            version: ProtocolVersion::V5,
            client_id: String::new(),
            username,
            password,
            clean_start: true,
            session_expiry: 0,
            keep_alive: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            will: None,
            properties: PropertiesBuf::new(),
            receive_maximum: 1000,
            max_in_flight: 1000,
            max_packet_size: 64 << 20,
            topic_alias_maximum: 64,
            outgoing_aliases: 0,
            queue_capacity: 1024,
            command_capacity: 256,
            acknowledge: Acknowledge::WhenTaken,
            reconnect: Reconnect::default(),
            resubscribe: true,
            tls: Tls::default(),
            response_topic: None,
            max_requests: 1024,
        }
    }

    /// Checks what the server would otherwise answer with a closed connection.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let invalid = |what: &str| Err(Error::Invalid(what.to_owned()));
        if self.client_id.is_empty() {
            if self.version == ProtocolVersion::V31 {
                return invalid("MQTT 3.1 needs a client id of 1 to 23 characters");
            }
            if self.version == ProtocolVersion::V311 && self.session_expiry > 0 {
                // [MQTT-3.1.3-7]
                return invalid("a lasting session of MQTT 3.1.1 needs a client id");
            }
        }
        if self.password.is_some() && self.username.is_none() && !self.version.is_v5() {
            return invalid("a password without a user name needs MQTT 5"); // 3.1.1 [MQTT-3.1.2-22]
        }
        let strings = [Some(&self.client_id), self.username.as_ref()];
        let too_long = strings.iter().flatten().any(|text| text.len() > MAX_STRING)
            || self.password.as_ref().is_some_and(|password| password.len() > MAX_STRING);
        if too_long {
            return invalid("client id, user name and password have at most 65535 bytes");
        }
        if let Some(will) = &self.will
            && (will.topic.len() > MAX_STRING || will.payload.len() > MAX_STRING)
        {
            return invalid("topic and payload of a will have at most 65535 bytes");
        }
        if self.receive_maximum == 0 || self.max_in_flight == 0 || self.max_packet_size == 0 {
            return invalid("receive_maximum, max_in_flight and max_packet_size are at least 1");
        }
        if self.queue_capacity == 0 || self.command_capacity == 0 || self.max_requests == 0 {
            return invalid("capacities are at least 1");
        }
        Ok(())
    }
}

/// Strings and binary data have a two-byte length (MQTT 5 §1.5.4).
pub(crate) const MAX_STRING: usize = 65_535;
