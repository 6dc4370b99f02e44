//! CONNECT and CONNACK, and what the server says about itself there.

use std::time::Duration;

use agentmq_codec::{
    ConnAck, Connect, Packet, PropertiesBuf, Property, PropertyId as P, PropertyLimits, QoS, frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::link::Link;
use crate::{Error, Options, ProtocolVersion};

/// What the server allows and offers (MQTT 5 §3.2.2.3); before version 5 the standard's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLimits {
    /// The client id in use: ours, or the one that the server assigned.
    pub client_id: String,
    /// Whether the server continued an earlier session.
    pub session_present: bool,
    /// Seconds that the session outlives the connection.
    pub session_expiry: u32,
    /// Unacknowledged QoS 1 and 2 messages that it accepts.
    pub receive_maximum: u16,
    /// Highest QoS for publications.
    pub maximum_qos: QoS,
    /// Whether messages may be retained.
    pub retain: bool,
    /// Largest packet in bytes; `u32::MAX` when not limited.
    pub maximum_packet_size: u32,
    /// Highest topic alias that we may use.
    pub topic_alias_maximum: u16,
    /// Whether filters may have wildcards.
    pub wildcard_subscriptions: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_identifiers: bool,
    /// Whether `$share` works.
    pub shared_subscriptions: bool,
    /// Keep alive in force.
    pub keep_alive: Duration,
    /// Basis for response topics.
    pub response_information: Option<String>,
    /// The User Properties, in order: what a server says beyond the standard.
    pub user_properties: Vec<(String, String)>,
}

impl ServerLimits {
    /// The value of the first User Property with this name.
    pub fn user_property(&self, name: &str) -> Option<&str> {
        let mut named = self.user_properties.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_str())
    }
}

/// A connection whose CONNECT was accepted.
pub(crate) struct Accepted {
    pub(crate) limits: ServerLimits,
    /// Bytes that followed CONNACK.
    pub(crate) unread: Vec<u8>,
}

/// Sends CONNECT and reads CONNACK.
pub(crate) async fn handshake(
    link: &mut dyn Link,
    options: &Options,
    client_id: &str,
    clean_start: bool,
) -> Result<Accepted, Error> {
    let mut bytes = Vec::with_capacity(256);
    encode_connect(options, client_id, clean_start, &mut bytes);
    let broken = |error| broken(error, options);
    link.write_all(&bytes).await.map_err(broken)?;
    link.flush().await.map_err(broken)?;
    bytes.clear();
    loop {
        if let Some(frame) = frame::cut(&bytes, options.max_packet_size as usize)? {
            let body = bytes.get(frame.body_at..frame.total).unwrap_or_default();
            let limits = &PropertyLimits::UNLIMITED;
            let limits = match Packet::decode(frame.first, body, options.version, limits)? {
                Packet::ConnAck(ack) => accept(&ack, options, client_id)?,
                Packet::Auth(_) => {
                    return Err(Error::Unsupported("a login without enhanced authentication"));
                }
                _ => {
                    return Err(Error::Protocol(agentmq_codec::DecodeError::protocol(
                        "first packet is not CONNACK",
                    )));
                }
            };
            return Ok(Accepted { limits, unread: bytes.split_off(frame.total) });
        }
        if link.read_buf(&mut bytes).await.map_err(broken)? == 0 {
            let hint = "closed before CONNACK";
            return Err(Error::Lost(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, hint)));
        }
    }
}

/// In TLS 1.3 a server refuses the client's certificate when the client thinks it is through.
fn broken(error: std::io::Error, options: &Options) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(alert @ rustls::Error::AlertReceived(_)) => {
            Error::Layer { layer: "TLS", at: options.endpoint.to_string(), why: alert.to_string() }
        }
        _ => Error::Lost(error),
    }
}

fn encode_connect(options: &Options, client_id: &str, clean_start: bool, out: &mut Vec<u8>) {
    let version = options.version;
    let mut properties = PropertiesBuf::new();
    if version.is_v5() {
        properties = options.properties.clone();
        if options.session_expiry > 0 {
            properties.push(Property::U32(P::SessionExpiryInterval, options.session_expiry));
        }
        if options.receive_maximum < u16::MAX {
            properties.push(Property::U16(P::ReceiveMaximum, options.receive_maximum));
        }
        properties.push(Property::U32(P::MaximumPacketSize, options.max_packet_size));
        if options.topic_alias_maximum > 0 {
            properties.push(Property::U16(P::TopicAliasMaximum, options.topic_alias_maximum));
        }
        if options.response_topic.is_none() {
            properties.push(Property::Byte(P::RequestResponseInformation, 1));
        }
    }
    let keep_alive = options.keep_alive.as_secs().min(u64::from(u16::MAX)) as u16;
    let will_properties = options.will.as_ref().map(|will| will.wire_properties(version));
    let will = options.will.as_ref().zip(will_properties.as_ref());
    Connect {
        version,
        clean_start,
        keep_alive,
        client_id,
        will: will.map(|(will, properties)| will.wire(properties)),
        username: options.username.as_deref(),
        password: options.password.as_deref(),
        properties: properties.view(),
    }
    .encode(out);
}

fn accept(ack: &ConnAck<'_>, options: &Options, client_id: &str) -> Result<ServerLimits, Error> {
    let properties = ack.properties;
    if ack.reason.is_error() {
        return Err(Error::Refused {
            at: options.endpoint.to_string(),
            reason: ack.reason,
            text: properties.text(P::ReasonString).map(str::to_owned),
        });
    }
    let offered = |id| properties.byte(id) != Some(0);
    let keep_alive = properties
        .u16(P::ServerKeepAlive)
        .map_or(options.keep_alive, |seconds| Duration::from_secs(u64::from(seconds)));
    Ok(ServerLimits {
        client_id: properties.text(P::AssignedClientIdentifier).unwrap_or(client_id).to_owned(),
        session_present: ack.session_present,
        session_expiry: properties
            .integer(P::SessionExpiryInterval)
            .unwrap_or(options.session_expiry),
        receive_maximum: properties.u16(P::ReceiveMaximum).unwrap_or(u16::MAX),
        maximum_qos: properties
            .byte(P::MaximumQoS)
            .and_then(QoS::from_bits)
            .unwrap_or(QoS::ExactlyOnce),
        retain: offered(P::RetainAvailable),
        maximum_packet_size: properties.integer(P::MaximumPacketSize).unwrap_or(u32::MAX),
        topic_alias_maximum: properties.u16(P::TopicAliasMaximum).unwrap_or(0),
        wildcard_subscriptions: offered(P::WildcardSubscriptionAvailable),
        subscription_identifiers: options.version.is_v5()
            && offered(P::SubscriptionIdentifierAvailable),
        shared_subscriptions: options.version >= ProtocolVersion::V311
            && offered(P::SharedSubscriptionAvailable),
        keep_alive,
        response_information: properties.text(P::ResponseInformation).map(str::to_owned),
        user_properties: properties
            .user_properties()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    })
}
