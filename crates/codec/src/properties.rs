//! A packet's properties: checked once, kept encoded, forwarded as bytes.

use crate::allowed_properties::Allowed;
use crate::encode::put_varint;
use crate::property::PropertyId as P;
use crate::reader::Reader;
use crate::{DecodeError, Property, PropertyId, ProtocolVersion, ReasonCode};

/// The checked properties of one packet, still encoded (without their length).
///
/// `seen` holds a bit for each property present, so that asking for an absent one costs a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    raw: &'a [u8],
    seen: u64,
}

/// Bounds on User Properties, since a packet of one megabyte can hold 200 000 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PropertyLimits {
    /// User Properties per packet.
    pub max_user_properties: u32,
    /// Bytes of all User Properties of a packet together.
    pub max_user_property_bytes: u32,
}

impl PropertyLimits {
    /// No bound but the packet's own.
    pub const UNLIMITED: Self =
        Self { max_user_properties: u32::MAX, max_user_property_bytes: u32::MAX };
}

impl Default for PropertyLimits {
    fn default() -> Self {
        Self::UNLIMITED
    }
}

/// Which properties some bytes hold, known since they were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PropertySet(u64);

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self { raw: &[], seen: 0 };

    /// Reads a Property Length and that many bytes, and checks that every property is allowed in
    /// the packet (else it is malformed, §2.2.2.2) and stands once (else a protocol error, the
    /// section of each property).
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        allowed: Allowed,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        let len = reader.varint()? as usize;
        if len == 0 {
            return Ok(Self::EMPTY);
        }
        let raw = reader.take(len)?;
        let mut rest = Reader::new(raw);
        let (mut seen, mut users, mut user_bytes) = (0u64, 0u32, 0usize);
        while !rest.is_empty() {
            let id = PropertyId::read(&mut rest)?;
            let bit = id.bit();
            // Before its value: that may be wrong in a way which the packet has no code for.
            if allowed.once & bit == 0 {
                return Err(DecodeError::malformed("property not allowed in this packet"));
            }
            if seen & bit != 0 && allowed.repeated & bit == 0 {
                return Err(DecodeError::protocol("property stands twice"));
            }
            seen |= bit;
            let property = Property::read_value(id, &mut rest)?;
            if let Property::Pair(name, value) = property {
                users += 1;
                user_bytes += name.len() + value.len();
                // Checked at once: what is over the bound costs no more than the bound.
                if users > limits.max_user_properties
                    || user_bytes > limits.max_user_property_bytes as usize
                {
                    return Err(TOO_MANY_USER_PROPERTIES);
                }
            }
        }
        Ok(Self { raw, seen })
    }

    /// Writes the Property Length and the properties.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, self.raw.len());
        out.extend_from_slice(self.raw);
    }

    /// The encoded properties without their length.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// Which there are, for [`Self::checked`].
    pub const fn present(&self) -> PropertySet {
        PropertySet(self.seen)
    }

    /// A copy of the bytes of properties that were checked: [`Self::as_bytes`] and
    /// [`Self::present`] of the original.
    pub fn checked(bytes: &'a [u8], present: PropertySet) -> Self {
        Self { raw: bytes, seen: present.0 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Whether the property is present.
    pub fn has(&self, id: PropertyId) -> bool {
        self.seen & id.bit() != 0
    }

    /// All properties in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut rest = Reader::new(self.raw);
        std::iter::from_fn(
            move || {
                if rest.is_empty() { None } else { Property::read(&mut rest).ok() }
            },
        )
    }

    /// Itself if it holds the property, else nothing: looking for an absent one costs no pass.
    fn only(&self, id: PropertyId) -> Self {
        if self.has(id) { *self } else { Self::EMPTY }
    }

    fn find(&self, id: PropertyId) -> Option<Property<'a>> {
        self.only(id).iter().find(|p| p.id() == id)
    }

    /// The value of a one-byte property.
    pub fn byte(&self, id: PropertyId) -> Option<u8> {
        match self.find(id)? {
            Property::Byte(_, value) => Some(value),
            _ => None,
        }
    }

    /// The value of a property that is an integer of any width.
    pub fn integer(&self, id: PropertyId) -> Option<u32> {
        match self.find(id)? {
            Property::Byte(_, value) => Some(u32::from(value)),
            Property::U16(_, value) => Some(u32::from(value)),
            Property::U32(_, value) | Property::VarInt(_, value) => Some(value),
            _ => None,
        }
    }

    /// The value of a two-byte property.
    pub fn u16(&self, id: PropertyId) -> Option<u16> {
        self.integer(id).and_then(|value| u16::try_from(value).ok())
    }

    /// The value of a string property.
    pub fn text(&self, id: PropertyId) -> Option<&'a str> {
        match self.find(id)? {
            Property::Text(_, value) => Some(value),
            _ => None,
        }
    }

    /// The value of a binary property.
    pub fn binary(&self, id: PropertyId) -> Option<&'a [u8]> {
        match self.find(id)? {
            Property::Binary(_, value) => Some(value),
            _ => None,
        }
    }

    /// The User Properties, in order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.only(P::UserProperty).iter().filter_map(|p| match p {
            Property::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// The Subscription Identifiers of a PUBLISH that the server sent, in order.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.only(P::SubscriptionIdentifier).iter().filter_map(|p| match p {
            Property::VarInt(P::SubscriptionIdentifier, value) => Some(value),
            _ => None,
        })
    }

    /// The properties without those that belong to one hop or are rewritten on delivery: Topic
    /// Alias, Subscription Identifier, Message Expiry Interval. What remains is forwarded
    /// unaltered and in order [MQTT-3.3.2-4, -15, -16, -17, -18, -20]. Will Delay Interval goes
    /// too, so that a will's properties become those of its publication.
    pub fn forwarded(&self) -> PropertiesBuf {
        if self.seen & PER_HOP == 0 {
            return PropertiesBuf { raw: self.raw.to_vec(), seen: self.seen };
        }
        self.iter().filter(|p| p.id().bit() & PER_HOP == 0).collect()
    }

    /// Whether [`Self::forwarded`] would leave something out.
    pub fn has_per_hop(&self) -> bool {
        self.seen & PER_HOP != 0
    }
}

/// Properties that own their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropertiesBuf {
    raw: Vec<u8>,
    seen: u64,
}

impl PropertiesBuf {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one property. Whether it may stand in the packet is the caller's matter.
    pub fn push(&mut self, property: Property<'_>) {
        property.write(&mut self.raw);
        self.seen |= property.id().bit();
    }

    /// Appends one property and returns the rest, for building in one expression.
    #[must_use]
    pub fn with(mut self, property: Property<'_>) -> Self {
        self.push(property);
        self
    }

    /// A borrowed view.
    pub fn view(&self) -> Properties<'_> {
        Properties { raw: &self.raw, seen: self.seen }
    }
}

impl<'a> FromIterator<Property<'a>> for PropertiesBuf {
    fn from_iter<I: IntoIterator<Item = Property<'a>>>(properties: I) -> Self {
        let mut buf = Self::new();
        for property in properties {
            buf.push(property);
        }
        buf
    }
}

/// What SUBSCRIBE, UNSUBSCRIBE and their answers begin with: a Packet Identifier and, in version 5,
/// properties.
pub(crate) fn read_head<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
    allowed: Allowed,
    limits: &PropertyLimits,
) -> Result<(u16, Properties<'a>), DecodeError> {
    let packet_id = reader.packet_id()?;
    if !version.is_v5() {
        return Ok((packet_id, Properties::EMPTY));
    }
    Ok((packet_id, Properties::read(reader, allowed, limits)?))
}

const TOO_MANY_USER_PROPERTIES: DecodeError =
    DecodeError::with(ReasonCode::QuotaExceeded, "too many User Properties");

const PER_HOP: u64 = P::TopicAlias.bit()
    | P::SubscriptionIdentifier.bit()
    | P::MessageExpiryInterval.bit()
    | P::WillDelayInterval.bit();
