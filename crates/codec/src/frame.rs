//! Finding one packet in a stream of bytes (MQTT 5 §2.1).

use crate::{DecodeError, ReasonCode};

/// The MQTT control packet type: the upper four bits of the first byte (§2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type of a first byte; `None` for the reserved type 0.
    pub fn of(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }
}

/// One packet at the start of a buffer: `buffer[body_at..total]` is what follows the fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: packet type and flags.
    pub first: u8,
    /// Where the body starts: 2 to 5.
    pub body_at: usize,
    /// The whole packet's length in bytes.
    pub total: usize,
}

/// Looks for one whole packet at the start of `buffer`. `Ok(None)` means that more bytes are
/// needed. A packet that announces more than `max_size` bytes in all is refused at once with
/// 0x95, before any of it is stored [MQTT-3.2.2-15].
pub fn cut(buffer: &[u8], max_size: usize) -> Result<Option<Frame>, DecodeError> {
    let Some((&first, rest)) = buffer.split_first() else { return Ok(None) };
    let mut remaining = 0usize;
    for (index, shift) in [0u32, 7, 14, 21].into_iter().enumerate() {
        let Some(&byte) = rest.get(index) else { return Ok(None) };
        remaining |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 != 0 {
            continue;
        }
        if byte == 0 && shift > 0 {
            return Err(DecodeError::malformed("Remaining Length not in its shortest form"));
        }
        let body_at = index + 2;
        let total = body_at + remaining;
        if total > max_size {
            return Err(DecodeError::with(
                ReasonCode::PacketTooLarge,
                "packet larger than Maximum Packet Size",
            ));
        }
        let frame = Frame { first, body_at, total };
        return Ok((buffer.len() >= total).then_some(frame));
    }
    Err(DecodeError::malformed("Remaining Length longer than four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_whole_packet() {
        let packet = [0x30, 0x03, 0, 1, b'a'];
        for cut_at in 0..packet.len() {
            assert_eq!(cut(&packet[..cut_at], 100), Ok(None));
        }
        let frame = Frame { first: 0x30, body_at: 2, total: 5 };
        assert_eq!(cut(&packet, 100), Ok(Some(frame)));
    }

    #[test]
    fn refuses_an_announced_length_before_the_body_arrives() {
        let error = cut(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 1 << 20).unwrap_err();
        assert_eq!(error.reason, ReasonCode::PacketTooLarge);
    }

    #[test]
    fn refuses_overlong_lengths() {
        assert!(cut(&[0xC0, 0x80, 0x00], 100).is_err());
        assert!(cut(&[0xC0, 0x80, 0x80, 0x80, 0x80], 100).is_err());
    }
}
