//! The primitive data types of MQTT 5 §1.5, written to a vector.

/// How many bytes a variable byte integer takes: 1 to 4.
pub fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value <= MAX_VARINT, "a variable byte integer has 28 bits");
    while value > 0x7F {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Binary data with its two-byte length; what exceeds 65 535 bytes is cut, since no valid packet
/// can hold it.
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= MAX_STRING, "binary data has at most 65 535 bytes");
    let len = bytes.len().min(MAX_STRING);
    put_u16(out, len as u16);
    out.extend_from_slice(&bytes[..len]);
}

/// A UTF-8 string with its two-byte length; what exceeds 65 535 bytes is cut in front of a
/// character, so that what remains is still UTF-8.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_binary(out, fitting(text).as_bytes());
}

/// As much of a string as its two-byte length can tell.
pub(crate) fn fitting(text: &str) -> &str {
    debug_assert!(text.len() <= MAX_STRING, "strings have at most 65 535 bytes");
    text.get(..text.floor_char_boundary(MAX_STRING)).unwrap_or(text)
}

/// Writes a fixed header and whatever `body` appends, with the Remaining Length in between.
pub(crate) fn put_packet(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first);
    put_with_length(out, body);
}

/// Writes what `body` appends, preceded by its length as a variable byte integer. Most control
/// packets are shorter than 128 bytes, so one byte is reserved and longer ones move.
pub(crate) fn put_with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    body(out);
    let len = out.len() - at - 1;
    let extra = varint_len(len) - 1;
    if extra > 0 {
        out.splice(at..at, std::iter::repeat_n(0, extra));
    }
    let mut rest = len;
    for byte in &mut out[at..at + extra] {
        *byte = (rest & 0x7F) as u8 | 0x80;
        rest >>= 7;
    }
    out[at + extra] = rest as u8;
}

/// The longest string or binary data (§1.5.4, §1.5.6).
const MAX_STRING: usize = u16::MAX as usize;

/// The largest variable byte integer, 268 435 455.
pub(crate) const MAX_VARINT: usize = 0x0FFF_FFFF;
