//! The status file: a line `GENERATION:PID` for each worker that is alive or has not been reaped. Replaced as a whole,
//! so that a reader never sees half of it. And the note beside it that tells of a restart that was given up.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::Error;
use crate::files::file_id::{FileId, remove_own};
use crate::state::State;
use crate::stderr::{say, visible};
use crate::sys::{self, CloseOnExec, Pid};

/// How long to wait before what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Behind the generation in a note, when others are tried.
const GOES_ON: &str = " goes on";

/// More than a note takes.
const LONGEST_NOTE: usize = 8192;

/// The status file of this superdaemon. Dropping it removes the file, if it is still the one that was written last.
pub(crate) struct StatusFile {
    path: PathBuf,
    written: Option<Written>,
    /// Whether it has been said that the file is another process's.
    is_loss_said: bool,
    /// What could not be written, and when to try again: a reader would wait for it for ever.
    unwritten: Option<(Vec<u8>, Instant)>,
}

/// Descriptor and content of what was written last, whether a loss was said, what could not be written.
pub(crate) type SavedFile = (Option<RawFd>, Option<Vec<u8>>, bool, Option<Vec<u8>>);

/// What was written last.
struct Written {
    id: FileId,
    content: Vec<u8>,
    /// Keeps the inode, which another file would get otherwise, and pass for this one.
    kept: File,
}

impl StatusFile {
    /// Finds out, without changing anything, whether the file could be written (`status-errors`, `special-files`).
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let file = Self { path: path.to_owned(), written: None, is_loss_said: false, unwritten: None };
        let temporary = file.temporary();
        create(&temporary)?;
        fs::remove_file(&temporary).map_err(|error| Error::cannot_unlink(&temporary, error))?;
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(file.cannot_rename(&temporary, Errno::EISDIR)),
            Ok(metadata) if !metadata.is_file() => Err(cannot_open(path, Errno::ENXIO)),
            _ => Ok(file),
        }
    }

    /// Puts `content` in the place of the file, unless that belongs to another process by now (`own-files-only`), which
    /// is said once. After an error, the old one is still there, until [`Self::retry`] succeeds.
    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), Error> {
        let result = self.replace(content);
        self.unwritten = result.is_err().then(|| (content.to_vec(), Instant::now() + RETRY));
        result
    }

    /// How long to wait before the next [`Self::retry`], if something could not be written.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.unwritten.as_ref().map(|(_, time)| time.saturating_duration_since(Instant::now()))
    }

    /// Tries again to write what could not be written, if it is time for that. The error has been said.
    pub(crate) fn retry(&mut self) {
        if self.pause().is_some_and(|pause| pause.is_zero())
            && let Some((content, _)) = self.unwritten.take()
        {
            let _ = self.write(&content);
        }
    }

    /// What it was and is to be. The descriptor that keeps the inode goes to the program that goes on.
    pub(crate) fn save(&self, key: &str, state: &mut State) -> Option<RawFd> {
        let (kept, content) = self.written.as_ref().map(|file| (file.kept.as_raw_fd(), file.content.clone())).unzip();
        let unwritten = self.unwritten.as_ref().map(|(content, _)| content.clone());
        state.add(key, &(kept, content, self.is_loss_said, unwritten));
        kept
    }

    pub(crate) fn read(key: &str, state: &State) -> Result<SavedFile, Error> {
        Ok(state.get(key)?.unwrap_or_default())
    }

    /// Goes on with it. Where there is no descriptor, the file that holds what was written last is the one.
    pub(crate) fn resume(path: &Path, (fd, content, is_loss_said, unwritten): SavedFile) -> Self {
        // SAFETY: the program that was here before has left it open for this, and it is taken once.
        #[expect(unsafe_code)]
        let kept = fd.and_then(|fd| unsafe { sys::take(fd) }.ok()).map(File::from);
        let kept = kept.inspect(|file| sys::set_close_on_exec(file.as_raw_fd(), CloseOnExec::Yes));
        let kept = kept.or_else(|| {
            let longest = content.as_ref()?.len() + 1;
            (read_regular(path, longest) == content).then(|| File::open(path).ok()).flatten()
        });
        let written = kept
            .zip(content)
            .and_then(|(kept, content)| Some(Written { id: FileId::from(&kept.metadata().ok()?), content, kept }));
        let unwritten = unwritten.map(|content| (content, Instant::now()));
        Self { path: path.to_owned(), written, is_loss_said, unwritten }
    }

    fn replace(&mut self, content: &[u8]) -> Result<(), Error> {
        if self.is_taken_over() {
            let sentence =
                [self.path.as_os_str().as_bytes(), b" is the file of another process by now, and is left alone"];
            let is_said = std::mem::replace(&mut self.is_loss_said, true);
            return if is_said { Ok(()) } else { Err(Error::rule(&sentence)) };
        }
        let temporary = self.temporary();
        let written = write_temporary(&temporary, content);
        let renamed = written.and_then(|written| match fs::rename(&temporary, &self.path) {
            Ok(()) => Ok(written),
            Err(error) => Err(self.cannot_rename(&temporary, error)),
        });
        match renamed {
            Ok(written) => self.written = Some(written),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes the file, if it is still the one that was written last. That it can't be removed is said.
    fn remove(&mut self) {
        self.unwritten = None;
        if let Some(written) = self.written.take()
            && let Err(error) = remove_own(&self.path, written.id)
        {
            say(error.message());
        }
    }

    /// Whether there is a file that is not the one that was written last. A copy of that, which names nothing but
    /// workers of ours, is as good. (A directory is no status file at all: the error that it leads to is worth a
    /// message.)
    fn is_taken_over(&self) -> bool {
        let Some(written) = &self.written else { return false };
        let there = fs::metadata(&self.path);
        if there.is_ok_and(|there| there.is_dir() || FileId::from(&there) == written.id) {
            return false;
        }
        // One byte more, to see that it is longer.
        let Some(content) = read_regular(&self.path, written.content.len() + 1) else { return self.path.exists() };
        let ours = written.content.split(|&byte| byte == b'\n');
        !content.split(|&byte| byte == b'\n').all(|line| ours.clone().any(|our| our == line))
    }

    /// `FILE.PID`, as the original names it.
    fn temporary(&self) -> PathBuf {
        let mut name: OsString = self.path.clone().into();
        name.push(format!(".{}", std::process::id()));
        name.into()
    }

    fn cannot_rename(&self, temporary: &Path, error: impl Into<io::Error>) -> Error {
        let (from, to) = (temporary.as_os_str().as_bytes(), self.path.as_os_str().as_bytes());
        Error::system(&[b"failed to rename ", from, b" to ", to, b":"], error)
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The note beside the status file by which `--restart` learns of attempts to start a worker that have failed, and whether the
/// restart was given up with that. It goes when a worker has started.
pub(crate) struct FailureFile(StatusFile);

impl FailureFile {
    /// Finds out, without changing anything, whether the file could be written.
    pub(crate) fn new(status_file: &Path) -> Result<Self, Error> {
        StatusFile::new(&Self::path(status_file)).map(Self)
    }

    /// As that of the status file.
    pub(crate) fn save(&self, key: &str, state: &mut State) -> Option<RawFd> {
        self.0.save(key, state)
    }

    /// As that of the status file.
    pub(crate) fn resume(status_file: &Path, saved: SavedFile) -> Self {
        Self(StatusFile::resume(&Self::path(status_file), saved))
    }

    /// Removes what a superdaemon that was killed has left behind.
    pub(crate) fn remove_left_over(&self) {
        let _ = fs::remove_file(&self.0.path);
    }

    /// Notes that the attempt of a generation has failed, with lines about why; `is_last`: there is no other one. If it can't be
    /// written, as on a full disk, a `--restart` that waits for this waits until [`Self::retry`] succeeds.
    pub(crate) fn note(&mut self, generation: u64, is_last: bool, reason: &[u8]) {
        let tail = if is_last { "" } else { GOES_ON };
        let _ = self.0.write(&[format!("{generation}{tail}\n").as_bytes(), reason].concat());
    }

    /// A worker has started.
    pub(crate) fn remove(&mut self) {
        self.0.remove();
    }

    /// As that of the status file.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.0.pause()
    }

    /// As that of the status file.
    pub(crate) fn retry(&mut self) {
        self.0.retry();
    }

    fn path(status_file: &Path) -> PathBuf {
        let mut name: OsString = status_file.to_owned().into();
        name.push(".failed");
        name.into()
    }
}

/// A note that a start has failed. A later one differs from it.
#[derive(PartialEq, Eq)]
pub(crate) struct FailureNote {
    id: FileId,
    generation: u64,
    is_last: bool,
    /// The lines behind that of the generation.
    reason: Vec<u8>,
}

impl FailureNote {
    /// The note that is there now. A file of this name that holds no generation is not ours.
    pub(crate) fn of(status_file: &Path) -> Option<Self> {
        let path = FailureFile::path(status_file);
        let mut content = read_regular(&path, LONGEST_NOTE)?;
        let line = content.iter().position(|&byte| byte == b'\n')?;
        let text = str::from_utf8(&content[..line]).ok()?;
        let (digits, is_last) = text.strip_suffix(GOES_ON).map_or((text, true), |digits| (digits, false));
        let generation = digits.parse().ok()?;
        Some(Self { id: FileId::of(&path)?, generation, is_last, reason: content.split_off(line + 1) })
    }

    /// The generation of the attempt.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the restart was given up.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Why it has failed, as lines to be put behind another one.
    pub(crate) fn reason(&self) -> Vec<u8> {
        let reason = self.reason.trim_ascii_end();
        if reason.is_empty() { Vec::new() } else { [b"\n", &visible_lines(reason)[..]].concat() }
    }
}

/// For a terminal.
pub(crate) fn visible_lines(text: &[u8]) -> Vec<u8> {
    text.split(|&byte| byte == b'\n').map(visible).collect::<Vec<_>>().join(&b'\n')
}

/// Writes the file that is about to get the name of the status file.
fn write_temporary(temporary: &Path, content: &[u8]) -> Result<Written, Error> {
    let mut file = create(temporary)?;
    let written = file.write_all(content).and_then(|()| {
        let kept = File::open(temporary)?;
        // ORDER: closed before it gets its name, as the original does: who watches the name sees one event.
        drop(file);
        Ok(Written { id: FileId::from(&kept.metadata()?), content: content.to_vec(), kept })
    });
    written.map_err(|error| {
        Error::system(&[b"failed to write temporary file:", temporary.as_os_str().as_bytes(), b":"], error)
    })
}

/// The beginning of a regular file; None for anything else. Never waits, as a fifo would let it.
fn read_regular(path: &Path, most: usize) -> Option<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(())?;
    let mut content = Vec::new();
    file.take(most as u64).read_to_end(&mut content).ok()?;
    Some(content)
}

/// Creates the temporary file anew. What is left over of another one of this name goes: somebody may have it open, or
/// have put a link there. Anything else than a file or a link stays, and is an error.
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

fn cannot_open(path: &Path, error: impl Into<io::Error>) -> Error {
    Error::system(&[b"failed to open file:", path.as_os_str().as_bytes(), b":"], error)
}

/// The generations in the status file at `path`, ascending. Lines that do not start with `DIGITS:` don't count.
pub(crate) fn generations(path: &Path) -> Result<Vec<u64>, Error> {
    let mut file = File::open(path).map_err(|error| cannot_open(path, error))?;
    let mut content = Vec::new();
    // QUIRK: what can be opened but not read, a directory, is like an empty file.
    let _ = file.read_to_end(&mut content);
    // The same generation twice counts once, but `7` and `007` are two.
    let mut texts = BTreeSet::new();
    texts.extend(content.split(|&byte| byte == b'\n').filter_map(generation));
    let numbers = texts.into_iter().map(|text| str::from_utf8(text).ok().and_then(|digits| digits.parse().ok()));
    let mut generations: Vec<u64> = numbers.map(|number| number.unwrap_or(u64::MAX)).collect();
    generations.sort_unstable();
    Ok(generations)
}

/// The workers in the status file at `path`, as far as they can be read.
pub(crate) fn workers(path: &Path) -> BTreeMap<u64, Pid> {
    let status = fs::read_to_string(path).unwrap_or_default();
    let worker = |line: &str| {
        let (generation, pid) = line.split_once(':')?;
        Some((generation.parse().ok()?, pid.parse().ok()?))
    };
    status.lines().filter_map(worker).collect()
}

fn generation(line: &[u8]) -> Option<&[u8]> {
    let digits = &line[..line.iter().position(|&byte| byte == b':')?];
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_begin_with_a_number_and_a_colon_count() {
        let table: &[(&str, &[u64])] = &[
            ("", &[]),
            ("1:100\n", &[1]),
            ("10:3\n9:4\n", &[9, 10]),
            ("foo\n007:1\n3:2\n", &[3, 7]),
            (":1\n 3:4\n5\n", &[]),
            ("2:1\n2:3", &[2]),
            ("7:1\n007:3", &[7, 7]),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        for &(content, expected) in table {
            fs::write(&path, content).unwrap();
            assert_eq!(generations(&path), Ok(expected.to_vec()), "{content:?}");
        }
    }

    #[test]
    fn the_file_is_replaced_and_goes_with_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut file = StatusFile::new(&path).unwrap();
        assert!(!path.exists());
        file.write(b"1:100\n").unwrap();
        file.write(b"1:100\n2:101\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1:100\n2:101\n");
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_later_failure_has_another_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut file = FailureFile::new(&path).unwrap();
        assert!(FailureNote::of(&path).is_none());
        file.note(4, false, b"");
        assert_eq!(FailureNote::of(&path).map(|note| (note.generation(), note.is_last())), Some((4, false)));
        file.note(4, true, b"");
        assert_eq!(FailureNote::of(&path).map(|note| (note.generation(), note.is_last())), Some((4, true)));
        let first = FailureNote::of(&path);
        assert!(first.is_some());
        file.note(4, true, b"it has failed: exit 1\n\x1b[31mred\n");
        let reason = FailureNote::of(&path).map(|note| note.reason());
        assert_eq!(reason, Some(b"\nit has failed: exit 1\n\\u{1b}[31mred".to_vec()));
        assert!(FailureNote::of(&path) != first);
        file.remove();
        assert!(FailureNote::of(&path).is_none());
        for content in ["", "4", "x\n", "-1\n"] {
            fs::write(FailureFile::path(&path), content).unwrap();
            assert!(FailureNote::of(&path).is_none(), "{content:?}");
        }
    }

    #[test]
    fn a_file_of_another_process_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("status"), dir.path().join("other"));
        let mut file = StatusFile::new(&path).unwrap();
        fs::write(&other, "theirs").unwrap();
        file.write(b"1:100\n").unwrap();
        fs::rename(&other, &path).unwrap();
        let error = file.write(b"2:101\n").unwrap_err().to_string();
        assert!(error.ends_with(" is the file of another process by now, and is left alone"), "{error}");
        file.write(b"3:102\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn a_copy_of_the_file_is_as_good() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("status"), dir.path().join("copy"));
        let mut file = StatusFile::new(&path).unwrap();
        file.write(b"1:100\n2:101\n").unwrap();
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        file.write(b"2:101\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2:101\n");
    }

    #[test]
    fn a_note_that_is_a_fifo_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        nix::unistd::mkfifo(&FailureFile::path(&path), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(FailureNote::of(&path).is_none());
    }

    #[test]
    fn a_file_that_was_removed_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut file = StatusFile::new(&path).unwrap();
        file.write(b"1:100\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.write(b"2:101\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2:101\n");
    }

    #[test]
    fn a_failed_update_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut file = StatusFile::new(&path).unwrap();
        file.write(b"1:100\n").unwrap();
        fs::create_dir(file.temporary()).unwrap();
        assert_eq!(file.write(b"2:101\n").unwrap_err().exit_code(), 21);
        assert_eq!(fs::read(&path).unwrap(), b"1:100\n");
        fs::remove_dir(file.temporary()).unwrap();
        let due = |file: &mut StatusFile| file.unwritten.iter_mut().for_each(|(_, time)| *time = Instant::now());
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
        let mut file = StatusFile::new(&path).unwrap();
        fs::write(&victim, "theirs").unwrap();
        let link = |temporary: &Path| fs::hard_link(&victim, temporary).unwrap();
        let symlink = |temporary: &Path| std::os::unix::fs::symlink(&victim, temporary).unwrap();
        for put in [&link as &dyn Fn(&Path), &symlink] {
            put(&file.temporary());
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
        let code = |path: &Path| StatusFile::new(path).map(drop).unwrap_err().exit_code();
        assert_eq!((code(&fifo), code(dir.path()), code(&dir.path().join("no/status"))), (6, 21, 2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        let path = dir.path().join("status");
        let mut file = StatusFile::new(&path).unwrap();
        nix::unistd::mkfifo(&file.temporary(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(file.write(b"1:100\n").unwrap_err().exit_code(), 6);
    }
}
