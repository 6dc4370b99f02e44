//! What the log needs of a disk, so that a simulated one can take its place.

use std::fmt::Debug;
use std::io;

/// A folder of files.
///
/// Creating, removing and linking are durable only after [`Self::sync_folder`]; content only after
/// [`DiskFile::sync`].
pub trait Disk: Debug {
    /// An open file.
    type File: DiskFile;

    /// The names in the folder, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file of `bytes` zeros whose room is taken, so that writing into it cannot fail for
    /// want of room. Replaces one of that name.
    fn create(&mut self, name: &str, bytes: u64) -> io::Result<Self::File>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Removes a file; one that is not there is no error.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Gives a file a second name; one that has it already is no error.
    fn link(&mut self, name: &str, second: &str) -> io::Result<()>;
    /// Bytes that new files may take, if that is known.
    fn free(&self) -> Option<u64>;
    /// Makes names durable.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Debug {
    /// Bytes that it holds.
    fn size(&self) -> io::Result<u64>;
    /// Fills `bytes` from `offset` on, or fails.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when everything written is durable (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file off at `size`.
    fn truncate(&mut self, size: u64) -> io::Result<()>;
}

/// Whether an error says that there is no room, which may change, and not that the disk is broken.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
