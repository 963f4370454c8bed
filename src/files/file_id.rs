//! Which file a path leads to, to distinguish our own files from those of others (`own-files-only`).

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
    /// Of no file at all.
    pub(crate) const NONE: Self = Self { device: 0, inode: 0 };

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

/// Removes the file at `path` if it is `own`. It is no error if there is none.
pub(crate) fn remove_own(path: &Path, own: FileId) -> Result<(), Error> {
    let removed = match fs::metadata(path) {
        Ok(there) if FileId::from(&there) == own => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|error| Error::cannot_unlink(path, error))
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
