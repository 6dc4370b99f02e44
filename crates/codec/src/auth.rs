//! AUTH (MQTT 5 §3.15).

use crate::allowed_properties;
use crate::encode::put_packet;
use crate::properties::{Properties, PropertyLimits};
use crate::reader::Reader;
use crate::{DecodeError, PropertyId, ProtocolVersion, ReasonCode};

/// One step of an enhanced authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// Authentication Method and Data.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn decode(
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        if !version.is_v5() {
            return Err(DecodeError::malformed("AUTH before version 5"));
        }
        let mut reader = Reader::new(body);
        let mut auth = Self { reason: ReasonCode::Success, properties: Properties::EMPTY };
        if !reader.is_empty() {
            let code = reader.u8()?;
            auth.reason = ReasonCode::from_u8(code)
                .filter(|_| matches!(code, 0x00 | 0x18 | 0x19))
                .ok_or(DecodeError::protocol("reason code not allowed in AUTH"))?;
            // Only an AUTH without any body may leave the properties out (§3.15.2.1).
            auth.properties = Properties::read(&mut reader, allowed_properties::AUTH, limits)?;
        }
        if !reader.is_empty() {
            return Err(DecodeError::malformed("bytes behind AUTH"));
        }
        if !auth.properties.has(PropertyId::AuthenticationMethod) {
            return Err(DecodeError::protocol("AUTH without an Authentication Method"));
        }
        Ok(auth)
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_packet(out, 0xF0, |out| {
            out.push(self.reason as u8);
            self.properties.write(out);
        });
    }
}
