//! UNSUBSCRIBE (MQTT 5 §3.10).

use crate::allowed_properties;
use crate::encode::{put_packet, put_text, put_u16};
use crate::properties::{Properties, PropertyLimits, read_head};
use crate::reader::Reader;
use crate::{DecodeError, ProtocolVersion};

/// A request to end subscriptions; at least one [MQTT-3.10.3-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet Identifier.
    pub packet_id: u16,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
    filters: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (packet_id, properties) =
            read_head(&mut reader, version, allowed_properties::UNSUBSCRIBE, limits)?;
        let filters = reader.rest();
        if filters.is_empty() {
            return Err(DecodeError::protocol("UNSUBSCRIBE without a filter"));
        }
        while !reader.is_empty() {
            reader.text()?;
        }
        Ok(Self { packet_id, properties, filters })
    }

    /// The filters, in order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.filters);
        std::iter::from_fn(move || if reader.is_empty() { None } else { reader.text().ok() })
    }

    /// Appends an UNSUBSCRIBE with these filters.
    pub fn encode_parts<'f>(
        packet_id: u16,
        properties: Properties<'_>,
        filters: impl IntoIterator<Item = &'f str>,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) {
        put_packet(out, 0xA2, |out| {
            put_u16(out, packet_id);
            if version.is_v5() {
                properties.write(out);
            }
            for filter in filters {
                put_text(out, filter);
            }
        });
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        Self::encode_parts(self.packet_id, self.properties, self.filters(), version, out);
    }
}
