//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5 §3.4 to §3.7), which share one layout.

use crate::allowed_properties;
use crate::encode::{put_packet, put_u16};
use crate::properties::{Properties, PropertyLimits};
use crate::reader::Reader;
use crate::{DecodeError, ProtocolVersion, ReasonCode};

/// Which of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AckKind {
    /// Answer to a QoS 1 PUBLISH.
    PubAck = 0x40,
    /// First answer to a QoS 2 PUBLISH.
    PubRec = 0x50,
    /// Answer to PUBREC; its flags are 0010.
    PubRel = 0x62,
    /// Answer to PUBREL.
    PubComp = 0x70,
}

/// One acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which packet it is.
    pub kind: AckKind,
    /// The Packet Identifier of the PUBLISH.
    pub packet_id: u16,
    /// Always Success before version 5.
    pub reason: ReasonCode,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement without properties.
    pub fn new(kind: AckKind, packet_id: u16, reason: ReasonCode) -> Self {
        Self { kind, packet_id, reason, properties: Properties::EMPTY }
    }

    pub(crate) fn decode(
        kind: AckKind,
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut ack = Self::new(kind, packet_id, ReasonCode::Success);
        if version.is_v5() && !reader.is_empty() {
            ack.reason = allowed_reason(kind, reader.u8()?)?;
            if !reader.is_empty() {
                ack.properties = Properties::read(&mut reader, allowed_properties::ACK, limits)?;
            }
        }
        if !reader.is_empty() {
            return Err(DecodeError::malformed("bytes behind an acknowledgement"));
        }
        Ok(ack)
    }

    /// Appends the packet, in its shortest form.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let [high, low] = self.packet_id.to_be_bytes();
        let short = self.properties.is_empty() || !version.is_v5();
        match (short, self.reason == ReasonCode::Success || !version.is_v5()) {
            (true, true) => out.extend_from_slice(&[self.kind as u8, 2, high, low]),
            (true, false) => {
                out.extend_from_slice(&[self.kind as u8, 3, high, low, self.reason as u8]);
            }
            (false, _) => put_packet(out, self.kind as u8, |out| {
                put_u16(out, self.packet_id);
                out.push(self.reason as u8);
                self.properties.write(out);
            }),
        }
    }
}

/// The codes of tables 3-4, 3-5, 3-6 and 3-7.
fn allowed_reason(kind: AckKind, code: u8) -> Result<ReasonCode, DecodeError> {
    let reason = ReasonCode::from_u8(code);
    let allowed = match kind {
        AckKind::PubAck | AckKind::PubRec => {
            matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
        }
        AckKind::PubRel | AckKind::PubComp => matches!(code, 0x00 | 0x92),
    };
    reason
        .filter(|_| allowed)
        .ok_or(DecodeError::protocol("reason code not allowed in this packet"))
}
