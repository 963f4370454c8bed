//! The file beside the pid file by which `--upgrade` asks, and learns what came of it. It is the client's: it makes the
//! file, and removes it when it has read the answer.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::names::beside;
use crate::proc::{Pid, Process};

/// More than any answer has.
const LONGEST: u64 = 8192;

/// The file as both know it.
pub(crate) struct RequestFile(PathBuf);

/// What a superdaemon answers: the first word, and what is behind it.
pub(crate) type Answer = (Vec<u8>, Vec<u8>);

impl RequestFile {
    pub(crate) fn of(pid_file: &Path) -> Self {
        Self(beside(pid_file, ".upgrade"))
    }

    /// Answers, if somebody asks. What can't be written nobody hears; the log has it, too.
    pub(crate) fn answer(&self, outcome: &str, text: &[u8]) {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&self.0);
        if let Ok(mut file) = file
            && file.metadata().is_ok_and(|metadata| metadata.is_file())
        {
            let _ = file.write_all(&[outcome.as_bytes(), b" ", text, b"\n"].concat());
        }
    }

    /// Asks: makes the file, so that `superdaemon` can write to it.
    pub(crate) fn ask(&self, superdaemon: Pid) -> Result<(), Error> {
        // Of one that was killed while it asked.
        let _ = fs::remove_file(&self.0);
        let file: Result<File, _> = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0);
        let file = file.map_err(|error| Error::cannot_open(&self.0, error))?;
        if let Some(owner) = Process::Pid(superdaemon).owner() {
            let _ = fchown(&file, Some(owner), None);
        }
        Ok(())
    }

    /// The answer, when all of it is there.
    pub(crate) fn read(&self) -> Option<Answer> {
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&self.0).ok()?;
        let mut content = Vec::new();
        file.take(LONGEST).read_to_end(&mut content).ok()?;
        let line = content.strip_suffix(b"\n")?;
        let blank = line.iter().position(|&byte| byte == b' ')?;
        Some((line[..blank].to_vec(), line[blank + 1..].to_vec()))
    }

    /// It is over, for the client.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}
