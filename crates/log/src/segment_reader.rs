//! Reading single records of a segment while another thread appends to the log and cleans it.

use std::io;

use crate::block::{self, RECORD_OVERHEAD};
use crate::disk::{Disk, DiskFile};
use crate::log::ReadError;
use crate::recovery::second_name;
use crate::segment::{FIRST_BLOCK, Header, Position, file_name};

/// An open segment, to be read record by record. It stays readable when the log lets go of it.
#[derive(Debug)]
pub struct SegmentReader<F> {
    file: F,
    header: Header,
    /// A part of the file, read ahead: records that lie behind each other cost one read.
    window: Vec<u8>,
    window_at: u64,
}

impl<F: DiskFile> SegmentReader<F> {
    /// Opens a segment; [`ReadError::Gone`] when the log has let go of it, and
    /// [`ReadError::NotOpened`] when it may be tried again.
    pub fn open<D: Disk<File = F>>(disk: &D, number: u32) -> Result<Self, ReadError> {
        let place = || file_name(number);
        let file = disk.open(&place()).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ReadError::Gone(number),
            _ => ReadError::NotOpened { place: place(), source },
        })?;
        let io = |source| ReadError::Io { place: place(), source };
        let mut start = vec![0; FIRST_BLOCK];
        file.read_at(&mut start, 0).map_err(io)?;
        let header = Header::decode(&start).ok().flatten().filter(|it| it.number == number);
        let damaged = || ReadError::Damaged { place: place(), offset: 0, sequence: 0 };
        let header = header.ok_or_else(damaged)?;
        Ok(Self { file, header, window: Vec::new(), window_at: 0 })
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.header.number
    }

    /// Reads one record that a commit has put there.
    pub fn read(&mut self, position: Position) -> Result<&[u8], ReadError> {
        let place = || file_name(position.segment);
        let io = |source| ReadError::Io { place: place(), source };
        let damaged = || ReadError::Damaged {
            place: place(),
            offset: position.offset,
            sequence: position.sequence,
        };
        let offset = u64::from(position.offset);
        self.look_at(offset, RECORD_OVERHEAD).map_err(io)?;
        let at = (offset - self.window_at) as usize;
        let len = RECORD_OVERHEAD + block::content_len(&self.window[at..]);
        match self.look_at(offset, len) {
            // A length that leads beyond the file is no length.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
            result => result.map_err(io)?,
        }
        let at = (offset - self.window_at) as usize;
        let record = &self.window[at..at + len];
        if !block::is_whole(record, self.header.epoch, position.sequence) {
            return Err(damaged());
        }
        Ok(&record[RECORD_OVERHEAD..])
    }

    /// Sees to it that `len` bytes at `offset` are in the window.
    fn look_at(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let end = offset + len as u64;
        if offset >= self.window_at && end <= self.window_at + self.window.len() as u64 {
            return Ok(());
        }
        // The file may be cut off behind its last record meanwhile: then only what is asked for.
        let left = self.file.size()?.saturating_sub(offset);
        if left < len as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let ahead = left.min(AHEAD) as usize;
        self.window_at = offset;
        self.window.resize(ahead.max(len), 0);
        if ahead > len && self.file.read_at(&mut self.window, offset).is_ok() {
            return Ok(());
        }
        self.window.truncate(len);
        let read = self.file.read_at(&mut self.window, offset);
        if read.is_err() {
            self.window.clear();
        }
        read
    }
}

/// Keeps a segment's file under a second name, since something in it cannot be read; returns that.
pub fn keep_segment<D: Disk>(disk: &mut D, number: u32) -> Option<String> {
    second_name(disk, &file_name(number))
}

/// Bytes read at once.
const AHEAD: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Log, Settings, SimulatedDisk};

    fn log(records: &[&[u8]]) -> (SimulatedDisk, Vec<Position>) {
        let disk = SimulatedDisk::default();
        let settings = Settings { segment_bytes: 1 << 20, reserve_bytes: 0, seed: 7 };
        let (mut log, _) = Log::open(disk.clone(), settings, |_, _| {}).expect("a log");
        let offsets: Vec<u32> = records.iter().map(|it| log.append(it).expect("room")).collect();
        let commit = log.commit(true, false).expect("a commit");
        let positions = (0..).zip(offsets).map(|(at, offset)| commit.position(at, offset));
        (disk, positions.collect())
    }

    #[test]
    fn records_of_all_sizes_come_back_in_any_order() {
        let large = vec![7; 3 * AHEAD as usize];
        let records: [&[u8]; 5] = [b"one", b"", &large, b"four", &large[..AHEAD as usize]];
        let (disk, positions) = log(&records);
        let mut reader = SegmentReader::open(&disk, positions[0].segment).expect("a segment");
        for order in [[0, 1, 2, 3, 4], [4, 2, 3, 0, 1]] {
            for at in order {
                assert!(reader.read(positions[at]).expect("whole") == records[at], "record {at}");
            }
        }
    }

    #[test]
    fn a_damaged_record_is_told_and_the_next_one_read() {
        let (disk, positions) = log(&[b"first", b"second"]);
        let name = file_name(positions[0].segment);
        for at in 0..RECORD_OVERHEAD + 5 {
            let flip = |file: &mut Vec<u8>| file[positions[0].offset as usize + at] ^= 0x40;
            disk.damage(&name, flip);
            let mut reader = SegmentReader::open(&disk, positions[0].segment).expect("a segment");
            let damaged = reader.read(positions[0]);
            assert!(matches!(damaged, Err(ReadError::Damaged { .. })), "byte {at}: {damaged:?}");
            assert_eq!(reader.read(positions[1]).expect("whole"), b"second");
            disk.damage(&name, flip);
        }
    }

    #[test]
    fn a_file_that_is_gone_is_told_apart() {
        let (disk, positions) = log(&[b"first"]);
        let gone = SegmentReader::open(&disk, positions[0].segment + 1);
        assert!(matches!(gone, Err(ReadError::Gone(_))), "{gone:?}");
    }
}
