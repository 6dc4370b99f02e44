//! The primitive data types of MQTT 5 §1.5, read from a slice.

use crate::DecodeError;

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

    /// A string that names a topic to publish to: no wildcards [MQTT-3.3.2-2].
    pub(crate) fn topic_name(&mut self) -> Result<&'a str, DecodeError> {
        check_topic_name(self.binary()?)
    }
}

/// Checks a UTF-8 encoded string: well-formed, without surrogates and U+0000 [MQTT-1.5.4-1, -2].
pub fn check_text(bytes: &[u8]) -> Result<&str, DecodeError> {
    if bytes.contains(&0) {
        return Err(DecodeError::malformed("U+0000 in a string"));
    }
    simdutf8::basic::from_utf8(bytes).map_err(|_| DecodeError::malformed("string is not UTF-8"))
}

/// Checks a topic name: a well-formed string without wildcards [MQTT-3.3.2-2].
pub fn check_topic_name(bytes: &[u8]) -> Result<&str, DecodeError> {
    // One branch-free pass: whether any byte is U+0000, `+` or `#`.
    let bad = bytes.iter().fold(false, |bad, &b| bad | (b == 0) | (b == b'+') | (b == b'#'));
    if bad {
        check_text(bytes)?;
        return Err(DecodeError::with(
            crate::ReasonCode::TopicNameInvalid,
            "topic name with a wildcard",
        ));
    }
    simdutf8::basic::from_utf8(bytes).map_err(|_| DecodeError::malformed("topic is not UTF-8"))
}

const SHORT: DecodeError = DecodeError::malformed("packet ends too early");
