//! The primitive data types of MQTT 5 §1.5, read from a slice.

use crate::{DecodeError, ReasonCode};

/// A cursor over one packet's bytes. Every read checks the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.bytes.split_first().ok_or(SHORT)?;
        self.bytes = rest;
        Ok(first)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        let (head, rest) = self.bytes.split_first_chunk::<2>().ok_or(SHORT)?;
        self.bytes = rest;
        Ok(u16::from_be_bytes(*head))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        let (head, rest) = self.bytes.split_first_chunk::<4>().ok_or(SHORT)?;
        self.bytes = rest;
        Ok(u32::from_be_bytes(*head))
    }

    /// A packet identifier, which is never 0 [MQTT-2.2.1-3].
    pub(crate) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::protocol("packet identifier 0")),
            id => Ok(id),
        }
    }

    /// A variable byte integer in its shortest form, four bytes at most [MQTT-1.5.5-1].
    pub(crate) fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0u32, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::malformed(
                        "variable byte integer not in its shortest form",
                    ));
                }
                return Ok(value);
            }
        }
        Err(DecodeError::malformed("variable byte integer longer than four bytes"))
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.bytes.split_at_checked(len).ok_or(SHORT)?;
        self.bytes = rest;
        Ok(head)
    }

    /// Binary data with a two-byte length (§1.5.6).
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 encoded string (§1.5.4).
    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        check_text(self.binary()?)
    }

    /// A string that names a topic to publish to: no wildcards [MQTT-3.3.2-2]. `wildcard` is what
    /// to say of one that has any.
    pub(crate) fn topic_name(&mut self, wildcard: DecodeError) -> Result<&'a str, DecodeError> {
        check_topic(self.binary()?, wildcard)
    }
}

/// Checks a UTF-8 encoded string: well-formed, without surrogates and U+0000 [MQTT-1.5.4-1, -2].
pub fn check_text(bytes: &[u8]) -> Result<&str, DecodeError> {
    if has_any(bytes, [0]) {
        return Err(DecodeError::malformed("U+0000 in a string"));
    }
    simdutf8::basic::from_utf8(bytes).map_err(|_| DecodeError::malformed("string is not UTF-8"))
}

/// Checks a topic name: a well-formed string without wildcards [MQTT-3.3.2-2].
pub fn check_topic_name(bytes: &[u8]) -> Result<&str, DecodeError> {
    check_topic(bytes, TOPIC_WITH_WILDCARD)
}

fn check_topic(bytes: &[u8], wildcard: DecodeError) -> Result<&str, DecodeError> {
    if has_any(bytes, [0, b'+', b'#']) {
        check_text(bytes)?;
        return Err(wildcard);
    }
    simdutf8::basic::from_utf8(bytes).map_err(|_| DecodeError::malformed("topic is not UTF-8"))
}

/// Whether any of the needles is among the bytes. Topics are short, so this looks at eight bytes
/// at a time instead of leaving a long tail to be looked at one by one: a quarter of the
/// instructions for a topic of 22 bytes.
fn has_any<const N: usize>(bytes: &[u8], needles: [u8; N]) -> bool {
    // The sum is not 0 exactly if one of the eight bytes equals a needle: only a byte that is 0
    // borrows into its own high bit first.
    let hit = |chunk: &[u8; 8]| {
        let word = u64::from_ne_bytes(*chunk);
        needles.iter().fold(0, |hit, &needle| {
            let zero_where_equal = word ^ (ONES * u64::from(needle));
            hit | (zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & HIGH_BITS)
        })
    };
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().any(|byte| needles.contains(byte));
    };
    // The last eight bytes may overlap the chunk before them, which does no harm.
    let (chunks, _) = bytes.as_chunks::<8>();
    chunks.iter().fold(hit(last), |any, chunk| any | hit(chunk)) != 0
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = ONES << 7;

pub(crate) const TOPIC_WITH_WILDCARD: DecodeError =
    DecodeError::with(ReasonCode::TopicNameInvalid, "topic name with a wildcard");
const SHORT: DecodeError = DecodeError::malformed("packet ends too early");

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte, beside every other kind of neighbor, at every place of short strings.
    #[test]
    fn finds_a_needle_anywhere_and_nothing_else() {
        for len in 0..26 {
            for filler in [b'a', 0x01, 0x22, 0x24, 0x2A, 0x2C, 0x7F, 0x80, 0x81, 0xFF] {
                let mut bytes = vec![filler; len];
                assert!(!has_any(&bytes, [0, b'+', b'#']));
                for at in 0..len {
                    for byte in 0..=255 {
                        bytes[at] = byte;
                        let expected = matches!(byte, 0 | b'+' | b'#');
                        assert_eq!(has_any(&bytes, [0, b'+', b'#']), expected, "{bytes:x?}");
                        assert_eq!(has_any(&bytes, [0]), byte == 0);
                    }
                    bytes[at] = filler;
                }
            }
        }
    }
}
