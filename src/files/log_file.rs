//! The log file of `--log-file`: appended to, and opened again when its name leads to another file (`stray-signals`).

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdout};

use crate::error::Error;
use crate::files::file_id::FileId;

/// The file that standard output and standard error go to.
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
}

impl LogFile {
    pub(crate) fn of(name: &OsStr) -> Self {
        Self { path: name.into() }
    }

    /// Opens the file, with more `flags`, and creates it if necessary.
    pub(crate) fn open(&self, flags: i32) -> Result<File, Error> {
        let file = OpenOptions::new().append(true).create(true).custom_flags(flags).open(&self.path);
        file.map_err(|error| self.failed(error))
    }

    /// Opens the file again if its name now leads to another one, or to none: it has been rotated. If that fails, the
    /// old one stays.
    pub(crate) fn follow(&self) -> Result<(), Error> {
        let is_open = fstat(io::stderr()).is_ok_and(|open| FileId::of(&self.path) == Some(FileId::from(&open)));
        if is_open { Ok(()) } else { self.open_again() }
    }

    /// Opens the file again, without waiting for anything.
    pub(crate) fn open_again(&self) -> Result<(), Error> {
        let file = self.open(libc::O_NONBLOCK)?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(self.failed(Errno::ENXIO));
        }
        redirect(file)
    }

    fn failed(&self, error: impl Into<io::Error>) -> Error {
        Error::system(&[b"failed to open log file:", self.path.as_os_str().as_bytes(), b": "], error)
    }
}

/// Moves standard output and standard error to `fd`.
pub(crate) fn redirect(fd: impl AsFd) -> Result<(), Error> {
    let failed = |name: &[u8], errno| Error::system(&[b"failed to dup ", name, b" to file: "], errno);
    dup2_stdout(&fd).map_err(|errno| failed(b"STDOUT", errno))?;
    dup2_stderr(&fd).map_err(|errno| failed(b"STDERR", errno))
}
