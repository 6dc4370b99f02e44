//! Files that only their owner may read, since they hold secrets.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::commands::keys::random;
use crate::failure::Failure;

/// A file that no other command changes meanwhile: they wait until this is dropped.
pub(crate) struct Exclusive {
    /// As it was named.
    named: PathBuf,
    /// Where links lead.
    path: PathBuf,
    /// Its folder, locked.
    folder: File,
}

impl Exclusive {
    /// Waits for the commands that change a file of the same folder.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Self::lock(path).map_err(|error| failure("change", path, &error))
    }

    fn lock(named: &Path) -> io::Result<Self> {
        let path = destination(named)?;
        let folder = File::open(path.parent().unwrap_or_else(|| Path::new("/")))?;
        folder.lock()?;
        let this = Self { named: named.to_owned(), path, folder };
        this.there().map(|_| this)
    }

    /// Its text; `None`: it is not there yet.
    pub(crate) fn text(&self) -> Result<Option<String>, Failure> {
        text(&self.path).map_err(|error| failure("read", &self.named, &error))
    }

    /// Writes it, or replaces it in one step: a crash leaves the old one. Owner and mode stay; a
    /// new one is its owner's only.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        self.replace(text).map_err(|error| failure("write", &self.named, &error))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let there = self.there()?;
        let new = self.beside()?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| there.map_or(Ok(()), |there| keep(&file, &there)))
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&new, &self.path));
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written.and_then(|()| self.folder.sync_all())
    }

    /// What is there to be replaced: a regular file or nothing.
    fn there(&self) -> io::Result<Option<Metadata>> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(there) if there.is_file() => Ok(Some(there)),
            Ok(_) => Err(io::Error::other("it is no regular file")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A name in the same folder that nobody can know before.
    fn beside(&self) -> io::Result<PathBuf> {
        let mut bytes = [0; 8];
        random(&mut bytes).map_err(|failure| io::Error::other(failure.message))?;
        let name = self.path.file_name().unwrap_or_default().display();
        let number = u64::from_ne_bytes(bytes);
        Ok(self.path.with_file_name(format!(".{name}.{number:016x}.new")))
    }
}

/// Writes a file that is not there yet.
pub(crate) fn create(path: &Path, text: &str, fix: &str) -> Result<(), Failure> {
    let is_there = || Failure::usage(format!("{} is there already", path.display()), fix);
    if path.exists() {
        return Err(is_there());
    }
    let file = Exclusive::open(path)?;
    // Another command may have written it meanwhile.
    if file.path.exists() { Err(is_there()) } else { file.write(text) }
}

/// The text of a file; `None`: it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Failure> {
    text(path).map_err(|error| failure("read", path, &error))
}

fn text(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    if file.take(LONGEST + 1).read_to_string(&mut text)? as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    Ok(Some(text))
}

/// Where a path leads through links; the file itself may not be there yet.
fn destination(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.is_symlink() {
                return Err(io::Error::other("it is a link to what is not there"));
            }
            let name = path.file_name().ok_or(error)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(folder.unwrap_or_else(|| Path::new(".")).canonicalize()?.join(name))
        }
        found => found,
    }
}

/// Gives a new file the owner and the mode of the one that it replaces.
fn keep(new: &File, there: &Metadata) -> io::Result<()> {
    let own = new.metadata()?;
    if (own.uid(), own.gid()) != (there.uid(), there.gid()) {
        fchown(new, Some(there.uid()), Some(there.gid())).map_err(|error| {
            io::Error::other(format!("its owner and group cannot be kept: {error}"))
        })?;
    }
    new.set_permissions(Permissions::from_mode(there.mode() & 0o777))
}

fn failure(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot {verb} {}: {error}", path.display()))
}

/// Bytes of a file at most: some hundred thousand users.
const LONGEST: u64 = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, text: &str) -> Result<(), Failure> {
        Exclusive::open(path)?.write(text)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn entries(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_lies_beside_a_file_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("other"), "kept").unwrap();
        symlink(at("other"), at("keys.json.new")).unwrap();
        write(&at("keys.json"), "secret").unwrap();
        assert_eq!(std::fs::read_to_string(at("other")).unwrap(), "kept");
        assert!(!at("keys.json").is_symlink());
        assert_eq!((mode(&at("keys.json")), entries(folder.path())), (0o600, 3));
    }

    #[test]
    fn a_link_is_followed_and_the_mode_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("sub/link"));
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        symlink("../real", &link).unwrap();
        write(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!((read(&real).unwrap().as_deref(), mode(&real)), (Some("new"), 0o640));
    }

    #[test]
    fn the_owner_stays() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        std::fs::write(&path, "old").unwrap();
        std::os::unix::fs::chown(&path, Some(4321), Some(4322)).unwrap();
        write(&path, "new").unwrap();
        let there = std::fs::metadata(&path).unwrap();
        assert_eq!((there.uid(), there.gid()), (4321, 4322));
    }

    #[test]
    fn only_regular_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("folder")).unwrap();
        symlink("nowhere", at("broken")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
        for (name, why) in [
            ("folder", "it is no regular file"),
            ("socket", "it is no regular file"),
            ("broken", "it is a link to what is not there"),
        ] {
            let error = write(&at(name), "text").expect_err(name);
            assert!(error.message.ends_with(why), "{name}: {}", error.message);
        }
        assert_eq!(entries(folder.path()), 3);
    }

    #[test]
    fn what_is_there_is_not_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        create(&path, "first", "").unwrap();
        assert!(create(&path, "second", "").is_err());
        assert_eq!(read(&path).unwrap().as_deref(), Some("first"));
    }

    #[test]
    fn a_text_without_end_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        File::create(&path).unwrap().set_len(LONGEST + 1).unwrap();
        let error = read(&path).expect_err("too long");
        assert!(error.message.ends_with("it is longer than 134217728 bytes"), "{}", error.message);
    }
}
