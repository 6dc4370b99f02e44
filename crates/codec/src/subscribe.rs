//! SUBSCRIBE (MQTT 5 §3.8).

use crate::allowed_properties;
use crate::encode::{put_packet, put_text, put_u16};
use crate::properties::{Properties, PropertyLimits, read_head};
use crate::reader::Reader;
use crate::{DecodeError, ProtocolVersion, QoS};

/// A request for subscriptions; at least one [MQTT-3.8.3-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet Identifier.
    pub packet_id: u16,
    /// Properties; empty before version 5.
    pub properties: Properties<'a>,
    version: ProtocolVersion,
    filters: &'a [u8],
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// The Topic Filter, not yet checked as one.
    pub filter: &'a str,
    /// Its options.
    pub options: SubscriptionOptions,
}

/// Subscription Options (§3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// Maximum QoS of deliveries.
    pub qos: QoS,
    /// Do not send back what this client published.
    pub no_local: bool,
    /// Keep the RETAIN flag as published.
    pub retain_as_published: bool,
    /// Whether retained messages are sent at subscribe time.
    pub retain_handling: RetainHandling,
}

/// Retain Handling (§3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at every SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only when the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (packet_id, properties) =
            read_head(&mut reader, version, allowed_properties::SUBSCRIBE, limits)?;
        let filters = reader.rest();
        if filters.is_empty() {
            return Err(DecodeError::protocol("SUBSCRIBE without a filter")); // [MQTT-3.8.3-2]
        }
        while !reader.is_empty() {
            read_filter(&mut reader, version)?;
        }
        Ok(Self { packet_id, properties, version, filters })
    }

    /// The filters, in order.
    pub fn filters(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + use<'a> {
        let mut reader = Reader::new(self.filters);
        let version = self.version;
        std::iter::from_fn(move || {
            if reader.is_empty() { None } else { read_filter(&mut reader, version).ok() }
        })
    }

    /// Appends a SUBSCRIBE with these filters.
    pub fn encode_parts<'f>(
        packet_id: u16,
        properties: Properties<'_>,
        filters: impl IntoIterator<Item = SubscribeFilter<'f>>,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) {
        put_packet(out, 0x82, |out| {
            put_u16(out, packet_id);
            if version.is_v5() {
                properties.write(out);
            }
            for SubscribeFilter { filter, options } in filters {
                put_text(out, filter);
                out.push(if version.is_v5() { options.to_byte() } else { options.qos as u8 });
            }
        });
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        Self::encode_parts(self.packet_id, self.properties, self.filters(), version, out);
    }
}

impl SubscriptionOptions {
    /// Options with a maximum QoS and everything else as in MQTT 3.1.1.
    pub fn at(qos: QoS) -> Self {
        Self { qos, ..Self::default() }
    }

    /// The byte of a SUBSCRIBE in version 5.
    pub fn to_byte(self) -> u8 {
        self.qos as u8
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }

    /// Reads the byte of a SUBSCRIBE.
    pub fn from_byte(byte: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let reserved = match version {
            ProtocolVersion::V31 => 0,     // not used, so not looked at (3.1 §3.8)
            ProtocolVersion::V311 => 0xFC, // 3.1.1 [MQTT-3-8.3-4]
            ProtocolVersion::V5 => 0xC0,   // [MQTT-3.8.3-5]
        };
        if byte & reserved != 0 {
            return Err(DecodeError::malformed("reserved Subscription Options are set"));
        }
        let qos = QoS::from_bits(byte & 3);
        if !version.is_v5() {
            return qos.map(Self::at).ok_or(DecodeError::malformed("QoS 3"));
        }
        // §3.8.3.1: the field can be read, its value is not allowed.
        let qos = qos.ok_or(DecodeError::protocol("Maximum QoS 3"))?;
        let retain_handling = match byte >> 4 & 3 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::protocol("Retain Handling 3")),
        };
        let (no_local, retain_as_published) = (byte & 4 != 0, byte & 8 != 0);
        Ok(Self { qos, no_local, retain_as_published, retain_handling })
    }
}

fn read_filter<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
) -> Result<SubscribeFilter<'a>, DecodeError> {
    let filter = reader.text()?;
    let options = SubscriptionOptions::from_byte(reader.u8()?, version)?;
    Ok(SubscribeFilter { filter, options })
}
