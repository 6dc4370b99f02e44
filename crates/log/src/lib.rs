//! The commit log, the one place where a promise becomes true: records of bytes that survive
//! kill -9 and power loss once [`Log::commit`] has returned.
//!
//! `store` writes its records here and reads them back at the start. The log knows nothing of what
//! they say. Its disk is a trait: [`RealDisk`] is a folder, [`SimulatedDisk`] loses, tears and
//! reorders what has not been synced, from a seed.
#![forbid(unsafe_code)]

mod block;
mod disk;
mod log;
mod read_only_disk;
mod real_disk;
mod recovery;
mod segment;
mod segment_reader;
mod simulated_disk;

pub use block::{MAX_RECORD, RECORD_OVERHEAD};
pub use disk::{Disk, DiskFile, Room, is_full};
pub use log::{Commit, Log, LogError, ReadError, Settings};
pub use read_only_disk::{ReadOnlyDisk, ReadOnlyFile};
pub use real_disk::{RealDisk, RealFile};
pub use recovery::{Damage, Origin, Recovered};
pub use segment::{Position, SegmentInfo, is_segment};
pub use segment_reader::{SegmentReader, keep_segment};
pub use simulated_disk::{Fault, SimulatedDisk, SimulatedFile};
