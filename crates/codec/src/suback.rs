//! SUBACK and UNSUBACK (MQTT 5 §3.9, §3.11), which share one layout.

use crate::allowed_properties;
use crate::encode::{put_packet, put_u16};
use crate::properties::{Properties, PropertyLimits, read_head};
use crate::reader::Reader;
use crate::{DecodeError, ProtocolVersion, ReasonCode};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FilterAckKind {
    /// Answer to SUBSCRIBE.
    SubAck = 0x90,
    /// Answer to UNSUBSCRIBE; without codes before version 5.
    UnsubAck = 0xB0,
}

/// The answer to SUBSCRIBE or UNSUBSCRIBE: one code per filter, in order [MQTT-3.9.3-1, 3.11.3-1].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterAck<'a> {
    /// Which packet it is.
    pub kind: FilterAckKind,
    /// Packet Identifier of the request.
    pub packet_id: u16,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
    codes: &'a [u8],
}

impl<'a> FilterAck<'a> {
    pub(crate) fn decode(
        kind: FilterAckKind,
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (packet_id, properties) =
            read_head(&mut reader, version, allowed_properties::ACK, limits)?;
        let codes = reader.rest();
        let has_codes = kind == FilterAckKind::SubAck || version.is_v5();
        if has_codes && codes.is_empty() {
            return Err(DecodeError::protocol("SUBACK or UNSUBACK without a code"));
        }
        if !has_codes && !codes.is_empty() {
            return Err(DecodeError::malformed("bytes behind UNSUBACK"));
        }
        if !codes.iter().all(|&code| is_allowed(kind, version, code)) {
            return Err(DecodeError::protocol("reason code not allowed in SUBACK or UNSUBACK"));
        }
        Ok(Self { kind, packet_id, properties, codes })
    }

    /// The codes, in the order of the filters.
    pub fn reasons(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        self.codes.iter().filter_map(|&code| ReasonCode::from_u8(code))
    }

    /// Appends a packet with these codes.
    pub fn encode_parts(
        kind: FilterAckKind,
        packet_id: u16,
        properties: Properties<'_>,
        reasons: impl IntoIterator<Item = ReasonCode>,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) {
        put_packet(out, kind as u8, |out| {
            put_u16(out, packet_id);
            let reasons = reasons.into_iter();
            if version.is_v5() {
                properties.write(out);
                out.extend(reasons.map(|reason| reason as u8));
            } else if kind == FilterAckKind::SubAck {
                out.extend(reasons.map(ReasonCode::suback_v3));
            }
        });
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let Self { kind, packet_id, properties, .. } = *self;
        Self::encode_parts(kind, packet_id, properties, self.reasons(), version, out);
    }
}

/// The codes of §3.9.3 and §3.11.3; 3.1.1 [MQTT-3.9.3-2].
fn is_allowed(kind: FilterAckKind, version: ProtocolVersion, code: u8) -> bool {
    match kind {
        FilterAckKind::SubAck if !version.is_v5() => matches!(code, 0..=2 | 0x80),
        FilterAckKind::SubAck => {
            matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
        }
        FilterAckKind::UnsubAck => {
            matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91)
        }
    }
}
