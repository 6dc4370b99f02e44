//! CONNACK (MQTT 5 §3.2).

use crate::encode::put_packet;
use crate::properties::{self, Properties, PropertyLimits};
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
        let flags = reader.u8()?;
        if flags > 1 {
            return Err(DecodeError::malformed("reserved CONNACK flags are set"));
        }
        let code = reader.u8()?;
        let reason = if version.is_v5() {
            ReasonCode::from_u8(code)
        } else {
            ReasonCode::from_connack_v3(code)
        }
        .ok_or(DecodeError::malformed("unknown CONNACK code"))?;
        // A server that refuses an unknown version may answer in an older one's form.
        let properties = if version.is_v5() && !reader.is_empty() {
            Properties::read(&mut reader, properties::CONNACK, limits)?
        } else {
            Properties::EMPTY
        };
        if !reader.is_empty() {
            return Err(DecodeError::malformed("bytes behind CONNACK"));
        }
        Ok(Self { session_present: flags & 1 != 0, reason, properties })
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        put_packet(out, 0x20, |out| {
            // Version 3.1 has no Session Present flag.
            out.push(u8::from(self.session_present && version != ProtocolVersion::V31));
            if version.is_v5() {
                out.push(self.reason as u8);
                self.properties.write(out);
            } else {
                out.push(self.reason.connack_v3());
            }
        });
    }
}
