//! A block: the records that one commit makes durable together.
//!
//! ```text
//! block   magic 4 | checksum 4 | bytes of records 4 | records 4 | first sequence number 8
//!         | durable 8 | reserved 8 | records | zeros up to a multiple of 8
//! record  length 4 | checksum 4 | content
//! ```
//!
//! Numbers are little-endian. The block's checksum covers its header, a record's covers its length
//! and content, so that damage costs the records that it hits. *Durable* is the sequence number
//! up to which everything was durable when the block was written: what is missing below it was
//! acknowledged, what is missing above it was not.

use crate::segment::{read_u32, read_u64};

/// Bytes that a record takes beside its content.
pub const RECORD_OVERHEAD: usize = 8;
/// Bytes of one record's content, at most.
pub const MAX_RECORD: usize = 512 << 20;

/// A block under construction.
#[derive(Debug)]
pub(crate) struct Builder {
    /// Room for the header, then records without their checksums.
    bytes: Vec<u8>,
    count: u32,
}

/// What a block's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of the records.
    pub(crate) len: usize,
    pub(crate) count: u32,
    /// Sequence number of the first record.
    pub(crate) first: u64,
    /// Everything below was durable.
    pub(crate) durable: u64,
}

/// A record of a block: content and place, or the sequence numbers that are not readable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// Its offset in the file, its sequence number and its content.
    Record(usize, u64, &'a [u8]),
    /// From the first up to the second, exclusive.
    Damaged(u64, u64),
}

impl Default for Builder {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER], count: 0 }
    }
}

impl Builder {
    /// Appends a record; returns its offset in the block.
    pub(crate) fn append(&mut self, content: &[u8]) -> u32 {
        let offset = self.bytes.len();
        self.bytes.reserve(RECORD_OVERHEAD + content.len());
        self.bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(content);
        self.count += 1;
        offset as u32
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes that the block takes in the file.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len().next_multiple_of(ALIGNMENT)
    }

    /// Fills in what depends on the place: the bytes to write. May be repeated for another place.
    pub(crate) fn finish(&mut self, epoch: u64, first: u64, durable: u64) -> &[u8] {
        let len = self.bytes.len() - HEADER;
        let (mut at, mut sequence) = (HEADER, first);
        while at + RECORD_OVERHEAD <= HEADER + len {
            let end = at + RECORD_OVERHEAD + read_u32(&self.bytes, at) as usize;
            let crc = record_checksum(epoch, sequence, &self.bytes[at..end]);
            self.bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
            (at, sequence) = (end, sequence + 1);
        }
        let header = &mut self.bytes[..HEADER];
        header[..4].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&(len as u32).to_le_bytes());
        header[12..16].copy_from_slice(&self.count.to_le_bytes());
        header[16..24].copy_from_slice(&first.to_le_bytes());
        header[24..32].copy_from_slice(&durable.to_le_bytes());
        header[32..40].fill(0);
        let crc = checksum(epoch, &header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        &self.bytes
    }

    /// Takes the padding off again, after a failed attempt to write.
    pub(crate) fn reopen(&mut self) {
        let len = read_u32(&self.bytes, 8) as usize;
        self.bytes.truncate(HEADER + len);
    }

    /// Begins the next block, with the memory of this one.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(HEADER);
        self.bytes.shrink_to(KEPT);
        self.count = 0;
    }
}

impl Header {
    /// The header of a block that begins at `at` and lies within the file.
    pub(crate) fn read(file: &[u8], at: usize, epoch: u64) -> Option<Self> {
        let read = Self::read_head(file.get(at..at + HEADER)?, epoch)?;
        (at + HEADER + read.len <= file.len()).then_some(read)
    }

    /// The header from its own bytes.
    pub(crate) fn read_head(header: &[u8], epoch: u64) -> Option<Self> {
        if !header.starts_with(MAGIC) || read_u32(header, 4) != checksum(epoch, &header[8..]) {
            return None;
        }
        Some(Self {
            len: read_u32(header, 8) as usize,
            count: read_u32(header, 12),
            first: read_u64(header, 16),
            durable: read_u64(header, 24),
        })
    }

    /// Bytes from this block's start to the next one's.
    pub(crate) fn size(&self) -> usize {
        (HEADER + self.len).next_multiple_of(ALIGNMENT)
    }

    /// The sequence number after the last record.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Shows the records of the block at `at`.
    pub(crate) fn records<'a>(
        &self,
        file: &'a [u8],
        at: usize,
        epoch: u64,
        mut show: impl FnMut(Found<'a>),
    ) {
        let (mut at, end) = (at + HEADER, at + HEADER + self.len);
        for sequence in self.first..self.end() {
            let stop = at + RECORD_OVERHEAD + read_u32(file, at) as usize;
            if at + RECORD_OVERHEAD > end || stop > end {
                return show(Found::Damaged(sequence, self.end())); // where the next begins is lost
            }
            let record = &file[at..stop];
            let is_whole = read_u32(record, 4) == record_checksum(epoch, sequence, record);
            show(match is_whole {
                true => Found::Record(at, sequence, &record[RECORD_OVERHEAD..]),
                false => Found::Damaged(sequence, sequence + 1),
            });
            at = stop;
        }
    }
}

/// Bytes of the content, from the record's first four.
pub(crate) fn content_len(head: &[u8]) -> usize {
    read_u32(head, 0) as usize
}

/// Whether the record with this sequence number is what was written.
pub(crate) fn is_whole(record: &[u8], epoch: u64, sequence: u64) -> bool {
    read_u32(record, 4) == record_checksum(epoch, sequence, record)
}

fn record_checksum(epoch: u64, sequence: u64, record: &[u8]) -> u32 {
    let length = checksum(epoch.wrapping_add(sequence), &record[..4]);
    crc32c::crc32c_append(length, &record[RECORD_OVERHEAD..])
}

/// CRC32C that begins with a seed.
pub(crate) fn checksum(seed: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append((seed ^ (seed >> 32)) as u32, bytes)
}

/// Blocks begin at multiples of it, so that a search after damage need not look everywhere.
pub(crate) const ALIGNMENT: usize = 8;
/// Bytes of a block's header.
pub(crate) const HEADER: usize = 40;
const MAGIC: &[u8; 4] = b"AMQb";
/// A larger block's memory goes back.
const KEPT: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &[u8], header: &Header) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut all = Vec::new();
        header.records(file, 0, 9, |found| match found {
            Found::Record(_, sequence, content) => all.push((sequence, Some(content.to_vec()))),
            Found::Damaged(from, to) => all.extend((from..to).map(|it| (it, None))),
        });
        all
    }

    #[test]
    fn records_come_back() {
        let mut builder = Builder::default();
        let offsets = [builder.append(b"one"), builder.append(b""), builder.append(b"three")];
        let file = builder.finish(9, 100, 50).to_vec();
        let header = Header::read(&file, 0, 9).expect("a whole block");
        assert_eq!((header.first, header.end(), header.durable), (100, 103, 50));
        assert_eq!(header.size(), file.len());
        let contents = [b"one".to_vec(), Vec::new(), b"three".to_vec()];
        let expected = (100..).zip(contents.map(Some)).collect::<Vec<_>>();
        assert_eq!(found(&file, &header), expected);
        assert_eq!(content_len(&file[offsets[2] as usize..]), 5);
        assert_eq!(Header::read(&file, 0, 10), None, "of another segment");
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_costs_what_it_hits() {
        let mut builder = Builder::default();
        for content in [&b"first"[..], b"second", b"third"] {
            builder.append(content);
        }
        let whole = builder.finish(9, 0, 0).to_vec();
        let used = HEADER + 3 * RECORD_OVERHEAD + 5 + 6 + 5;
        for bit in 0..used * 8 {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            let Some(header) = Header::read(&file, 0, 9) else {
                assert!(bit / 8 < HEADER, "bit {bit}");
                continue;
            };
            let found = found(&file, &header);
            assert_eq!(found.len(), 3);
            let lost = found.iter().filter(|(_, content)| content.is_none()).count();
            assert!(lost >= 1, "bit {bit} went unnoticed");
            let in_length = [0, 13, 27].iter().any(|at| (bit / 8 - HEADER).wrapping_sub(*at) < 4);
            assert!(lost == 1 || in_length, "bit {bit} cost {lost}");
        }
    }

    #[test]
    fn a_block_can_be_finished_for_another_place() {
        let mut builder = Builder::default();
        builder.append(b"x");
        builder.finish(1, 5, 0);
        builder.reopen();
        builder.append(b"y");
        let file = builder.finish(9, 7, 0).to_vec();
        let header = Header::read(&file, 0, 9).expect("whole");
        assert_eq!(found(&file, &header).len(), 2);
        builder.clear();
        assert_eq!((builder.count(), builder.size()), (0, HEADER));
    }
}
