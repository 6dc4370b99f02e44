//! Finding, after whatever happened, the records that count.
//!
//! A segment counts up to the first record of the next one: what lies behind that was written by a
//! run that never acknowledged it. So recovery changes nothing in the files: cutting off an
//! unfinished end is the next segment's header.
//!
//! Where something cannot be read, the question is whether it had been acknowledged. Blocks say up
//! to where everything was durable when they were written. Missing below that is *damage*: it is
//! named, the file is kept under a second name, and the rest is served. Missing above it is the
//! unfinished end of a run that lost power: it and everything behind it never counted.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;

use crate::block::{self, Found, RECORD_OVERHEAD};
use crate::disk::{Disk, DiskFile, is_full};
use crate::log::{LogError, Segment};
use crate::segment::{
    FIRST_BLOCK, Header, MAX_SEGMENT, Position, UnknownFormat, file_name, number_of,
};

/// What opening the log has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Sequence number of the next record.
    pub next: u64,
    /// Records that count and could be read.
    pub records: u64,
    /// Bytes behind the last record that counts: of a commit that was not finished.
    pub unfinished: u64,
    /// What was acknowledged and cannot be read.
    pub damage: Vec<Damage>,
    /// What counts and cannot be made durable, and why.
    pub(crate) not_durable: Option<(String, String)>,
    /// The part of the last segment that counts and is not durable yet: there was no room for it.
    pub(crate) waits: Option<Range<u64>>,
    /// The newest segment's number.
    pub(crate) last_number: Option<u32>,
}

/// Acknowledged records that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The second name under which it is kept for whoever wants to look.
    pub kept_as: Option<String>,
    /// Where in the file.
    pub offset: u64,
    /// Records that are lost.
    pub records: u64,
    /// What is wrong.
    pub origin: Origin,
}

/// How damage shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A checksum does not agree.
    Checksum,
    /// Both copies of a segment's header are unreadable, and with them the whole file.
    Header,
    /// A file is missing, or ends too early.
    Missing,
    /// The system cannot read the file.
    Unreadable(io::ErrorKind),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => formatter.write_str("a checksum does not agree"),
            Self::Header => formatter.write_str("both copies of the file's header are unreadable"),
            Self::Missing => formatter.write_str("a file is missing, or ends too early"),
            Self::Unreadable(kind) => write!(formatter, "the system cannot read the file: {kind}"),
        }
    }
}

/// The segments that may hold records that count, and what was found.
pub(crate) type Outcome<F> = (Vec<Segment<F>>, Recovered);

/// Shows the records that count, in order, and returns the segments that may hold some.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    mut visit: impl FnMut(Position, &[u8]),
) -> Result<Outcome<D::File>, LogError> {
    let files = files(disk)?;
    let last_number = files.last().map(|file| file.number);
    let mut recovered = Recovered { last_number, ..Recovered::default() };
    let mut segments: Vec<Segment<D::File>> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let name = file_name(file.number);
        let later = || files[at + 1..].iter().filter_map(|it| it.header).map(|it| it.base);
        let header = match file.content {
            Content::Header(header) => header,
            Content::Empty => continue, // never begun
            Content::Bad(origin) => {
                recovered.damage.push(keep(disk, &name, 0, 0, origin));
                continue;
            }
        };
        let limit = later().min().unwrap_or(u64::MAX);
        let (mut open, read) = match disk.open(&name).and_then(|it| read_all(&it).map(|r| (it, r)))
        {
            Ok(opened) => opened,
            Err(error) => {
                let origin = Origin::Unreadable(error.kind());
                recovered.damage.push(keep(disk, &name, 0, 0, origin));
                continue;
            }
        };
        let Read { bytes, unreadable } = read;
        if let Some((offset, kind)) = unreadable {
            // How many records that costs is told where they are missed; at the end nobody can say.
            recovered.damage.push(keep(disk, &name, offset, 0, Origin::Unreadable(kind)));
        }
        let next = segments.last().map_or(header.base, |it| it.end);
        if header.base > next {
            // The end of the file before is missing, or a whole file.
            let lost = header.base - next;
            recovered.damage.push(keep(disk, &name, 0, lost, Origin::Missing));
        }
        let mut walk = Walk {
            bytes: &bytes,
            epoch: header.epoch,
            next: header.base.max(next),
            limit,
            durable: later().max().unwrap_or_default(),
            number: file.number,
        };
        let mut walked = walk.all(|position, content| {
            recovered.records += 1;
            visit(position, content);
        });
        if limit < u64::MAX {
            walked.unsure = None; // a later file was begun when all this was durable
        }
        for (offset, lost) in walked.damage {
            recovered.damage.push(keep(disk, &name, offset, lost, Origin::Checksum));
        }
        if walked.missing > 0 {
            let follows = files.get(at + 1).filter(|it| it.number == file.number + 1);
            recovered.damage.push(match follows.map(|it| &it.content) {
                // More was in this file, since the next one continues.
                Some(Content::Header(_)) => {
                    keep(disk, &name, walked.used as u64, walked.missing, Origin::Missing)
                }
                other => {
                    let origin = match other {
                        Some(Content::Bad(origin)) => *origin,
                        _ => Origin::Missing,
                    };
                    keep(disk, &file_name(file.number + 1), 0, walked.missing, origin)
                }
            });
        }
        let content_end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let content_end = content_end.max(walked.used) as u64;
        let mut size = bytes.len() as u64;
        if content_end < size && unreadable.is_none() && open.truncate(content_end).is_ok() {
            size = content_end; // room that was taken beforehand
        }
        if limit == u64::MAX {
            recovered.unfinished += content_end - walked.counted as u64;
        }
        if let Some(from) = walked.unsure {
            // Readable is not durable: the run that wrote it may have been killed before its sync,
            // or the sync failed, and no later one writes what the system then called clean. It
            // counts from now on, so it is written again, as it is.
            let tail = match unreadable {
                None => bytes.get(from..walked.used.min(bytes.len())).unwrap_or_default(),
                Some(_) => &[], // not over what could perhaps be read another time
            };
            let from = from as u64;
            match open.write_at(tail, from) {
                // Written over, so a write that stopped in its middle has changed nothing.
                Err(error) if is_full(&error) => {
                    recovered.waits = Some(from..from + tail.len() as u64);
                }
                written => {
                    if let Err(error) = written.and_then(|()| open.sync()) {
                        recovered.not_durable = Some((name.clone(), error.to_string()));
                    }
                }
            }
        }
        let used = walked.used as u64;
        segments.push(Segment { file: open, header, used, size, end: walk.next });
    }
    recovered.next = segments.last().map_or(1, |it| it.end);
    Ok((segments, recovered))
}

/// Shows the records of the block at `offset` that count and can be read, and returns where the
/// next one begins; `None` at the end.
pub(crate) fn visit_block<F: DiskFile>(
    segment: &Segment<F>,
    offset: u64,
    mut visit: impl FnMut(Position, &[u8]),
) -> io::Result<Option<u64>> {
    let epoch = segment.header.epoch;
    let mut offset = offset;
    while offset + (block::HEADER as u64) <= segment.used {
        let mut bytes = vec![0; block::HEADER];
        segment.file.read_at(&mut bytes, offset)?;
        let Some(header) = block::Header::read_head(&bytes, epoch) else {
            offset += block::ALIGNMENT as u64; // damaged: the next one is somewhere behind
            continue;
        };
        let next = offset + header.size() as u64;
        if next > segment.used.next_multiple_of(block::ALIGNMENT as u64) {
            return Ok(None);
        }
        bytes.resize(block::HEADER + header.len, 0);
        segment.file.read_at(&mut bytes, offset)?;
        header.records(&bytes, 0, epoch, |found| match found {
            Found::Record(at, sequence, content) if sequence < segment.end => {
                let offset = (offset + at as u64) as u32;
                visit(Position { segment: segment.header.number, offset, sequence }, content);
            }
            _ => {}
        });
        return Ok(Some(next));
    }
    Ok(None)
}

/// Goes through one segment.
struct Walk<'a> {
    bytes: &'a [u8],
    epoch: u64,
    number: u32,
    /// The next record that counts.
    next: u64,
    /// Records from here on do not count.
    limit: u64,
    /// Later files say that everything below was durable.
    durable: u64,
}

/// What one segment held.
struct Walked {
    /// The end of the last block that counts.
    used: usize,
    /// The end of the last record that counts.
    counted: usize,
    /// Where the first block begins of which nothing says that it was durable.
    unsure: Option<usize>,
    /// Where acknowledged records are missing, and how many.
    damage: Vec<(u64, u64)>,
    /// Records between the end of this file and the next one, which continues.
    missing: u64,
}

impl<'a> Walk<'a> {
    fn all(&mut self, mut visit: impl FnMut(Position, &'a [u8])) -> Walked {
        let mut unsure = VecDeque::new();
        let mut walked = Walked {
            used: FIRST_BLOCK,
            counted: FIRST_BLOCK,
            unsure: None,
            damage: Vec::new(),
            missing: 0,
        };
        let mut at = FIRST_BLOCK;
        while self.next < self.limit {
            let Some((start, header)) = self.block_from(at) else { break };
            if header.first > self.next
                && !self.pass_over(start, header.first, at as u64, &mut walked.damage)
            {
                return walked;
            }
            unsure.push_back((start, header.end()));
            while unsure.pop_front_if(|(_, end)| *end <= header.durable).is_some() {}
            walked.unsure = unsure.front().map(|(start, _)| *start);
            let mut is_cut = false;
            let mut found = Vec::with_capacity(header.count.min(1024) as usize);
            header.records(self.bytes, start, self.epoch, |it| found.push(it));
            at = start + header.size();
            walked.used = at;
            for found in found {
                match found {
                    _ if is_cut || self.next >= self.limit => break,
                    Found::Damaged(_, until) => {
                        is_cut = !self.pass_over(at, until, start as u64, &mut walked.damage);
                    }
                    Found::Record(offset, sequence, content) => {
                        walked.counted = offset + RECORD_OVERHEAD + content.len();
                        let offset = offset as u32;
                        visit(Position { segment: self.number, offset, sequence }, content);
                        self.next = sequence + 1;
                    }
                }
            }
            if is_cut {
                return walked;
            }
            walked.counted = walked.used;
        }
        if self.next < self.limit && self.limit < u64::MAX {
            walked.missing = self.limit - self.next;
            self.next = self.limit;
        }
        walked
    }

    /// The first block at `at` or behind it that may continue the log.
    fn block_from(&self, mut at: usize) -> Option<(usize, block::Header)> {
        while at + block::HEADER <= self.bytes.len() {
            let header = block::Header::read(self.bytes, at, self.epoch);
            if let Some(header) = header.filter(|it| it.first >= self.next) {
                return Some((at, header));
            }
            at += block::ALIGNMENT;
        }
        None
    }

    /// The records up to `until` cannot be read, and the file goes on at `resume`: notes them as
    /// damage if they were durable, else returns false.
    fn pass_over(
        &mut self,
        resume: usize,
        until: u64,
        offset: u64,
        damage: &mut Vec<(u64, u64)>,
    ) -> bool {
        if !self.was_durable(resume) {
            return false;
        }
        let until = until.min(self.limit);
        damage.push((offset, until - self.next));
        self.next = until;
        true
    }

    /// Whether the next record had been durable, as later files and blocks say.
    fn was_durable(&self, mut at: usize) -> bool {
        if self.durable > self.next {
            return true;
        }
        while at + block::HEADER <= self.bytes.len() {
            match block::Header::read(self.bytes, at, self.epoch) {
                Some(header) if header.durable > self.next => return true,
                Some(header) => at += header.size(),
                None => at += block::ALIGNMENT,
            }
        }
        false
    }
}

/// A file of the log before its records are looked at.
struct Candidate {
    number: u32,
    header: Option<Header>,
    content: Content,
}

enum Content {
    Header(Header),
    Empty,
    Bad(Origin),
}

fn files<D: Disk>(disk: &D) -> Result<Vec<Candidate>, LogError> {
    let folder = |source| LogError::Folder { place: "the log's folder".into(), source };
    let names = disk.list().map_err(folder)?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    let candidates = numbers.into_iter().map(|number| {
        let name = file_name(number);
        let content = match disk.open(&name).and_then(|file| read_start(&file)) {
            Ok(bytes) => match Header::decode(&bytes) {
                Ok(Some(header)) if header.number == number => Content::Header(header),
                Ok(Some(_)) => Content::Bad(Origin::Header),
                Ok(None) if bytes.iter().all(|byte| *byte == 0) => Content::Empty,
                Ok(None) => Content::Bad(Origin::Header),
                Err(UnknownFormat(found)) => return Err(LogError::Format { place: name, found }),
            },
            Err(error) => Content::Bad(Origin::Unreadable(error.kind())),
        };
        let header = match content {
            Content::Header(header) => Some(header),
            _ => None,
        };
        Ok(Candidate { number, header, content })
    });
    candidates.collect()
}

fn read_start<F: DiskFile>(file: &F) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FIRST_BLOCK.min(file.size()? as usize)];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// What a file holds: zeros where it cannot be read, and where that begins.
struct Read {
    bytes: Vec<u8>,
    unreadable: Option<(u64, io::ErrorKind)>,
}

/// Reads a file, page by page where it cannot be read as a whole.
fn read_all<F: DiskFile>(file: &F) -> io::Result<Read> {
    let mut bytes = vec![0; file.size()?.min(MAX_SEGMENT) as usize];
    if file.read_at(&mut bytes, 0).is_ok() {
        return Ok(Read { bytes, unreadable: None });
    }
    let mut unreadable = None;
    for (page, part) in bytes.chunks_mut(PAGE).enumerate() {
        let offset = (page * PAGE) as u64;
        if let Err(error) = file.read_at(part, offset) {
            part.fill(0);
            unreadable = unreadable.or_else(|| Some((offset, error.kind())));
        }
    }
    Ok(Read { bytes, unreadable })
}

/// Keeps a damaged file under a second name, for the time when the log has let go of it.
fn keep<D: Disk>(disk: &mut D, file: &str, offset: u64, records: u64, origin: Origin) -> Damage {
    let kept_as = second_name(disk, file);
    Damage { file: file.into(), kept_as, offset, records, origin }
}

/// Gives a damaged file its second name.
pub(crate) fn second_name<D: Disk>(disk: &mut D, file: &str) -> Option<String> {
    let second = format!("{file}.bad");
    disk.link(file, &second).is_ok().then_some(second)
}

/// What a disk cannot read in one piece, in bytes.
const PAGE: usize = 4096;
