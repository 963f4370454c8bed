//! A file that a superdaemon writes for others. It is replaced as a whole, so a reader never sees half of it; and it is
//! removed or overwritten only while it is still the superdaemon's own (`own-files-only`).

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::Error;
use crate::files::file_id::FileId;
use crate::files::names::beside;
use crate::stderr::say;
use crate::succession::{Descriptors, Field, Lines};
use crate::sys;

/// How long to wait before what has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A file of this superdaemon. Dropping it removes the file if it is still the one that was written last.
pub(crate) struct OwnFile {
    path: PathBuf,
    /// Where it is written, before it gets its name.
    temporary: PathBuf,
    written: Option<Written>,
    /// Whether a line has reported that the file is another process's.
    is_loss_said: bool,
    /// What could not be written, and when to try again: a reader would wait for it for ever.
    unwritten: Option<(Vec<u8>, Instant)>,
}

/// What the next program has to know about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnFilePart {
    /// Up to version 1.1: what was written last, open.
    pub(crate) kept: Option<RawFd>,
    /// That of what was written last. None: the file that holds `content` is the one.
    pub(crate) stamp: Option<Stamp>,
    /// What was written last.
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) is_loss_said: bool,
    /// What could not be written.
    pub(crate) unwritten: Option<Vec<u8>>,
}

impl OwnFilePart {
    /// Under the `key` of the file's owner.
    pub(crate) fn write(&self, key: &str, lines: &mut Lines) {
        let Self { kept, stamp, content, is_loss_said, unwritten } = self;
        lines.add(key, &(*kept, content.clone(), *is_loss_said, unwritten.clone(), *stamp));
    }

    /// # Errors
    /// If there is such a line that can't be read.
    pub(crate) fn read(key: &str, lines: &Lines) -> Result<Option<Self>, Error> {
        let line = lines.get(key)?;
        Ok(line.map(|(kept, content, is_loss_said, unwritten, stamp)| Self {
            kept,
            stamp,
            content,
            is_loss_said,
            unwritten,
        }))
    }
}

/// What distinguishes a file from all others: its inode may be reused when it is gone, but not with the time at which
/// this one was written. (A descriptor that keeps the inode costs two system calls for each time, and is one more to
/// hand over.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    id: FileId,
    /// In seconds and nanoseconds.
    modified: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self { id: FileId::from(metadata), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

/// Device, inode, seconds, nanoseconds.
impl Field for Stamp {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let ((device, inode), (seconds, nanoseconds)) = (self.id.numbers(), self.modified);
        Some(format!("{device}:{inode}:{seconds}:{nanoseconds}").into())
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Option<Self> {
        let mut numbers = str::from_utf8(bytes?).ok()?.split(':');
        let id = FileId::of_numbers(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let modified = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        numbers.next().is_none().then_some(Self { id, modified })
    }
}

/// What was written last.
struct Written {
    stamp: Stamp,
    content: Vec<u8>,
}

impl Written {
    /// Whether it is the file at `path`. Somebody may have touched it.
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        match fs::metadata(path).map(|there| Stamp::from(&there)) {
            Ok(there) => Ok(there == self.stamp || there.id == self.stamp.id && self.is_content_of(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_content_of(&self, path: &Path) -> bool {
        // One byte more, to see that it is longer.
        read_regular(path, self.content.len() + 1).is_some_and(|content| content == self.content)
    }
}

impl OwnFile {
    /// Finds out, without changing anything, whether the file could be written (`status-errors`, `special-files`).
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let temporary = temporary(path);
        let file = Self { path: path.to_owned(), temporary, written: None, is_loss_said: false, unwritten: None };
        create(&file.temporary)?;
        fs::remove_file(&file.temporary).map_err(|error| Error::cannot_unlink(&file.temporary, error))?;
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(file.cannot_rename(Errno::EISDIR)),
            Ok(metadata) if !metadata.is_file() => Err(Error::cannot_open(path, Errno::ENXIO)),
            _ => Ok(file),
        }
    }

    /// Replaces the file with `content`, unless it now belongs to another process (`own-files-only`), which is reported
    /// once. After an error, the old content stays until [`Self::retry`] succeeds.
    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), Error> {
        let result = self.replace(content);
        self.unwritten = result.is_err().then(|| (content.to_vec(), Instant::now() + RETRY));
        result
    }

    /// How long to wait before the next [`Self::retry`], if something could not be written.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.unwritten.as_ref().map(|(_, time)| time.saturating_duration_since(Instant::now()))
    }

    /// Tries again to write what could not be written, if it is time for that. The error has been reported.
    pub(crate) fn retry(&mut self) {
        if self.pause().is_some_and(|pause| pause.is_zero())
            && let Some((content, _)) = self.unwritten.take()
        {
            let _ = self.write(&content);
        }
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its current and its pending content.
    pub(crate) fn part(&self) -> OwnFilePart {
        let (stamp, content) = self.written.as_ref().map(|file| (file.stamp, file.content.clone())).unzip();
        let unwritten = self.unwritten.as_ref().map(|(content, _)| content.clone());
        OwnFilePart { kept: None, stamp, content, is_loss_said: self.is_loss_said, unwritten }
    }

    /// Continues with it. Without a stamp, it is the file that holds what was written last.
    pub(crate) fn take_over(path: &Path, part: OwnFilePart, descriptors: &mut Descriptors) -> Self {
        let OwnFilePart { kept, stamp, content, is_loss_said, unwritten } = part;
        let kept = kept.map(|number| File::from(descriptors.take_own(number)));
        let stamp = stamp.or_else(|| Some(Stamp::from(&kept?.metadata().ok()?)));
        let written = content.and_then(|content| {
            let found = || fs::metadata(path).ok().map(|there| Stamp::from(&there));
            let written = Written { stamp: stamp.or_else(found)?, content };
            (stamp.is_some() || written.is_content_of(path)).then_some(written)
        });
        let unwritten = unwritten.map(|content| (content, Instant::now()));
        Self { path: path.to_owned(), temporary: temporary(path), written, is_loss_said, unwritten }
    }

    fn replace(&mut self, content: &[u8]) -> Result<(), Error> {
        if self.is_taken_over() {
            let sentence = [self.path.as_os_str().as_bytes(), b" now belongs to another process; leaving it alone"];
            let is_said = std::mem::replace(&mut self.is_loss_said, true);
            return if is_said { Ok(()) } else { Err(Error::rule(&sentence)) };
        }
        let written = write_temporary(&self.temporary, content);
        let renamed = written.and_then(|written| match fs::rename(&self.temporary, &self.path) {
            Ok(()) => Ok(written),
            Err(error) => Err(self.cannot_rename(error)),
        });
        match renamed {
            Ok(written) => self.written = Some(written),
            Err(error) => {
                let _ = fs::remove_file(&self.temporary);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes the file, if it is still the one that was written last. Reports a failure.
    pub(super) fn remove(&mut self) {
        self.unwritten = None;
        let Some(written) = self.written.take() else { return };
        let removed =
            written.is_at(&self.path).and_then(|is_own| if is_own { fs::remove_file(&self.path) } else { Ok(()) });
        if let Err(error) = removed {
            say(Error::cannot_unlink(&self.path, error).message());
        }
    }

    /// Whether there is a file that is not the one that was written last. A copy of that, which names only workers of
    /// ours, is as good. (A directory is not a status file at all: the error that it leads to is worth a message.)
    fn is_taken_over(&self) -> bool {
        let Some(written) = &self.written else { return false };
        let there = fs::metadata(&self.path);
        if there.is_ok_and(|there| there.is_dir() || Stamp::from(&there) == written.stamp) {
            return false;
        }
        // One byte more, to see that it is longer.
        let Some(content) = read_regular(&self.path, written.content.len() + 1) else { return self.path.exists() };
        let ours = written.content.split(|&byte| byte == b'\n');
        !content.split(|&byte| byte == b'\n').all(|line| ours.clone().any(|our| our == line))
    }

    fn cannot_rename(&self, error: impl Into<io::Error>) -> Error {
        let (from, to) = (self.temporary.as_os_str().as_bytes(), self.path.as_os_str().as_bytes());
        Error::system(&[b"failed to rename ", from, b" to ", to, b":"], error)
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// `FILE.PID`, as the original names it.
fn temporary(path: &Path) -> PathBuf {
    beside(path, &format!(".{}", sys::own_pid()))
}

/// Writes the file that is about to get the name of the file.
// ORDER: closed before it gets its name, as the original does: a watcher of the name sees one event.
fn write_temporary(temporary: &Path, content: &[u8]) -> Result<Written, Error> {
    let mut file = create(temporary)?;
    let written = file.write_all(content).and_then(|()| file.metadata());
    let written = written.map(|metadata| Written { stamp: Stamp::from(&metadata), content: content.to_vec() });
    written.map_err(|error| {
        Error::system(&[b"failed to write temporary file:", temporary.as_os_str().as_bytes(), b":"], error)
    })
}

/// The beginning of a regular file; None for anything else. Never waits, as it would for a fifo.
pub(crate) fn read_regular(path: &Path, most: usize) -> Option<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(())?;
    let mut content = Vec::new();
    file.take(most as u64).read_to_end(&mut content).ok()?;
    Some(content)
}

/// Creates the temporary file anew. A left-over one of this name is removed: somebody may have it open, or have put a
/// link there. Anything other than a file or a link stays, and is an error.
fn create(temporary: &Path) -> Result<File, Error> {
    let file = match File::create_new(temporary) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(temporary) {
            Ok(metadata) if metadata.is_dir() => Err(Errno::EISDIR.into()),
            Ok(metadata) if !metadata.is_file() && !metadata.is_symlink() => Err(Errno::ENXIO.into()),
            _ => fs::remove_file(temporary).and_then(|()| File::create_new(temporary)),
        },
        file => file,
    };
    file.map_err(|error| {
        Error::system(&[b"failed to create temporary file:", temporary.as_os_str().as_bytes(), b":"], error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_and_goes_with_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut file = OwnFile::new(&path).unwrap();
        assert!(!path.exists());
        file.write(b"1:100\n").unwrap();
        file.write(b"1:100\n2:101\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1:100\n2:101\n");
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_of_another_process_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("status"), dir.path().join("other"));
        let mut file = OwnFile::new(&path).unwrap();
        fs::write(&other, "theirs").unwrap();
        file.write(b"1:100\n").unwrap();
        fs::rename(&other, &path).unwrap();
        let error = file.write(b"2:101\n").unwrap_err().to_string();
        assert!(error.ends_with(" now belongs to another process; leaving it alone"), "{error}");
        file.write(b"3:102\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn a_copy_of_the_file_is_as_good() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("status"), dir.path().join("copy"));
        let mut file = OwnFile::new(&path).unwrap();
        file.write(b"1:100\n2:101\n").unwrap();
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        file.write(b"2:101\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2:101\n");
    }

    #[test]
    fn a_file_that_was_removed_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut file = OwnFile::new(&path).unwrap();
        file.write(b"1:100\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.write(b"2:101\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2:101\n");
    }

    #[test]
    fn a_failed_update_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut file = OwnFile::new(&path).unwrap();
        file.write(b"1:100\n").unwrap();
        fs::create_dir(&file.temporary).unwrap();
        assert_eq!(file.write(b"2:101\n").unwrap_err().exit_code(), 21);
        assert_eq!(fs::read(&path).unwrap(), b"1:100\n");
        fs::remove_dir(&file.temporary).unwrap();
        let due = |file: &mut OwnFile| file.unwritten.iter_mut().for_each(|(_, time)| *time = Instant::now());
        file.retry();
        assert!(file.pause().is_some_and(|pause| pause <= RETRY));
        due(&mut file);
        file.retry();
        assert_eq!((fs::read(&path).unwrap().as_slice(), file.pause()), (b"2:101\n".as_slice(), None));
    }

    #[test]
    fn what_is_at_the_temporary_name_is_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("status"), dir.path().join("victim"));
        let mut file = OwnFile::new(&path).unwrap();
        fs::write(&victim, "theirs").unwrap();
        let link = |temporary: &Path| fs::hard_link(&victim, temporary).unwrap();
        let symlink = |temporary: &Path| std::os::unix::fs::symlink(&victim, temporary).unwrap();
        for put in [&link as &dyn Fn(&Path), &symlink] {
            put(&file.temporary);
            file.write(b"1:100\n").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"1:100\n");
            assert_eq!(fs::read(&victim).unwrap(), b"theirs");
        }
    }

    #[test]
    fn what_cannot_be_a_status_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let code = |path: &Path| OwnFile::new(path).map(drop).unwrap_err().exit_code();
        assert_eq!((code(&fifo), code(dir.path()), code(&dir.path().join("no/status"))), (6, 21, 2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        let path = dir.path().join("status");
        let mut file = OwnFile::new(&path).unwrap();
        nix::unistd::mkfifo(&file.temporary, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(file.write(b"1:100\n").unwrap_err().exit_code(), 6);
    }
}
