//! Any control packet.

use crate::{
    Ack, AckKind, Auth, ConnAck, Connect, DecodeError, Disconnect, FilterAck, FilterAckKind,
    PacketType, PropertyLimits, ProtocolVersion, Publish, Subscribe, Unsubscribe,
};

/// A validated control packet that borrows from the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(FilterAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(FilterAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Reads the packet whose first byte is `first` and whose remaining bytes are `body`. The
    /// flags must be those that the standard fixes [MQTT-2.1.3-1]. For CONNECT the version is
    /// ignored; whoever must answer a bad one calls [`Connect::decode`].
    pub fn decode(
        first: u8,
        body: &'a [u8],
        version: ProtocolVersion,
        limits: &PropertyLimits,
    ) -> Result<Self, DecodeError> {
        use PacketType as T;
        let kind = PacketType::of(first).ok_or(DecodeError::malformed("control packet type 0"))?;
        check_flags(kind, first, version)?;
        let ack = |kind| Ack::decode(kind, body, version, limits).map(Self::Ack);
        let filter_ack = |kind| FilterAck::decode(kind, body, version, limits);
        match kind {
            T::Publish => Publish::decode(first & 0x0F, body, version, limits).map(Self::Publish),
            T::PubAck => ack(AckKind::PubAck),
            T::PubRec => ack(AckKind::PubRec),
            T::PubRel => ack(AckKind::PubRel),
            T::PubComp => ack(AckKind::PubComp),
            T::Connect => Connect::decode(body, limits)
                .map(|connect| Self::Connect(Box::new(connect)))
                .map_err(|refused| refused.error),
            T::ConnAck => ConnAck::decode(body, version, limits).map(Self::ConnAck),
            T::Subscribe => Subscribe::decode(body, version, limits).map(Self::Subscribe),
            T::SubAck => filter_ack(FilterAckKind::SubAck).map(Self::SubAck),
            T::Unsubscribe => Unsubscribe::decode(body, version, limits).map(Self::Unsubscribe),
            T::UnsubAck => filter_ack(FilterAckKind::UnsubAck).map(Self::UnsubAck),
            T::PingReq => without_body(body).map(|()| Self::PingReq),
            T::PingResp => without_body(body).map(|()| Self::PingResp),
            T::Disconnect => Disconnect::decode(body, version, limits).map(Self::Disconnect),
            T::Auth => Auth::decode(body, version, limits).map(Self::Auth),
        }
    }

    /// Appends the packet.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::Ack(packet) => packet.encode(version, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) | Self::UnsubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::PingReq => out.extend_from_slice(&[0xC0, 0]),
            Self::PingResp => out.extend_from_slice(&[0xD0, 0]),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(out),
        }
    }
}

/// Fixed header flags (§2.1.3): 0010 for PUBREL, SUBSCRIBE and UNSUBSCRIBE, else 0000. In version
/// 3.1 (§2.1, §3 there) the former are QoS 1 and may be sent again with DUP, and what is not used
/// means nothing.
fn check_flags(kind: PacketType, first: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    use PacketType as T;
    if kind == T::Publish {
        return Ok(()); // DUP, QoS and RETAIN, which PUBLISH checks itself
    }
    let expected = match kind {
        T::PubRel | T::Subscribe | T::Unsubscribe => 0b0010,
        _ => 0,
    };
    let used = match (version, kind) {
        (_, T::Connect) | (ProtocolVersion::V311 | ProtocolVersion::V5, _) => 0x0F,
        (ProtocolVersion::V31, T::PubRel | T::Subscribe | T::Unsubscribe) => 0b0110,
        (ProtocolVersion::V31, _) => 0,
    };
    if first & used == expected {
        Ok(())
    } else {
        Err(DecodeError::malformed("reserved flags of the fixed header"))
    }
}

fn without_body(body: &[u8]) -> Result<(), DecodeError> {
    if body.is_empty() { Ok(()) } else { Err(DecodeError::malformed("PING with a body")) }
}
