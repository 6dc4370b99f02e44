//! The properties of MQTT 5 §2.2.2.2.

use crate::DecodeError;
use crate::encode::{put_binary, put_text, put_u16, put_varint};
use crate::reader::Reader;

macro_rules! properties {
    ($($name:ident = $id:literal, $doc:literal;)*) => {
        /// Property identifiers (§2.2.2.2).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PropertyId { $(#[doc = $doc] $name = $id,)* }

        impl PropertyId {
            pub(crate) fn from_u32(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }
        }
    };
}

properties! {
    PayloadFormatIndicator = 0x01, "0: bytes, 1: UTF-8 text.";
    MessageExpiryInterval = 0x02, "Seconds.";
    ContentType = 0x03, "A MIME type or whatever sender and receiver agree on.";
    ResponseTopic = 0x08, "Topic name for the answer.";
    CorrelationData = 0x09, "Opaque bytes that match an answer to its request.";
    SubscriptionIdentifier = 0x0B, "1 to 268 435 455.";
    SessionExpiryInterval = 0x11, "Seconds; 0xFFFFFFFF never expires.";
    AssignedClientIdentifier = 0x12, "The id that the server chose.";
    ServerKeepAlive = 0x13, "Seconds.";
    AuthenticationMethod = 0x15, "Name of the enhanced authentication method.";
    AuthenticationData = 0x16, "Bytes of the authentication method.";
    RequestProblemInformation = 0x17, "0 or 1.";
    WillDelayInterval = 0x18, "Seconds.";
    RequestResponseInformation = 0x19, "0 or 1.";
    ResponseInformation = 0x1A, "Basis for response topics.";
    ServerReference = 0x1C, "Another server to use.";
    ReasonString = 0x1F, "Text for a person who reads logs.";
    ReceiveMaximum = 0x21, "1 to 65 535 unacknowledged QoS 1 and 2 publications.";
    TopicAliasMaximum = 0x22, "Highest topic alias accepted.";
    TopicAlias = 0x23, "1 to Topic Alias Maximum.";
    MaximumQoS = 0x24, "0 or 1.";
    RetainAvailable = 0x25, "0 or 1.";
    UserProperty = 0x26, "Name and value; may repeat.";
    MaximumPacketSize = 0x27, "Bytes, not 0.";
    WildcardSubscriptionAvailable = 0x28, "0 or 1.";
    SubscriptionIdentifierAvailable = 0x29, "0 or 1.";
    SharedSubscriptionAvailable = 0x2A, "0 or 1.";
}

impl PropertyId {
    /// The property's bit in a set of properties.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Reads an identifier.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_u32(reader.varint()?)
            .ok_or(DecodeError::malformed("unknown property identifier"))
    }
}

/// One property's value, borrowed. The name of the variant's type follows §2.2.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property<'a> {
    /// A property whose value is one byte.
    Byte(PropertyId, u8),
    /// A two-byte integer.
    U16(PropertyId, u16),
    /// A four-byte integer.
    U32(PropertyId, u32),
    /// A variable byte integer.
    VarInt(PropertyId, u32),
    /// A UTF-8 string.
    Text(PropertyId, &'a str),
    /// Binary data.
    Binary(PropertyId, &'a [u8]),
    /// A User Property.
    Pair(&'a str, &'a str),
}

impl<'a> Property<'a> {
    /// Which property this is.
    pub fn id(&self) -> PropertyId {
        match *self {
            Self::Byte(id, _)
            | Self::U16(id, _)
            | Self::U32(id, _)
            | Self::VarInt(id, _)
            | Self::Text(id, _)
            | Self::Binary(id, _) => id,
            Self::Pair(..) => PropertyId::UserProperty,
        }
    }

    /// Reads one property and checks its own value range.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let id = PropertyId::read(reader)?;
        Self::read_value(id, reader)
    }

    /// Reads what follows the identifier.
    pub(crate) fn read_value(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        use PropertyId as P;
        Ok(match id {
            P::PayloadFormatIndicator
            | P::RequestProblemInformation
            | P::RequestResponseInformation
            | P::MaximumQoS
            | P::RetainAvailable
            | P::WildcardSubscriptionAvailable
            | P::SubscriptionIdentifierAvailable
            | P::SharedSubscriptionAvailable => {
                let value = reader.u8()?;
                if value > 1 {
                    return Err(DecodeError::protocol("property value is neither 0 nor 1"));
                }
                Self::Byte(id, value)
            }
            P::ServerKeepAlive | P::TopicAliasMaximum => Self::U16(id, reader.u16()?),
            P::ReceiveMaximum => match reader.u16()? {
                0 => return Err(DecodeError::protocol("Receive Maximum is 0")),
                value => Self::U16(id, value),
            },
            // [MQTT-3.3.2-8]
            P::TopicAlias => match reader.u16()? {
                0 => return Err(TOPIC_ALIAS_ZERO),
                value => Self::U16(id, value),
            },
            P::MessageExpiryInterval | P::SessionExpiryInterval | P::WillDelayInterval => {
                Self::U32(id, reader.u32()?)
            }
            P::MaximumPacketSize => match reader.u32()? {
                0 => return Err(DecodeError::protocol("Maximum Packet Size is 0")),
                value => Self::U32(id, value),
            },
            P::SubscriptionIdentifier => match reader.varint()? {
                0 => return Err(DecodeError::protocol("Subscription Identifier is 0")),
                value => Self::VarInt(id, value),
            },
            // [MQTT-3.3.2-14]
            P::ResponseTopic => match reader.topic_name(RESPONSE_TOPIC_WITH_WILDCARD)? {
                "" => return Err(DecodeError::protocol("empty Response Topic")),
                topic => Self::Text(id, topic),
            },
            P::ContentType
            | P::AssignedClientIdentifier
            | P::AuthenticationMethod
            | P::ResponseInformation
            | P::ServerReference
            | P::ReasonString => Self::Text(id, reader.text()?),
            P::CorrelationData | P::AuthenticationData => Self::Binary(id, reader.binary()?),
            P::UserProperty => Self::Pair(reader.text()?, reader.text()?),
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.id() as u8);
        match *self {
            Self::Byte(_, value) => out.push(value),
            Self::U16(_, value) => put_u16(out, value),
            Self::U32(_, value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::VarInt(_, value) => put_varint(out, value as usize),
            Self::Text(_, value) => put_text(out, value),
            Self::Binary(_, value) => put_binary(out, value),
            Self::Pair(name, value) => {
                put_text(out, name);
                put_text(out, value);
            }
        }
    }
}

const RESPONSE_TOPIC_WITH_WILDCARD: DecodeError =
    DecodeError::protocol("Response Topic with a wildcard");
const TOPIC_ALIAS_ZERO: DecodeError =
    DecodeError::with(crate::ReasonCode::TopicAliasInvalid, "Topic Alias is 0");
