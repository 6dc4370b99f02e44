//! DISCONNECT (MQTT 5 §3.14).

use crate::allowed_properties;
use crate::encode::put_packet;
use crate::properties::{Properties, PropertyLimits};
use crate::reader::Reader;
use crate::{DecodeError, ProtocolVersion, ReasonCode};

/// The last packet of a connection, from either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Always Normal Disconnection before version 5.
    pub reason: ReasonCode,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::EMPTY }
    }

    pub(crate) fn decode(
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let mut packet = Self::new(ReasonCode::NORMAL_DISCONNECTION);
        let mut reader = Reader::new(body);
        if reader.is_empty() {
            return Ok(packet);
        }
        if !version.is_v5() {
            return Err(DecodeError::malformed("DISCONNECT with a body"));
        }
        let code = reader.u8()?;
        packet.reason = ReasonCode::from_u8(code)
            .filter(|_| is_allowed(code))
            .ok_or(DecodeError::protocol("reason code not allowed in DISCONNECT"))?;
        if !reader.is_empty() {
            packet.properties =
                Properties::read(&mut reader, allowed_properties::DISCONNECT, limits)?;
        }
        if !reader.is_empty() {
            return Err(DecodeError::malformed("bytes behind DISCONNECT"));
        }
        Ok(packet)
    }

    /// Appends the packet, in its shortest form.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let plain = self.reason == ReasonCode::Success && self.properties.is_empty();
        if plain || !version.is_v5() {
            out.extend_from_slice(&[0xE0, 0]);
            return;
        }
        put_packet(out, 0xE0, |out| {
            out.push(self.reason as u8);
            if !self.properties.is_empty() {
                self.properties.write(out);
            }
        });
    }
}

/// The codes of the table in §3.14.2.1 [MQTT-3.14.2-1], and 0x8C, which only §2.4 gives to
/// DISCONNECT.
fn is_allowed(code: u8) -> bool {
    matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2)
}
