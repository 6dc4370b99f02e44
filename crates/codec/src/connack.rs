//! CONNACK (MQTT 5 §3.2).

use crate::allowed_properties;
use crate::encode::put_packet;
use crate::properties::{Properties, PropertyLimits};
use crate::reader::Reader;
use crate::{DecodeError, ProtocolVersion, ReasonCode};

/// The server's answer to CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server continues an earlier session.
    pub session_present: bool,
    /// Success, or why the connection is refused.
    pub reason: ReasonCode,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    pub(crate) fn decode(
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let flags = match (reader.u8()?, version) {
            (_, ProtocolVersion::V31) => 0, // not used there
            (flags, _) => flags,
        };
        if flags > 1 {
            return Err(DecodeError::malformed("reserved CONNACK flags are set")); // [MQTT-3.2.2-1]
        }
        let code = reader.u8()?;
        // A server that does not know version 5 refuses it in the form that it knows (§3.1.2.2).
        let refusal_v3 = version.is_v5() && reader.is_empty() && code != 0;
        let reason = if version.is_v5() && !(refusal_v3 && code < 0x80) {
            ReasonCode::from_u8(code).filter(|_| is_allowed(code))
        } else {
            ReasonCode::from_connack_v3(code)
        }
        .ok_or(DecodeError::protocol("reason code not allowed in CONNACK"))?;
        let properties = if version.is_v5() && !refusal_v3 {
            Properties::read(&mut reader, allowed_properties::CONNACK, limits)?
        } else {
            Properties::EMPTY
        };
        if !reader.is_empty() {
            return Err(DecodeError::malformed("bytes behind CONNACK"));
        }
        if flags != 0 && reason.is_error() {
            // [MQTT-3.2.2-6], 3.1.1 [MQTT-3.2.2-4]
            return Err(DecodeError::protocol("Session Present in a refusal"));
        }
        Ok(Self { session_present: flags != 0, reason, properties })
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        put_packet(out, 0x20, |out| {
            // Version 3.1 has no Session Present flag; a refusal never sets it [MQTT-3.2.2-6].
            let present = self.session_present && !self.reason.is_error();
            out.push(u8::from(present && version != ProtocolVersion::V31));
            if version.is_v5() {
                out.push(self.reason as u8);
                self.properties.write(out);
            } else {
                out.push(self.reason.connack_v3());
            }
        });
    }
}

/// The codes of the table in §3.2.2.2 [MQTT-3.2.2-8].
fn is_allowed(code: u8) -> bool {
    matches!(
        code,
        0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F
    )
}
