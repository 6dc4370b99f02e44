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
    debug_assert!(bytes.len() <= usize::from(u16::MAX), "strings have at most 65 535 bytes");
    let len = bytes.len().min(usize::from(u16::MAX));
    put_u16(out, len as u16);
    out.extend_from_slice(&bytes[..len]);
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

/// The largest variable byte integer, 268 435 455.
pub(crate) const MAX_VARINT: usize = 0x0FFF_FFFF;
