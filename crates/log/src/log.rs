//! Appending, committing, reading back, and letting go of what is no longer needed.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use crate::block::{Builder, MAX_RECORD};
use crate::disk::{Disk, DiskFile, is_full};
use crate::recovery::{Recovered, recover, second_name, visit_block};
use crate::segment::{FIRST_BLOCK, FORMAT, Header, MAX_SEGMENT, Position, SegmentInfo, file_name};

/// How the log lays out its files.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes of a segment's file. Less where the disk has less, more for a commit that is larger.
    pub segment_bytes: u64,
    /// Bytes kept aside for commits that make room when the disk is full; 0 for none.
    pub reserve_bytes: u64,
    /// Random bits that no client can guess.
    pub seed: u64,
}

/// The commit log on a disk.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    settings: Settings,
    sealed: VecDeque<Segment<D::File>>,
    /// The last one, which commits go to.
    active: Option<Segment<D::File>>,
    /// The next segment's number.
    number: u32,
    builder: Builder,
    /// Sequence number of the next record.
    next: u64,
    /// Everything below survives power loss.
    durable: u64,
    /// The file in which something may be lost, and what the system said.
    failed: Option<(String, String)>,
    /// What recovery could not write again for want of room, in the last segment that it found.
    waits: Option<Range<u64>>,
    has_reserve: bool,
}

#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) file: F,
    pub(crate) header: Header,
    /// Bytes of header and blocks.
    pub(crate) used: u64,
    pub(crate) size: u64,
    /// The sequence number after its last record, once it is known.
    pub(crate) end: u64,
}

/// Where the records of a commit lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    segment: u32,
    block: u32,
    first: u64,
    /// Records in it.
    pub count: u32,
}

/// Why the log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No room, or no new file: nothing of the commit counts, and it may be tried again.
    #[error("{}", no_room(place, source))]
    Full {
        /// The file.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// Written data may be lost: nothing is acknowledged from now on.
    #[error(
        "writing {place} failed: {what}; what the system has kept of it is unknown, so nothing \
         more is written to it: check the disk, then start again"
    )]
    Failed {
        /// The file.
        place: String,
        /// What the system said first.
        what: String,
    },
    /// The folder cannot be read or changed.
    #[error("{place}: {source}; see whether the disk works and this process may write there")]
    Folder {
        /// The file or folder.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// Written by another version.
    #[error("{place} has format {found}, and this version reads {FORMAT}: start the newer version")]
    Format {
        /// The file.
        place: String,
        /// Its format.
        found: u32,
    },
    /// One record, or all of one commit, is larger than any may be.
    #[error(
        "a record of {0} bytes: at most {MAX_RECORD} are possible, and {MAX_BLOCK} in one commit"
    )]
    TooLarge(usize),
}

/// Why a record cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment is gone.
    #[error("segment {0} is gone")]
    Gone(u32),
    /// What is there is not what was written.
    #[error("record {sequence} in {place} at byte {offset} is damaged")]
    Damaged {
        /// The file.
        place: String,
        /// Where in it.
        offset: u32,
        /// Which record.
        sequence: u64,
    },
    /// The system cannot read it.
    #[error("{place}: {source}")]
    Io {
        /// The file.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// The system does not open the file: for want of descriptors, say. That tells nothing of what
    /// is in it.
    #[error("{place} cannot be opened: {source}")]
    NotOpened {
        /// The file.
        place: String,
        /// What the system says.
        source: io::Error,
    },
}

impl<D: Disk> Log<D> {
    /// Opens the log: shows every record that counts, in order, and says what was found missing.
    /// Changes no file that holds records, so that it can be interrupted and begun again.
    pub fn open(
        mut disk: D,
        settings: Settings,
        visit: impl FnMut(Position, &[u8]),
    ) -> Result<(Self, Recovered), LogError> {
        let (segments, recovered) = recover(&mut disk, visit)?;
        let number = match recovered.last_number {
            None => 0,
            Some(last) => last.checked_add(1).ok_or_else(|| {
                let why =
                    "it has the highest number that there is: move it away, if it is not ours";
                LogError::Folder { place: file_name(last), source: io::Error::other(why) }
            })?,
        };
        let next = recovered.next;
        let mut log = Self {
            disk,
            settings,
            sealed: segments.into(),
            active: None,
            number,
            builder: Builder::default(),
            next,
            durable: next,
            failed: recovered.not_durable.clone(),
            waits: recovered.waits.clone(),
            has_reserve: false,
        };
        log.refill_reserve();
        Ok((log, recovered))
    }

    /// Adds a record to the next commit; returns where it will lie, see [`Commit::position`]. One
    /// commit takes two gigabytes at most.
    pub fn append(&mut self, content: &[u8]) -> Result<u32, LogError> {
        if content.len() > MAX_RECORD || self.builder.size() + content.len() > MAX_BLOCK {
            return Err(LogError::TooLarge(content.len()));
        }
        Ok(self.builder.append(content))
    }

    /// Bytes that wait for the next commit.
    pub fn pending_bytes(&self) -> usize {
        self.builder.size()
    }

    /// Records that wait for the next commit.
    pub fn pending(&self) -> u32 {
        self.builder.count()
    }

    /// Writes what was appended and, with `sync`, makes everything durable. When it fails with
    /// [`LogError::Full`] the records still wait. An `urgent` commit may use what is kept aside
    /// for the case that there is no room.
    pub fn commit(&mut self, sync: bool, urgent: bool) -> Result<Commit, LogError> {
        if let Some((place, what)) = self.failed.clone() {
            return Err(LogError::Failed { place, what });
        }
        let committed = match self.write_block() {
            Err(LogError::Full { .. }) if urgent && self.has_reserve => {
                self.release_reserve()?;
                self.write_block()?
            }
            other => other?,
        };
        if sync {
            self.sync()?;
        }
        Ok(committed)
    }

    /// Makes everything durable that was committed without sync.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if let Some((place, what)) = self.failed.clone() {
            return Err(LogError::Failed { place, what });
        }
        self.write_again()?;
        let Some(active) = &mut self.active else { return Ok(()) };
        if self.durable == self.next {
            return Ok(());
        }
        if let Err(error) = active.file.sync() {
            return Err(self.fail(&error));
        }
        self.durable = self.next;
        Ok(())
    }

    fn write_block(&mut self) -> Result<Commit, LogError> {
        let count = self.builder.count();
        if count == 0 {
            let (segment, block) = (self.number, 0);
            return Ok(Commit { segment, block, first: self.next, count });
        }
        self.write_again()?;
        self.make_room(self.builder.size() as u64)?;
        let Some(active) = &mut self.active else {
            return Err(self.fail(&io::Error::other("no segment")));
        };
        let bytes = self.builder.finish(active.header.epoch, self.next, self.durable);
        if let Err(error) = active.file.write_at(bytes, active.used) {
            self.builder.reopen();
            if is_full(&error) {
                let place = file_name(active.header.number);
                return Err(LogError::Full { place, source: error }); // written over next time
            }
            return Err(self.fail(&error));
        }
        let (segment, block) = (active.header.number, active.used as u32);
        active.used += bytes.len() as u64;
        let first = self.next;
        self.next += u64::from(count);
        active.end = self.next;
        self.builder.clear();
        Ok(Commit { segment, block, first, count })
    }

    /// Makes durable what recovery could not: nothing that follows may be, before that is.
    fn write_again(&mut self) -> Result<(), LogError> {
        let (Some(part), Some(last)) = (self.waits.clone(), self.sealed.back_mut()) else {
            return Ok(());
        };
        let place = file_name(last.header.number);
        let mut bytes = vec![0; (part.end - part.start) as usize];
        let read = last.file.read_at(&mut bytes, part.start);
        match read.and_then(|()| last.file.write_at(&bytes, part.start)) {
            Err(source) if is_full(&source) => return Err(LogError::Full { place, source }),
            written => {
                if let Err(error) = written.and_then(|()| last.file.sync()) {
                    self.failed = Some((place.clone(), error.to_string()));
                    return Err(LogError::Failed { place, what: error.to_string() });
                }
            }
        }
        self.waits = None;
        Ok(())
    }

    /// Makes sure that the active segment has room for a block, or begins another one.
    fn make_room(&mut self, bytes: u64) -> Result<(), LogError> {
        let has_room = |it: &Segment<D::File>| it.used + bytes <= it.size;
        if self.active.as_ref().is_some_and(has_room) {
            return Ok(());
        }
        // What follows in another file must not be durable before what is in this one.
        self.sync()?;
        let needed = FIRST_BLOCK as u64 + bytes;
        let mut size = self.segment_bytes().min(MAX_SEGMENT).max(needed);
        let segment = loop {
            match self.create(size) {
                Err(LogError::Full { .. }) if size > needed.max(SEGMENT_MIN) => {
                    size = (size / 2).max(needed);
                }
                other => break other?,
            }
        };
        self.number += 1;
        if let Some(mut old) = self.active.replace(segment) {
            // Room that it has not used; without it the file is merely larger.
            if old.file.truncate(old.used).is_ok() {
                old.size = old.used;
            }
            self.sealed.push_back(old);
        }
        Ok(())
    }

    /// Bytes of the next segment. Small ones on a small disk: what is used up can go only when a
    /// whole one is, and what says so must have room meanwhile.
    pub fn segment_bytes(&self) -> u64 {
        let free = self.disk.room().ok().flatten().map(|room| room.free);
        let share = free.map_or(u64::MAX, |free| (free / 8).max(SEGMENT_MIN));
        self.settings.segment_bytes.min(share)
    }

    /// A new segment, durable with its name.
    fn create(&mut self, size: u64) -> Result<Segment<D::File>, LogError> {
        let name = file_name(self.number);
        let epoch = mix(self.settings.seed ^ u64::from(self.number));
        let header = Header { number: self.number, epoch, base: self.next };
        let mut attempt = || {
            let mut file = self.disk.create(&name, size)?;
            file.write_at(&[header.encode(), header.encode()].concat(), 0)?;
            file.sync()?;
            self.disk.sync_folder()?;
            Ok(file)
        };
        match attempt() {
            Ok(file) => {
                let (used, end) = (FIRST_BLOCK as u64, self.next);
                Ok(Segment { file, header, used, size, end })
            }
            Err(source) => {
                // Nothing was acknowledged from it; a rest is empty and does no harm.
                let _ = self.disk.remove(&name);
                Err(LogError::Full { place: name, source })
            }
        }
    }

    /// Shows the records of the block at `offset` of a segment, as far as they can be read; 0 is
    /// the first one. Returns where the next one begins, `None` after the last.
    pub fn read_block(
        &self,
        number: u32,
        offset: u64,
        visit: impl FnMut(Position, &[u8]),
    ) -> Result<Option<u64>, ReadError> {
        let segment = self.segment(number).ok_or(ReadError::Gone(number))?;
        let io = |source| ReadError::Io { place: file_name(number), source };
        visit_block(segment, offset.max(FIRST_BLOCK as u64), visit).map_err(io)
    }

    fn segment(&self, number: u32) -> Option<&Segment<D::File>> {
        let active = self.active.as_ref().filter(|it| it.header.number == number);
        active.or_else(|| {
            let at = self.sealed.binary_search_by_key(&number, |it| it.header.number).ok()?;
            self.sealed.get(at)
        })
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = SegmentInfo> + '_ {
        let all = self.sealed.iter().chain(&self.active);
        all.map(|it| SegmentInfo { number: it.header.number, used: it.used, size: it.size })
    }

    /// The oldest segment that nothing is written to any more.
    pub fn oldest_sealed(&self) -> Option<u32> {
        self.sealed.front().map(|it| it.header.number)
    }

    /// Removes the oldest sealed segment, of which nothing is needed any more. The next one may be
    /// removed only after this one is gone for good: a record could come back without the later
    /// one that took it back.
    pub fn remove_oldest(&mut self) -> Result<(), LogError> {
        let Some(oldest) = self.sealed.front() else { return Ok(()) };
        let name = file_name(oldest.header.number);
        let removed = self.disk.remove(&name).and_then(|()| self.disk.sync_folder());
        removed.map_err(|source| LogError::Folder { place: name, source })?;
        self.sealed.pop_front();
        Ok(())
    }

    /// Keeps the oldest sealed segment under a second name, which [`Self::remove_oldest`] leaves;
    /// returns that.
    pub fn keep_oldest(&mut self) -> Option<String> {
        let name = file_name(self.sealed.front()?.header.number);
        second_name(&mut self.disk, &name)
    }

    /// Takes room aside again, if it was used and there is some.
    pub fn refill_reserve(&mut self) {
        if !self.has_reserve && self.settings.reserve_bytes > 0 {
            self.has_reserve = self.disk.create(RESERVE, self.settings.reserve_bytes).is_ok();
        }
    }

    /// Whether there is room aside.
    pub fn has_reserve(&self) -> bool {
        self.has_reserve || self.settings.reserve_bytes == 0
    }

    /// Bytes that commits can take without more room from the disk, and half of what is kept aside.
    pub fn room_left(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |it| it.size.saturating_sub(it.used));
        active + if self.has_reserve { self.settings.reserve_bytes / 2 } else { 0 }
    }

    fn release_reserve(&mut self) -> Result<(), LogError> {
        self.has_reserve = false;
        let removed = self.disk.remove(RESERVE);
        removed.map_err(|source| LogError::Folder { place: RESERVE.into(), source })
    }

    /// The sequence number of the next record.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Why nothing can be written any more.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_ref().map(|(_, what)| what.as_str())
    }

    /// The disk below.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    fn fail(&mut self, error: &io::Error) -> LogError {
        let number = self.active.as_ref().map_or(self.number, |it| it.header.number);
        let (place, what) = (file_name(number), error.to_string());
        self.failed = Some((place.clone(), what.clone()));
        LogError::Failed { place, what }
    }
}

impl Commit {
    /// Where the `index`th record lies, which [`Log::append`] put at `offset`.
    pub fn position(&self, index: u32, offset: u32) -> Position {
        Position {
            segment: self.segment,
            offset: self.block + offset,
            sequence: self.first + u64::from(index),
        }
    }
}

/// Why a commit must be tried again.
fn no_room(place: &str, error: &io::Error) -> String {
    match is_full(error) {
        true => format!(
            "no room for the commit log in {place}: {error}; free some, and it goes on by itself"
        ),
        false => format!(
            "no new file for the commit log, {place}: {error}; let this process create files \
             there, and it goes on by itself"
        ),
    }
}

/// Bits that look random from bits that do not (SplitMix64's finalizer).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Bytes of one commit at most, so that a place in a file fits into 32 bits.
const MAX_BLOCK: usize = 2 << 30;
/// The room kept aside.
const RESERVE: &str = "reserve";
/// A disk with less than this is full.
const SEGMENT_MIN: u64 = 1 << 20;
