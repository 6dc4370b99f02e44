//! A folder of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::disk::{Disk, DiskFile, Room};

/// A folder on a real disk.
#[derive(Debug, Clone)]
pub struct RealDisk {
    folder: PathBuf,
}

/// A file on a real disk.
#[derive(Debug)]
pub struct RealFile(File);

impl RealDisk {
    /// The folder, which is created if it is not there. Its name in its parent is made durable, and
    /// so are those of all folders above it that were not there: a log whose folder is gone after a
    /// power loss is gone too.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let missing = folder.ancestors().take_while(|it| !it.as_os_str().is_empty());
        let missing = missing.take_while(|it| !it.exists()).count();
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        for parent in folder.ancestors().skip(1).take(missing.max(1)) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { folder })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name()));
        names.map(|name| name.map(|name| name.to_string_lossy().into_owned())).collect()
    }

    fn create(&mut self, name: &str, bytes: u64) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let path = self.folder.join(name);
        let file = options.open(&path)?;
        if let Err(error) = take_room(&file, bytes) {
            // What of the room was taken goes back: the error counts.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(RealFile(file))
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let path = self.folder.join(name);
        Ok(RealFile(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        forgiving(fs::remove_file(self.folder.join(name)), io::ErrorKind::NotFound)
    }

    fn link(&mut self, name: &str, second: &str) -> io::Result<()> {
        let linked = fs::hard_link(self.folder.join(name), self.folder.join(second));
        forgiving(linked, io::ErrorKind::AlreadyExists)
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn room(&self) -> io::Result<Option<Room>> {
        let disk = statvfs(&self.folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok(Some(Room { free: bytes(disk.f_bavail), size: bytes(disk.f_blocks) }))
    }
}

/// Takes room for `bytes`; a file system that cannot promise any gets the length alone.
fn take_room(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes),
        result => Ok(result?),
    }
}

fn forgiving(result: io::Result<()>, kind: io::ErrorKind) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => other,
    }
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }
}
