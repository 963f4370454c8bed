//! Which file a path leads to, to tell our own files from those of others (`own-files-only`).

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::FileStat;

use crate::error::Error;

/// The device and the inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Device and inode.
    pub(crate) fn numbers(self) -> (u64, u64) {
        (self.device, self.inode)
    }

    pub(crate) fn of_numbers(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }

    /// The file at `path`, following symbolic links; None if there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }
}

/// Removes the file at `path` if it is `own`. That there is none is no error.
pub(crate) fn remove_own(path: &Path, own: FileId) -> Result<(), Error> {
    let removed = match fs::metadata(path) {
        Ok(there) if FileId::from(&there) == own => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|error| Error::cannot_unlink(path, error))
}

/// Whether two paths are the same name in the same directory, however they are written.
pub(crate) fn is_same_name(one: &Path, other: &Path) -> bool {
    let directory = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        FileId::of(parent.unwrap_or(Path::new(".")))
    };
    one == other
        || one.file_name() == other.file_name() && directory(one).is_some_and(|id| directory(other) == Some(id))
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl From<&FileStat> for FileId {
    fn from(stat: &FileStat) -> Self {
        // Not of the same types everywhere.
        #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "the types differ from system to system")]
        let (device, inode) = (stat.st_dev as u64, stat.st_ino as u64);
        Self { device, inode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_write_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        for (one, other, is_same) in
            [("a", "a", true), ("a", "sub/../a", true), ("a", "./a", true), ("a", "b", false), ("a", "sub/a", false)]
        {
            assert_eq!(is_same_name(&path(one), &path(other)), is_same, "{one} {other}");
        }
        assert!(is_same_name(Path::new("a"), Path::new("./a")) && !is_same_name(Path::new("no/a"), Path::new("on/a")));
    }
}
