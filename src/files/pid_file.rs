//! The pid file: it holds the pid of the superdaemon, and its lock shows that the superdaemon is alive.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::perl::{looks_like_number, trim_end, trim_start};
use crate::proc::lock_holder;
use crate::stderr::{say, visible};
use crate::sys::{self, Lock, Locked, Pid};

/// How often to check whether somebody else has the lock.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// In bytes: more than any pid takes.
const LONGEST_LINE: u64 = 4096;

/// The pid file of this superdaemon, locked as long as this lives.
pub(crate) struct PidFile {
    path: PathBuf,
    lock: Locked<File>,
}

impl PidFile {
    /// Whether `path` could be a pid file, as far as that can be seen without opening it (`special-files`).
    pub(crate) fn check(path: &Path) -> Result<(), Error> {
        Self::look(path).map(drop)
    }

    /// The same, and whether there is something.
    fn look(path: &Path) -> Result<bool, Error> {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Err(cannot_open(path, Errno::ENXIO)),
            found => Ok(found.is_ok()),
        }
    }

    /// Takes the lock first and writes the pid only then (`pid-lock-first`): until we hold the lock, the file belongs
    /// to another superdaemon. Calls `tell_wait` once before waiting; the original waits silently (LIFE-098). A signal
    /// ends the wait if `is_asked_to_end` (LIFE-097); others, such as for a dead child, don't.
    pub(crate) fn create(
        path: &Path,
        mut is_asked_to_end: impl FnMut() -> bool,
        mut tell_wait: impl FnMut(),
    ) -> Result<Self, Error> {
        let (lock, is_empty) = loop {
            let (file, is_new) = Self::open(path)?;
            let lock = lock(file, &mut is_asked_to_end, &mut tell_wait).map_err(|errno| {
                // The file was made in vain. If somebody else has locked it meanwhile, it is theirs.
                if is_new && errno != Errno::EINTR {
                    let _ = fs::remove_file(path);
                }
                cannot_lock(path, errno)
            })?;
            // The one that had the lock may have removed the file meanwhile.
            match (fs::metadata(path), lock.metadata()) {
                (Ok(there), Ok(locked)) if FileId::from(&there) != FileId::from(&locked) => {}
                (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {}
                (_, locked) => break (lock, locked.is_ok_and(|locked| locked.len() == 0)),
            }
        };
        // QUIRK: a full disk is not noticed (LIFE-092).
        if !is_empty {
            let _ = lock.set_len(0);
        }
        let _ = (&*lock).write_all(format!("{}\n", sys::own_pid()).as_bytes());
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The file, and whether it was made for this.
    fn open(path: &Path) -> Result<(File, bool), Error> {
        if let Ok(file) = OpenOptions::new().write(true).create_new(true).open(path) {
            return Ok((file, true));
        }
        let is_new = !Self::look(path)?;
        // If it has become a fifo meanwhile, this must not wait.
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).custom_flags(libc::O_NONBLOCK).open(path);
        Ok((file.map_err(|error| cannot_open(path, error))?, is_new))
    }

    /// The descriptor that holds the lock.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.lock.as_raw_fd()
    }

    /// Takes over the descriptor that holds the lock: flock(2) locks what is open, whichever program has it open.
    pub(crate) fn take_over(path: &Path, descriptor: OwnedFd) -> Self {
        Self { path: path.to_owned(), lock: Locked::by_inheritance(File::from(descriptor)) }
    }

    /// Removes the file if it is still ours; the lock stays.
    pub(crate) fn remove(&self) {
        let removed = match (fs::metadata(&self.path), self.lock.metadata()) {
            (Ok(there), Ok(ours)) if FileId::from(&there) == FileId::from(&ours) => fs::remove_file(&self.path),
            (Ok(_), Ok(_)) => Ok(()),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        if let Err(error) = removed {
            say(Error::cannot_unlink(&self.path, error).message());
        }
    }
}

/// Waits until nobody else has the lock.
fn lock(
    mut file: File,
    is_asked_to_end: &mut impl FnMut() -> bool,
    tell_wait: &mut impl FnMut(),
) -> Result<Locked<File>, Errno> {
    let mut kind = Lock::Try;
    loop {
        match Locked::lock(file, kind) {
            Ok(lock) => return Ok(lock),
            // A request may have arrived before the wait, and would not end it.
            Err((same, Errno::EWOULDBLOCK | Errno::EINTR)) if !is_asked_to_end() => file = same,
            Err((_, Errno::EWOULDBLOCK)) => return Err(Errno::EINTR),
            Err((_, errno)) => return Err(errno),
        }
        if matches!(kind, Lock::Try) {
            tell_wait();
        }
        kind = Lock::Wait;
    }
}

/// What a pid file says about its superdaemon.
pub(crate) enum Standing {
    Alive(Pid),
    Dead,
    /// For this reason.
    Unknown(String),
}

/// The pid file of a superdaemon that a command is for.
pub(crate) struct ForeignPidFile {
    path: PathBuf,
    file: File,
    text: Vec<u8>,
    /// Why it couldn't be read, if so.
    unread: Option<io::Error>,
}

impl ForeignPidFile {
    /// Opens the file, for reading or also for writing, and reads its first line.
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let file = options.open(path);
        let file = file.map_err(|error| Error::cannot_open(path, error))?;
        let mut text = Vec::new();
        let unread = BufReader::new((&file).take(LONGEST_LINE)).read_until(b'\n', &mut text).err();
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        Ok(Self { path: path.to_owned(), file, text, unread })
    }

    /// The first line, for a terminal: a number as it is, blanks included (`visible-text`).
    pub(crate) fn text(&self) -> Vec<u8> {
        if looks_like_number(&self.text) { self.text.clone() } else { visible(&self.text) }
    }

    /// The pid, if the first line is one.
    pub(crate) fn pid(&self) -> Option<Pid> {
        parse_pid(&self.text)
    }

    /// Sends a signal to the superdaemon. `sentence` is the original's, up to the reason.
    pub(crate) fn kill(&self, signal: Signal, sentence: &[u8]) -> Result<(), Error> {
        if !looks_like_number(&self.text) {
            return Err(Error::rule(&[b"Can't kill a non-numeric process ID"]));
        }
        // Whatever process has the pid now, without the lock it is not a superdaemon with this pid file (`stale-pid`).
        let pid = self.pid().filter(|&pid| self.is_locked_by(pid)).ok_or(Errno::ESRCH);
        // It may exit right now, and another process may get its number.
        let kill = |pid| sys::kill_if(pid, signal as i32, || self.is_locked_by(pid));
        pid.and_then(kill).map_err(|errno| Error::system(&[sentence], errno))
    }

    /// Whether the superdaemon from when the file was opened is alive, as far as that can be known.
    pub(crate) fn is_alive(&self) -> bool {
        self.liveness().unwrap_or(true)
    }

    /// The same: whether the lock is held (by it, if that can be known), and the pid is unchanged.
    ///
    /// # Errors
    /// If this process can't find out.
    pub(crate) fn liveness(&self) -> io::Result<bool> {
        if let Some(error) = &self.unread {
            return Err(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error));
        }
        let mut text = vec![0; self.text.len()];
        match self.file.read_exact_at(&mut text, 0) {
            Ok(()) if text == self.text => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => return Ok(false),
        }
        let is_locked = self.try_is_locked()?;
        Ok(is_locked && self.pid().is_none_or(|pid| self.may_be_held_by(pid)))
    }

    /// Anybody who may read the file may lock it, which doesn't make it a superdaemon.
    fn is_locked_by(&self, pid: Pid) -> bool {
        self.is_locked() && self.may_be_held_by(pid)
    }

    fn is_locked(&self) -> bool {
        self.try_is_locked().unwrap_or(false)
    }

    fn try_is_locked(&self) -> io::Result<bool> {
        // A shared lock, so two simultaneous clients don't take each other for the superdaemon.
        match Locked::lock(self.file.try_clone()?, Lock::TryShared) {
            Ok(_) => Ok(false),
            Err((_, Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    fn may_be_held_by(&self, pid: Pid) -> bool {
        let holds = self.file.metadata().ok().and_then(|metadata| lock_holder::is_held_by(pid, &metadata));
        holds.unwrap_or(true) && sys::kill(pid, 0) != Err(Errno::ESRCH)
    }

    /// What can be known about the superdaemon.
    pub(crate) fn standing(&self) -> Standing {
        let unknown = |reason: &str| Standing::Unknown(format!("{} {reason}", self.path.display()));
        if self.file.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return unknown("is not a file");
        }
        let is_alive = match self.liveness() {
            Ok(is_alive) => is_alive,
            Err(error) => return Standing::Unknown(error.to_string()),
        };
        match self.pid() {
            Some(pid) if is_alive => Standing::Alive(pid),
            None if !self.text.is_empty() => unknown("is not a pid file"),
            _ if !self.is_locked() => Standing::Dead,
            None => unknown("is locked, but holds no pid"),
            Some(_) => unknown("is locked, but apparently not by the process that it names"),
        }
    }

    /// Whether its name no longer leads to it: a superdaemon that exits removes it before anything else.
    pub(crate) fn is_removed(&self) -> bool {
        let there = self.file.metadata().ok().map(|metadata| FileId::from(&metadata));
        there.is_none() || FileId::of(&self.path) != there
    }

    /// Waits until the superdaemon is gone: until the lock is free, or somebody else has it.
    pub(crate) fn wait_for_end(self) -> Result<(), Error> {
        let waiting = self.file.try_clone().map_err(|error| self.cannot_lock(error))?;
        let (sender, end) = mpsc::channel();
        let wait = move || sender.send(Locked::lock(waiting, Lock::Wait).map(drop));
        let has_thread = thread::Builder::new().spawn(wait).is_ok();
        loop {
            match end.recv_timeout(POLL_INTERVAL) {
                Ok(locked) => return locked.map_err(|(_, errno)| self.cannot_lock(errno)),
                // If no thread can be started to wait, poll the lock.
                Err(_) if !has_thread && !self.try_is_locked().unwrap_or(true) => return Ok(()),
                Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(POLL_INTERVAL),
                Err(_) if self.pid().is_some_and(|pid| !self.may_be_held_by(pid)) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn cannot_lock(&self, error: impl Into<io::Error>) -> Error {
        cannot_lock(&self.path, error)
    }
}

/// A positive decimal number, with optional white space around it and an optional plus sign (P5). Not every number of
/// Perl's is a pid.
fn parse_pid(text: &[u8]) -> Option<Pid> {
    let text = trim_end(trim_start(text));
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let pid = digits.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(digits).ok()?.parse().ok())?;
    pid.filter(|&pid| pid > 0)
}

fn cannot_open(path: &Path, error: impl Into<io::Error>) -> Error {
    Error::system(&[b"failed to open file:", path.as_os_str().as_bytes(), b": "], error)
}

fn cannot_lock(path: &Path, error: impl Into<io::Error>) -> Error {
    Error::system(&[b"flock failed(", path.as_os_str().as_bytes(), b"): "], error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids() {
        for text in ["1234", " 1234 ", "1234\r", "+1234", "0001234", "\x0b1234\x0b"] {
            assert_eq!(parse_pid(text.as_bytes()), Some(1234), "{text:?}");
        }
        for text in ["", "0", "-0", "-1", "12x", "1e3", "1234.0", "NaN", "Inf", "4294967295", "99999999999999999999"] {
            assert_eq!(parse_pid(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_lock_tells_whether_the_superdaemon_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "99999\nrest").unwrap();
        let own = PidFile::create(&path, || true, || ()).unwrap();
        let foreign = ForeignPidFile::open(&path, OpenOptions::new().read(true)).unwrap();
        assert_eq!(foreign.text(), std::process::id().to_string().into_bytes());
        assert!(foreign.is_alive());
        own.remove();
        assert!(!path.exists() && foreign.is_alive());
        drop(own);
        assert!(!foreign.is_alive());
    }

    #[test]
    fn a_file_of_another_process_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let own = PidFile::create(&path, || true, || ()).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        fs::write(&path, "theirs").unwrap();
        own.remove();
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn a_shared_lock_is_no_superdaemons() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        // Without a pid, only the lock says anything.
        fs::write(&path, "\n").unwrap();
        let reader = File::open(&path).unwrap();
        reader.lock_shared().unwrap();
        let foreign = ForeignPidFile::open(&path, OpenOptions::new().read(true)).unwrap();
        assert!(!foreign.is_alive());
    }

    /// The next superdaemon has waited for the lock, and got it before the client did.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_successor_with_the_lock_ends_the_wait() {
        use std::process::{Command, Stdio};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        // This process plays the one that has lost the lock, and lives.
        fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        let foreign = ForeignPidFile::open(&path, OpenOptions::new().read(true).write(true)).unwrap();
        let lock = File::open(&path).unwrap();
        lock.lock().unwrap();
        let mut successor = Command::new("sleep").arg("1000").stdin(Stdio::from(lock)).spawn().unwrap();
        let (sender, end) = mpsc::channel();
        thread::spawn(move || sender.send(foreign.wait_for_end().is_ok()));
        let ended = end.recv_timeout(Duration::from_secs(60));
        successor.kill().unwrap();
        successor.wait().unwrap();
        assert_eq!(ended, Ok(true));
    }

    #[test]
    fn a_fifo_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(PidFile::create(&path, || true, || ()).map(drop).unwrap_err().exit_code(), 6);
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(&[b"1234\n", b" +17\n"], |text| {
            assert!(parse_pid(text).is_none_or(|pid| pid > 0));
        });
    }
}
