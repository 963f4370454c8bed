//! The file beside the pid file by which `--upgrade` makes its request and gets the answer. It belongs to the client,
//! which creates it, keeps it locked while it waits, and removes it when it has read the answer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::names::beside;
use crate::proc::{Pid, Process};
use crate::stderr::say;
use crate::sys::{self, Lock, Locked};

/// More than any answer has.
const LONGEST: u16 = 16_384;

/// The file as both know it.
pub(crate) struct RequestFile(PathBuf);

/// What a superdaemon answers: the first word, and what follows it.
pub(crate) type Answer = (Vec<u8>, Vec<u8>);

/// A request that has been made. While it lives, nobody else can make one.
pub(crate) struct Asked<'a> {
    file: &'a RequestFile,
    _locked: Locked<File>,
}

impl RequestFile {
    pub(crate) fn of(pid_file: &Path) -> Self {
        Self(beside(pid_file, ".upgrade"))
    }

    /// Answers if there is a request; only the first answer counts. A failed write is tried once more, as nobody asks
    /// again.
    pub(crate) fn answer(&self, outcome: &str, text: &[u8]) {
        let answer = [outcome.as_bytes(), b" ", text, b"\n"].concat();
        match self.try_to_answer(&answer).or_else(|_| self.try_to_answer(&answer)) {
            Ok(()) => {}
            // There is no request. A link is none.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP | libc::ENXIO)) => {}
            Err(error) => say(Error::cannot_open(&self.0, error).message()),
        }
    }

    fn try_to_answer(&self, answer: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&self.0)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.len() == 0 {
            // Half an answer would pass for a whole one.
            file.write_all_at(answer, 0).inspect_err(|_| drop(file.set_len(0)))?;
        }
        Ok(())
    }

    /// Makes the file, so that `superdaemon` can write to it. None while another client has a request.
    pub(crate) fn ask(&self, superdaemon: Pid) -> Result<Option<Asked<'_>>, Error> {
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return self.remove_left_over().map(|()| None);
            }
            Err(error) => return Err(Error::cannot_open(&self.0, error)),
        };
        // ORDER: it becomes the superdaemon's before it is locked, as it may be read from then on.
        if let Some(owner) = Process::Pid(superdaemon).owner() {
            let _ = fchown(&file, Some(owner), None);
        }
        // On a full disk this fails now, instead of no answer coming later.
        sys::reserve(&file, LONGEST).map_err(|errno| {
            let _ = fs::remove_file(&self.0);
            Error::cannot_open(&self.0, errno)
        })?;
        match Locked::lock(file, Lock::Try) {
            // Before it was locked, it may have been taken for a left-over one. Then the file at the path is another
            // client's, and no `Asked` removes it.
            Ok(locked) if !self.is_at_path(&locked) => Ok(None),
            Ok(locked) => Ok(Some(Asked { file: self, _locked: locked })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Error::cannot_open(&self.0, errno)),
        }
    }

    /// Removes the file of a client that was killed while it asked: nobody has locked it.
    fn remove_left_over(&self) -> Result<(), Error> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&self.0);
        // ORDER: it stays locked until it is removed, so nobody else's file is removed.
        let _locked = match file.map(|file| Locked::lock(file, Lock::Try)) {
            Ok(Ok(locked)) if self.is_at_path(&locked) => Some(locked),
            Ok(_) => return Ok(()),
            // A link is not a request.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::cannot_open(&self.0, error)),
        };
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::cannot_unlink(&self.0, error)),
            _ => Ok(()),
        }
    }

    fn is_at_path(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|metadata| FileId::of(&self.0) == Some(FileId::from(&metadata)))
    }
}

impl Asked<'_> {
    /// The answer, when it is complete.
    pub(crate) fn answer(&self) -> Option<Answer> {
        let path = &self.file.0;
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
        let mut content = Vec::new();
        file.take(LONGEST.into()).read_to_end(&mut content).ok()?;
        let line = content.strip_suffix(b"\n")?;
        let blank = line.iter().position(|&byte| byte == b' ')?;
        Some((line[..blank].to_vec(), line[blank + 1..].to_vec()))
    }
}

impl Drop for Asked<'_> {
    /// The client is done.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file.0);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn each_of_many_clients_gets_an_answer() {
        let directory = tempfile::tempdir().unwrap();
        let file = RequestFile::of(&directory.path().join("pid"));
        let client = || {
            for _ in 0..200 {
                let request = std::iter::repeat_with(|| file.ask(Pid::try_from(std::process::id()).unwrap()).unwrap())
                    .find_map(|it| it)
                    .unwrap();
                file.answer("same", b"");
                assert_eq!(request.answer(), Some((b"same".to_vec(), Vec::new())));
            }
        };
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(client))));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_first_answer_counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = RequestFile::of(&directory.path().join("pid"));
        let asked = file.ask(Pid::try_from(std::process::id()).unwrap()).unwrap().unwrap();
        file.answer("refused", b"why");
        file.answer("gone-on", b"no longer");
        assert_eq!(asked.answer(), Some((b"refused".to_vec(), b"why".to_vec())));
    }
}
