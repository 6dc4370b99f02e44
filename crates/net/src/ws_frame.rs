//! RFC 6455 section 5, server side: client frames in, unmasked payload out, in place.
//!
//! MQTT treats the payloads of binary frames as one stream [MQTT-6.0.0-2], so no message is ever
//! put together here: payload is handed on as it arrives, and an announced length costs no memory.

/// The decoder of one connection's incoming frames.
#[derive(Debug)]
pub struct FrameDecoder {
    max_frame_bytes: u64,
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The payload of a control frame that has not arrived completely; at most 125 bytes.
    control: Vec<u8>,
    /// A fragmented message is open: only continuations and control frames may follow.
    in_message: bool,
    closed: bool,
}

/// What one call of [`FrameDecoder::decode`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// How many payload bytes now stand at the front of the buffer.
    pub payload: usize,
    /// The body of the latest ping, to be sent back as a pong. Earlier pings of the same call need
    /// no answer of their own (RFC 6455 section 5.5.3).
    pub ping: Option<Vec<u8>>,
    /// The peer closed, with this code if it gave one. Bytes behind the close frame were ignored.
    pub close: Option<Option<CloseCode>>,
}

/// The opcode of a frame that this side sends or takes (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0x0,
    /// A binary message or its first fragment.
    Binary = 0x2,
    /// The end of the WebSocket.
    Close = 0x8,
    /// A question whether the peer is there.
    Ping = 0x9,
    /// The answer.
    Pong = 0xA,
}

/// Why a WebSocket ends (RFC 6455 section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1002: the peer broke the framing rules.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: the peer sent text; MQTT is binary [MQTT-6.0.0-1].
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: text that is not UTF-8 (a close reason).
    pub const INVALID_DATA: Self = Self(1007);
    /// 1009: a frame longer than allowed.
    pub const TOO_BIG: Self = Self(1009);

    /// Whether a peer may send this code in a close frame.
    const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// How a peer broke the framing rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// RFC 6455 section 5.1.
    #[error("a client frame is not masked")]
    Unmasked,
    /// RFC 6455 section 5.2; no extension is ever agreed.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// RFC 6455 section 5.2.
    #[error("the opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// [MQTT-6.0.0-1].
    #[error("a text frame arrived; MQTT takes binary frames only")]
    Text,
    /// RFC 6455 section 5.5.
    #[error("a control frame is fragmented or longer than 125 bytes")]
    ControlFrame,
    /// RFC 6455 section 5.2.
    #[error("a frame length is not in its shortest form or has its highest bit set")]
    Length,
    /// The configured limit.
    #[error("a frame announces {announced} bytes, more than the {limit} allowed")]
    TooLong {
        /// What the frame header says.
        announced: u64,
        /// The limit of this listener.
        limit: u64,
    },
    /// RFC 6455 section 5.4.
    #[error("a continuation without a message, or a message within a message")]
    Fragmentation,
    /// RFC 6455 sections 5.5.1 and 7.4.
    #[error("a close frame has a malformed body")]
    CloseBody,
    /// RFC 6455 section 5.5.1.
    #[error("the reason in a close frame is not UTF-8")]
    CloseReason,
}

impl FrameError {
    /// The code to close with.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Text => CloseCode::UNSUPPORTED_DATA,
            Self::TooLong { .. } => CloseCode::TOO_BIG,
            Self::CloseReason => CloseCode::INVALID_DATA,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    mask: [u8; 4],
    /// Which byte of the mask the next payload byte meets.
    phase: usize,
    remaining: u64,
}

impl FrameDecoder {
    /// A decoder for a fresh connection that refuses data frames longer than `max_frame_bytes`.
    #[must_use]
    pub const fn new(max_frame_bytes: u64) -> Self {
        Self {
            max_frame_bytes,
            header: [0; MAX_HEADER],
            header_len: 0,
            frame: None,
            control: Vec::new(),
            in_message: false,
            closed: false,
        }
    }

    /// Takes the next bytes of the connection, split anywhere, and leaves their unmasked payload at
    /// the front of `bytes`. After a close frame everything is ignored.
    ///
    /// # Errors
    /// The rule that was broken; the decoder is of no further use.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, FrameError> {
        let mut decoded = Decoded::default();
        let mut read = 0;
        while read < bytes.len() && !self.closed {
            let Some(frame) = &mut self.frame else {
                // The slice is not empty, so at least one byte is taken.
                read += self.take_header(bytes.get(read..).unwrap_or_default(), &mut decoded)?;
                continue;
            };
            let arrived = (bytes.len() - read) as u64;
            // Not more than `arrived`, so it fits.
            let take = frame.remaining.min(arrived) as usize;
            if matches!(frame.opcode, Opcode::Binary | Opcode::Continuation) {
                bytes.copy_within(read..read + take, decoded.payload);
                let payload = bytes.get_mut(decoded.payload..decoded.payload + take);
                frame.phase = unmask(payload.unwrap_or_default(), frame.mask, frame.phase);
                decoded.payload += take;
            } else {
                let start = self.control.len();
                self.control.extend_from_slice(bytes.get(read..read + take).unwrap_or_default());
                let body = self.control.get_mut(start..).unwrap_or_default();
                frame.phase = unmask(body, frame.mask, frame.phase);
            }
            read += take;
            frame.remaining -= take as u64;
            if frame.remaining == 0 {
                self.finish_frame(&mut decoded)?;
            }
        }
        Ok(decoded)
    }

    /// Moves header bytes over and starts the frame when the header is complete. Returns how many.
    fn take_header(&mut self, bytes: &[u8], decoded: &mut Decoded) -> Result<usize, FrameError> {
        let mut taken = 0;
        for byte in bytes {
            if let Some(slot) = self.header.get_mut(self.header_len) {
                *slot = *byte;
            }
            self.header_len += 1;
            taken += 1;
            if self.header_len == 2 {
                self.check_opening()?;
            }
            if self.header_len >= 2 && self.header_len == header_bytes(self.header[1]) {
                self.start_frame()?;
                if self.frame.as_ref().is_some_and(|frame| frame.remaining == 0) {
                    self.finish_frame(decoded)?;
                }
                break;
            }
        }
        Ok(taken)
    }

    /// The rules that the first two bytes decide, before the rest of the header has arrived.
    fn check_opening(&self) -> Result<(), FrameError> {
        let [first, second, ..] = self.header;
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBit);
        }
        let opcode = opcode(first & 0x0F)?;
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        let last = first & FINAL != 0;
        match opcode {
            Opcode::Continuation if !self.in_message => Err(FrameError::Fragmentation),
            Opcode::Binary if self.in_message => Err(FrameError::Fragmentation),
            Opcode::Close | Opcode::Ping | Opcode::Pong if !last || second & 0x7F > 125 => {
                Err(FrameError::ControlFrame)
            }
            _ => Ok(()),
        }
    }

    fn start_frame(&mut self) -> Result<(), FrameError> {
        let [first, second, a, b, c, d, e, f, g, h, i, j, k, l] = self.header;
        let (remaining, mask) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f]),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [i, j, k, l]),
            short => (u64::from(short), [a, b, c, d]),
        };
        let shortest = match second & 0x7F {
            126 => remaining > 125,
            127 => remaining > 0xFFFF && remaining >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(FrameError::Length);
        }
        let opcode = opcode(first & 0x0F)?;
        if matches!(opcode, Opcode::Binary | Opcode::Continuation) {
            if remaining > self.max_frame_bytes {
                let limit = self.max_frame_bytes;
                return Err(FrameError::TooLong { announced: remaining, limit });
            }
            self.in_message = first & FINAL == 0;
        }
        self.header_len = 0;
        self.frame = Some(Frame { opcode, mask, phase: 0, remaining });
        Ok(())
    }

    fn finish_frame(&mut self, decoded: &mut Decoded) -> Result<(), FrameError> {
        let opcode = self.frame.take().map(|frame| frame.opcode);
        // Taken, not cleared: an idle connection keeps no buffer.
        let body = std::mem::take(&mut self.control);
        match opcode {
            Some(Opcode::Ping) => decoded.ping = Some(body),
            Some(Opcode::Close) => {
                decoded.close = Some(close_code(&body)?);
                self.closed = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Writes the header of an unmasked, final frame as a server sends it and returns its length in
/// bytes.
pub fn encode_frame_header(opcode: Opcode, payload: u64, header: &mut [u8; 10]) -> usize {
    let [first, second, long @ ..] = header;
    *first = FINAL | opcode as u8;
    if let Some(short) = u8::try_from(payload).ok().filter(|short| *short <= 125) {
        *second = short;
        2
    } else if let Ok(medium) = u16::try_from(payload) {
        *second = 126;
        let [high, low, ..] = long;
        [*high, *low] = medium.to_be_bytes();
        4
    } else {
        *second = 127;
        *long = payload.to_be_bytes();
        10
    }
}

/// Appends a control frame; a body beyond 125 bytes is cut off.
pub(crate) fn encode_control(opcode: Opcode, body: &[u8], out: &mut Vec<u8>) {
    let body = body.get(..125).unwrap_or(body);
    out.extend([FINAL | opcode as u8, body.len() as u8]);
    out.extend_from_slice(body);
}

/// Appends a close frame with a reason for whoever debugs the client.
pub(crate) fn encode_close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    let reason = reason.get(..reason.floor_char_boundary(123)).unwrap_or_default();
    let mut body = Vec::with_capacity(2 + reason.len());
    body.extend(code.0.to_be_bytes());
    body.extend_from_slice(reason.as_bytes());
    encode_control(Opcode::Close, &body, out);
}

/// XORs `bytes` with the mask that has already met `phase` bytes; returns the phase of the next
/// byte.
fn unmask(bytes: &mut [u8], mask: [u8; 4], phase: usize) -> usize {
    let mut mask = mask;
    mask.rotate_left(phase % 4);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let next = (phase + bytes.len()) % 4;
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    next
}

/// How long the header is whose second byte this is, mask included.
const fn header_bytes(second: u8) -> usize {
    match second & 0x7F {
        126 => 8,
        127 => 14,
        _ => 6,
    }
}

const fn opcode(value: u8) -> Result<Opcode, FrameError> {
    match value {
        0x0 => Ok(Opcode::Continuation),
        0x1 => Err(FrameError::Text),
        0x2 => Ok(Opcode::Binary),
        0x8 => Ok(Opcode::Close),
        0x9 => Ok(Opcode::Ping),
        0xA => Ok(Opcode::Pong),
        reserved => Err(FrameError::ReservedOpcode(reserved)),
    }
}

fn close_code(body: &[u8]) -> Result<Option<CloseCode>, FrameError> {
    match body {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = CloseCode(u16::from_be_bytes([*high, *low]));
            if !code.may_be_sent() {
                return Err(FrameError::CloseBody);
            }
            str::from_utf8(reason).map_err(|_| FrameError::CloseReason)?;
            Ok(Some(code))
        }
        [_] => Err(FrameError::CloseBody),
    }
}

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// Two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A client frame: first byte, mask, payload.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(MASKED | short as u8),
            medium @ 126..=0xFFFF => {
                bytes.push(MASKED | 126);
                bytes.extend((medium as u16).to_be_bytes());
            }
            long => {
                bytes.push(MASKED | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<(Vec<u8>, Decoded), FrameError> {
        let mut bytes = bytes.to_vec();
        let decoded = FrameDecoder::new(1000).decode(&mut bytes)?;
        bytes.truncate(decoded.payload);
        Ok((bytes, decoded))
    }

    #[test]
    fn the_masked_example_of_the_rfc_decodes() {
        // Section 5.7, "Hello", as a binary frame.
        let bytes = [0x82, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
        assert_eq!(decode(&bytes).unwrap().0, b"Hello");
    }

    #[test]
    fn packets_packed_in_frames_and_fragments_become_one_stream() {
        let bytes = [
            frame(0x82, b"one"),
            frame(0x02, b"two"),
            frame(0x89, b"are you there"),
            frame(0x00, b""),
            frame(0x8A, b"unasked"),
            frame(0x80, b"three"),
            frame(0x82, &[7; 300]),
        ]
        .concat();
        let (payload, decoded) = decode(&bytes).unwrap();
        assert_eq!(payload, [b"onetwothree".as_slice(), &[7; 300]].concat());
        assert_eq!(decoded.ping.as_deref(), Some(b"are you there".as_slice()));
        assert_eq!(decoded.close, None);
    }

    #[test]
    fn payload_before_a_close_is_delivered_and_bytes_behind_it_are_not() {
        let bytes =
            [frame(0x82, b"bye"), frame(0x88, &1000_u16.to_be_bytes()), b"junk".to_vec()].concat();
        let (payload, decoded) = decode(&bytes).unwrap();
        assert_eq!(payload, b"bye");
        assert_eq!(decoded.close, Some(Some(CloseCode::NORMAL)));
        assert_eq!(decode(&frame(0x88, b"")).unwrap().1.close, Some(None));
    }

    #[test]
    fn broken_rules_are_named_with_their_close_code() {
        let too_long = FrameError::TooLong { announced: 1001, limit: 1000 };
        let cases: Vec<(Vec<u8>, FrameError, u16)> = vec![
            (frame(0x81, b"text"), FrameError::Text, 1003),
            (vec![0x82, 0x05], FrameError::Unmasked, 1002),
            (frame(0xC2, b""), FrameError::ReservedBit, 1002),
            (frame(0x83, b""), FrameError::ReservedOpcode(3), 1002),
            (frame(0x8B, b""), FrameError::ReservedOpcode(11), 1002),
            (frame(0x09, b""), FrameError::ControlFrame, 1002),
            (vec![0x89, 0xFE], FrameError::ControlFrame, 1002),
            (frame(0x80, b""), FrameError::Fragmentation, 1002),
            ([frame(0x02, b"a"), frame(0x82, b"b")].concat(), FrameError::Fragmentation, 1002),
            (vec![0x82, 0xFE, 0, 125, 1, 2, 3, 4], FrameError::Length, 1002),
            (
                [vec![0x82, 0xFF], 0xFFFF_u64.to_be_bytes().to_vec(), vec![0; 4]].concat(),
                FrameError::Length,
                1002,
            ),
            ([vec![0x82, 0xFF], vec![0xFF; 8], vec![0; 4]].concat(), FrameError::Length, 1002),
            (frame(0x82, &[0; 1001]), too_long, 1009),
            (frame(0x88, &[3]), FrameError::CloseBody, 1002),
            (frame(0x88, &1005_u16.to_be_bytes()), FrameError::CloseBody, 1002),
            (frame(0x88, &[3, 0xE8, 0xFF]), FrameError::CloseReason, 1007),
        ];
        for (bytes, error, code) in cases {
            assert_eq!(decode(&bytes).unwrap_err(), error);
            assert_eq!(error.close_code(), CloseCode(code));
        }
    }

    #[test]
    fn headers_take_the_shortest_form() {
        let mut header = [0; 10];
        assert_eq!(encode_frame_header(Opcode::Binary, 125, &mut header), 2);
        assert_eq!(header[..2], [0x82, 125]);
        assert_eq!(encode_frame_header(Opcode::Binary, 126, &mut header), 4);
        assert_eq!(header[..4], [0x82, 126, 0, 126]);
        assert_eq!(encode_frame_header(Opcode::Binary, 0xFFFF, &mut header), 4);
        assert_eq!(encode_frame_header(Opcode::Pong, 0x1_0000, &mut header), 10);
        assert_eq!(header, [0x8A, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        encode_close(CloseCode::PROTOCOL_ERROR, &"é".repeat(100), &mut out);
        assert_eq!(usize::from(out[1]), out.len() - 2);
        assert!(out.len() <= 127);
        assert!(str::from_utf8(&out[4..]).is_ok());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_payload(
            payloads in vec((vec(any::<u8>(), 0..300), any::<bool>()), 0..8),
            cuts in vec(1_usize..64, 1..64),
        ) {
            let mut bytes = Vec::new();
            let mut expected: Vec<u8> = Vec::new();
            for (payload, ping) in &payloads {
                let (head, tail) = payload.split_at(payload.len() / 2);
                bytes.extend(frame(0x02, head));
                if *ping {
                    bytes.extend(frame(0x89, b"ping"));
                }
                bytes.extend(frame(0x80, tail));
                expected.extend(payload);
            }
            let mut decoder = FrameDecoder::new(1000);
            let (mut payload, mut pings) = (Vec::<u8>::new(), 0);
            let mut rest = bytes.as_mut_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at_mut((*cut).min(rest.len()));
                let decoded = decoder.decode(piece).unwrap();
                payload.extend(&piece[..decoded.payload]);
                pings += usize::from(decoded.ping.is_some());
                rest = tail;
            }
            prop_assert_eq!(payload, expected);
            let asked = payloads.iter().filter(|(_, ping)| *ping).count();
            prop_assert!(pings <= asked && (pings > 0 || asked == 0));
        }

        #[test]
        fn unmasking_in_pieces_equals_unmasking_at_once(
            bytes: Vec<u8>, mask: [u8; 4], cut: prop::sample::Index,
        ) {
            let mut whole = bytes.clone();
            unmask(&mut whole, mask, 0);
            let naive: Vec<u8> =
                bytes.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            prop_assert_eq!(&whole, &naive);
            let mut pieces = bytes;
            let cut = cut.index(pieces.len() + 1);
            let (head, tail) = pieces.split_at_mut(cut);
            let phase = unmask(head, mask, 0);
            unmask(tail, mask, phase);
            prop_assert_eq!(pieces, whole);
        }
    }
}
