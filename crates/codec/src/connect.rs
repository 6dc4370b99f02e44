//! CONNECT (MQTT 5 §3.1).

use crate::allowed_properties;
use crate::encode::{put_binary, put_packet, put_text, put_u16};
use crate::properties::{Properties, PropertyLimits};
use crate::reader::Reader;
use crate::{DecodeError, ProtocolVersion, QoS, ReasonCode};

/// The first packet of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connect<'a> {
    /// Protocol version that the client speaks.
    pub version: ProtocolVersion,
    /// Clean Start (5) or Clean Session (3.1, 3.1.1).
    pub clean_start: bool,
    /// Seconds; 0 turns the keep alive off.
    pub keep_alive: u16,
    /// May be empty: the server then assigns one.
    pub client_id: &'a str,
    /// Published when the connection ends without a normal DISCONNECT.
    pub will: Option<Will<'a>>,
    /// User Name.
    pub username: Option<&'a str>,
    /// Password: any bytes.
    pub password: Option<&'a [u8]>,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
}

/// The will of a CONNECT (§3.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Topic.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will Properties, Will Delay Interval included.
    pub properties: Properties<'a>,
}

/// A CONNECT that cannot be accepted, with the version whose CONNACK the sender would understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ConnectError {
    /// The version to answer in; `None` when the sender speaks no MQTT that we know.
    pub answer_in: Option<ProtocolVersion>,
    /// What is wrong.
    pub error: DecodeError,
}

impl<'a> Connect<'a> {
    /// Reads the body of a CONNECT, whose version it finds out itself.
    pub fn decode(body: &'a [u8], limits: &PropertyLimits) -> Result<Self, ConnectError> {
        let mut reader = Reader::new(body);
        let version = read_version(&mut reader)?;
        Self::decode_rest(reader, version, limits)
            .map_err(|error| ConnectError { answer_in: Some(version), error })
    }

    fn decode_rest(
        mut reader: Reader<'a>,
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let keep_alive = reader.u16()?;
        let properties = if version.is_v5() {
            let properties = Properties::read(&mut reader, allowed_properties::CONNECT, limits)?;
            if properties.has(crate::PropertyId::AuthenticationData)
                && !properties.has(crate::PropertyId::AuthenticationMethod)
            {
                return Err(DecodeError::protocol("Authentication Data without a method"));
            }
            properties
        } else {
            Properties::EMPTY
        };
        let client_id = reader.text()?;
        let will = if flags & WILL_FLAG != 0 {
            Some(Will::decode(&mut reader, flags, version, limits)?)
        } else {
            None
        };
        // In version 3.1 the Remaining Length overrules these two flags: a string that is missing
        // at the end is valid (3.1 §3.1).
        let ends_early = |reader: &Reader<'_>| version == ProtocolVersion::V31 && reader.is_empty();
        let has_name = flags & USER_NAME != 0 && !ends_early(&reader);
        let username = if has_name { Some(reader.text()?) } else { None };
        let has_password = flags & PASSWORD != 0 && !ends_early(&reader);
        let password = if has_password { Some(reader.binary()?) } else { None };
        if !reader.is_empty() {
            return Err(DecodeError::malformed("bytes behind the payload of CONNECT"));
        }
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self {
            version,
            clean_start,
            keep_alive,
            client_id,
            will,
            username,
            password,
            properties,
        })
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = if self.clean_start { CLEAN_START } else { 0 };
        if let Some(will) = &self.will {
            flags |= WILL_FLAG | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
        }
        if self.username.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        put_packet(out, 0x10, |out| {
            put_text(out, self.version.name());
            out.push(self.version.level());
            out.push(flags);
            put_u16(out, self.keep_alive);
            if self.version.is_v5() {
                self.properties.write(out);
            }
            put_text(out, self.client_id);
            if let Some(will) = &self.will {
                if self.version.is_v5() {
                    will.properties.write(out);
                }
                put_text(out, will.topic);
                put_binary(out, will.payload);
            }
            if let Some(name) = self.username {
                put_text(out, name);
            }
            if let Some(password) = self.password {
                put_binary(out, password);
            }
        });
    }
}

impl<'a> Will<'a> {
    fn decode(
        reader: &mut Reader<'a>,
        flags: u8,
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let qos = QoS::from_bits(flags >> 3 & 3).ok_or(DecodeError::malformed("Will QoS 3"))?;
        let properties = if version.is_v5() {
            Properties::read(reader, allowed_properties::WILL, limits)?
        } else {
            Properties::EMPTY
        };
        let topic = reader.topic_name(WILL_TOPIC_WITH_WILDCARD)?;
        if topic.is_empty() {
            return Err(DecodeError::with(ReasonCode::TopicNameInvalid, "empty Will Topic"));
        }
        Ok(Self { qos, retain: flags & 0x20 != 0, topic, payload: reader.binary()?, properties })
    }
}

/// Protocol Name and Protocol Version [MQTT-3.1.2-1, -2].
fn read_version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, ConnectError> {
    let silent = |error| ConnectError { answer_in: None, error };
    let name = reader.binary().map_err(silent)?;
    let level = reader.u8().map_err(silent)?;
    match (name, level) {
        (b"MQTT", 5) => Ok(ProtocolVersion::V5),
        (b"MQTT", 4) => Ok(ProtocolVersion::V311),
        (b"MQIsdp", 3) => Ok(ProtocolVersion::V31),
        (b"MQTT" | b"MQIsdp", _) => Err(ConnectError {
            // An older level understands only the CONNACK without properties.
            answer_in: Some(if level > 5 && level & 0x80 == 0 {
                ProtocolVersion::V5
            } else {
                ProtocolVersion::V311
            }),
            error: DecodeError::with(
                ReasonCode::UnsupportedProtocolVersion,
                "this server speaks MQTT 5, 3.1.1 and 3.1",
            ),
        }),
        _ => Err(silent(DecodeError::with(
            ReasonCode::UnsupportedProtocolVersion,
            "protocol name is neither MQTT nor MQIsdp",
        ))),
    }
}

fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    let v31 = version == ProtocolVersion::V31; // what is not used there means nothing
    if flags & 1 != 0 && !v31 {
        return Err(DecodeError::malformed("reserved Connect Flag is set")); // [MQTT-3.1.2-3]
    }
    if flags & WILL_FLAG == 0 && flags & 0x38 != 0 && !v31 {
        // [MQTT-3.1.2-11, -13]
        return Err(DecodeError::malformed("Will QoS or Will Retain without a will"));
    }
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && !version.is_v5() {
        // 3.1.1 [MQTT-3.1.2-22]; version 5 allows it.
        return Err(DecodeError::malformed("password without a user name"));
    }
    Ok(())
}

const WILL_TOPIC_WITH_WILDCARD: DecodeError =
    DecodeError::with(ReasonCode::TopicNameInvalid, "Will Topic with a wildcard");
const CLEAN_START: u8 = 0x02;
const WILL_FLAG: u8 = 0x04;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;
