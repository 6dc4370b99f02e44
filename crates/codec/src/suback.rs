//! SUBACK and UNSUBACK (MQTT 5 §3.9, §3.11).

use crate::allowed_properties;
use crate::encode::{put_packet, put_u16};
use crate::properties::{Properties, PropertyLimits};
use crate::reader::Reader;
use crate::{DecodeError, ProtocolVersion, ReasonCode};

/// The answer to SUBSCRIBE: one code per filter, in order [MQTT-3.9.3-1].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Packet Identifier of the SUBSCRIBE.
    pub packet_id: u16,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
    codes: &'a [u8],
}

/// The answer to UNSUBSCRIBE: one code per filter, in order [MQTT-3.11.3-1]; none before version 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// Packet Identifier of the UNSUBSCRIBE.
    pub packet_id: u16,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
    codes: &'a [u8],
}

impl<'a> SubAck<'a> {
    pub(crate) fn decode(
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let (packet_id, properties, codes) = read_body(body, version, limits)?;
        if codes.is_empty() {
            return Err(DecodeError::protocol("SUBACK without a code"));
        }
        let allowed: fn(u8) -> bool = if version.is_v5() {
            // §3.9.3
            |code| {
                matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
        } else {
            |code| matches!(code, 0..=2 | 0x80) // 3.1.1 [MQTT-3.9.3-2]
        };
        if !codes.iter().all(|&code| allowed(code)) {
            return Err(DecodeError::protocol("reason code not allowed in SUBACK"));
        }
        Ok(Self { packet_id, properties, codes })
    }

    /// The codes, in the order of the filters.
    pub fn reasons(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        self.codes.iter().filter_map(|&code| ReasonCode::from_u8(code))
    }

    /// Appends a SUBACK with these codes.
    pub fn encode_parts(
        packet_id: u16,
        properties: Properties<'_>,
        reasons: &[ReasonCode],
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) {
        put_packet(out, 0x90, |out| {
            put_u16(out, packet_id);
            if version.is_v5() {
                properties.write(out);
                out.extend(reasons.iter().map(|&reason| reason as u8));
            } else {
                out.extend(reasons.iter().map(|reason| reason.suback_v3()));
            }
        });
    }
}

impl<'a> UnsubAck<'a> {
    pub(crate) fn decode(
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let (packet_id, properties, codes) = read_body(body, version, limits)?;
        if !version.is_v5() && !codes.is_empty() {
            return Err(DecodeError::malformed("bytes behind UNSUBACK"));
        }
        if version.is_v5() && codes.is_empty() {
            return Err(DecodeError::protocol("UNSUBACK without a code"));
        }
        // §3.11.3
        let allowed = |&code: &u8| matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91);
        if !codes.iter().all(allowed) {
            return Err(DecodeError::protocol("reason code not allowed in UNSUBACK"));
        }
        Ok(Self { packet_id, properties, codes })
    }

    /// The codes, in the order of the filters.
    pub fn reasons(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        self.codes.iter().filter_map(|&code| ReasonCode::from_u8(code))
    }

    /// Appends an UNSUBACK with these codes.
    pub fn encode_parts(
        packet_id: u16,
        properties: Properties<'_>,
        reasons: &[ReasonCode],
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) {
        put_packet(out, 0xB0, |out| {
            put_u16(out, packet_id);
            if version.is_v5() {
                properties.write(out);
                out.extend(reasons.iter().map(|&reason| reason as u8));
            }
        });
    }
}

fn read_body<'a>(
    body: &'a [u8],
    version: ProtocolVersion,
    limits: &PropertyLimits,
) -> Result<(u16, Properties<'a>, &'a [u8]), DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let properties = if version.is_v5() {
        Properties::read(&mut reader, allowed_properties::ACK, limits)?
    } else {
        Properties::EMPTY
    };
    Ok((packet_id, properties, reader.rest()))
}
