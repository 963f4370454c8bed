//! Which file a path leads to, to tell our own files from those of others (`own-files-only`).

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::FileStat;

/// The device and the inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file at `path`, following symbolic links; None if there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }
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
