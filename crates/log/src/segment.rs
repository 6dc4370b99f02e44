//! A segment: one file of the log. Its header is written before its first block, and twice, since
//! without it nothing else in the file can be checked.

use crate::block::checksum;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment's number.
    pub segment: u32,
    /// Bytes from the start of its file.
    pub offset: u32,
    /// Its sequence number.
    pub sequence: u64,
}

/// What is known of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number: later segments have higher ones.
    pub number: u32,
    /// Bytes of its header and blocks.
    pub used: u64,
    /// Bytes of its file.
    pub size: u64,
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u32,
    /// Checksums of the segment begin with it: what an earlier file has left on the disk, or a
    /// client has sent in a message, does not pass for a block.
    pub(crate) epoch: u64,
    /// Sequence number of its first record. Records in earlier segments with this number or a
    /// higher one were never acknowledged, and do not count.
    pub(crate) base: u64,
}

impl SegmentInfo {
    /// The name of its file.
    pub fn file(&self) -> String {
        file_name(self.number)
    }
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_COPY] {
        let mut bytes = [0; HEADER_COPY];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[12..16].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.to_le_bytes());
        let crc = checksum(0, &bytes[12..40]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header, or its copy; `None` when both are damaged.
    pub(crate) fn decode(file: &[u8]) -> Result<Option<Self>, UnknownFormat> {
        for bytes in file.chunks_exact(HEADER_COPY).take(HEADER_COPIES) {
            if let Some(header) = Self::decode_copy(bytes)? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn decode_copy(bytes: &[u8]) -> Result<Option<Self>, UnknownFormat> {
        let u32_at = |at: usize| read_u32(bytes, at);
        let u64_at = |at: usize| read_u64(bytes, at);
        let is_whole = bytes.starts_with(MAGIC) && u32_at(8) == checksum(0, &bytes[12..40]);
        if !is_whole {
            return Ok(None);
        }
        if u32_at(12) != FORMAT {
            return Err(UnknownFormat(u32_at(12)));
        }
        Ok(Some(Self { number: u32_at(16), epoch: u64_at(24), base: u64_at(32) }))
    }
}

/// The segment was written by another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnknownFormat(pub(crate) u32);

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|it| it.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The file of a segment.
pub(crate) fn file_name(number: u32) -> String {
    format!("{number:010}{SUFFIX}")
}

/// The segment that a file holds.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    let are_digits = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().ok()).flatten()
}

/// Whether a file of this name is a segment of the log.
pub fn is_segment(name: &str) -> bool {
    number_of(name).is_some()
}

/// Where blocks begin.
pub(crate) const FIRST_BLOCK: usize = HEADER_COPY * HEADER_COPIES;
/// Bytes of a file at most: offsets in it are 32 bits.
pub(crate) const MAX_SEGMENT: u64 = u32::MAX as u64;
/// The format that this version reads and writes.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"AgentMQ\n";
/// A sector each.
const HEADER_COPY: usize = 512;
const HEADER_COPIES: usize = 2;
const SUFFIX: &str = ".log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copy_of_the_header_is_enough() {
        let header = Header { number: 3, epoch: 0x1234_5678_9ABC_DEF0, base: 77 };
        let mut file = [header.encode(), header.encode()].concat();
        for at in 0..HEADER_COPY {
            file[at] ^= 0x10;
            let found = Header::decode(&file);
            assert_eq!(found, Ok(Some(header)), "byte {at} of the first copy");
            file[at] ^= 0x10;
        }
        file[20] ^= 1; // reserved: checked all the same
        file[HEADER_COPY + 33] ^= 1;
        assert_eq!(Header::decode(&file), Ok(None));
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let mut copy = Header { number: 0, epoch: 1, base: 0 }.encode();
        copy[12] = 2;
        let crc = checksum(0, &copy[12..40]);
        copy[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&copy), Err(UnknownFormat(2)));
    }

    #[test]
    fn names_and_numbers_go_together() {
        assert_eq!(number_of(&file_name(42)), Some(42));
        assert_eq!(number_of("0000000042.bad"), None);
        assert_eq!(number_of("42.log"), None);
        assert_eq!(number_of("+000000042.log"), None);
    }
}
