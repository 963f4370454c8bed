//! One process, or one of its threads, as its directory shows it. What can't be read is reported as missing, or as an
//! error if somebody needs the reason.

use std::fmt::{self, Display};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use libc::c_int;

use crate::proc::{Descriptor, Pid};

/// The ticks per second in `stat`: the same on all architectures in use.
const USER_HZ: u64 = 100;

/// Checks that /proc belongs to this process's pid namespace.
///
/// # Errors
/// If there is none, or if this process doesn't appear in it.
pub(crate) fn is_own_proc() -> io::Result<bool> {
    Ok(fs::read_link("/proc/self")?.as_os_str() == std::process::id().to_string().as_str())
}

/// Whose directory is read.
#[derive(Clone, Copy)]
pub(crate) enum Process {
    /// This process.
    Own,
    /// The calling thread.
    OwnThread,
    Pid(Pid),
    /// A process and one of its threads, which shares memory and descriptors with the others, and makes its own system
    /// calls.
    Thread(Pid, Pid),
}

/// The directory.
impl Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => write!(f, "/proc/self"),
            Self::OwnThread => write!(f, "/proc/thread-self"),
            Self::Pid(pid) => write!(f, "/proc/{pid}"),
            Self::Thread(pid, thread) => write!(f, "/proc/{pid}/task/{thread}"),
        }
    }
}

/// What identifies a process, and shows to which family it belongs.
#[derive(Clone, Copy)]
pub(crate) struct Kinship {
    /// It has exited and has not been reaped.
    pub(crate) is_zombie: bool,
    /// The process group.
    pub(crate) group: Pid,
    pub(crate) session: Pid,
    /// When it was started: how long after the machine was.
    pub(crate) started: Duration,
}

impl Process {
    /// A file of it, for messages.
    pub(crate) fn path(self, name: &str) -> PathBuf {
        format!("{self}/{name}").into()
    }

    /// The kernel's name of the program: its beginning, and a newline.
    pub(crate) fn name(self) -> io::Result<Vec<u8>> {
        self.read("comm")
    }

    /// Leads to the program that it executes, whatever has happened to that program's name.
    pub(crate) fn executable(self) -> PathBuf {
        self.path("exe")
    }

    /// The user that it runs as.
    pub(crate) fn owner(self) -> Option<u32> {
        fs::metadata(self.to_string()).ok().map(|directory| directory.uid())
    }

    /// All that are seen.
    pub(crate) fn all() -> Vec<Pid> {
        numbers_in(Path::new("/proc")).into_iter().flatten().collect()
    }

    /// The threads of a process; none if it is gone.
    pub(crate) fn threads_of(pid: Pid) -> impl Iterator<Item = Self> {
        numbers_in(&Self::Pid(pid).path("task")).into_iter().flatten().map(move |thread| Self::Thread(pid, thread))
    }

    /// None if it has been reaped.
    pub(crate) fn parent(self) -> Option<Pid> {
        parent_in(&self.read("stat").ok()?)
    }

    /// Whether it lives and is a child of this one. None if it is gone, or that can't be seen.
    pub(crate) fn is_living_child_of(self, parent: Pid) -> Option<bool> {
        let stat = self.read("stat").ok()?;
        Some(parent_in(&stat)? == parent && !matches!(field_of(&stat, 0), Some('Z' | 'X')))
    }

    /// When it was started: how long after the machine was.
    pub(crate) fn started(self) -> Option<Duration> {
        start_in(&self.read("stat").ok()?)
    }

    /// None if it is gone.
    pub(crate) fn kinship(self) -> Option<Kinship> {
        let stat = self.read("stat").ok()?;
        Some(Kinship {
            is_zombie: matches!(field_of(&stat, 0), Some('Z' | 'X')),
            group: field_of(&stat, 2)?,
            session: field_of(&stat, 3)?,
            started: start_in(&stat)?,
        })
    }

    /// What a thread has forked and not reaped; for the first thread of a process, also what it has inherited from
    /// others. None if it is gone, or the kernel has no such list.
    pub(super) fn children(self) -> Option<Vec<Pid>> {
        let list = self.read("children").ok()?;
        Some(list.split(|&byte| byte == b' ').filter_map(|pid| str::from_utf8(pid).ok()?.parse().ok()).collect())
    }

    /// Whether it has exited and has not been reaped, or is gone.
    pub(crate) fn is_zombie(self) -> bool {
        let stat = self.read("stat").unwrap_or_default();
        let name_end = stat.iter().rposition(|&byte| byte == b')').unwrap_or(0);
        matches!(stat.get(name_end + 2), Some(b'Z' | b'X') | None)
    }

    pub(crate) fn catches(self, signal: c_int) -> bool {
        self.signals("SigCgt").is_ok_and(|set| contains(set, signal))
    }

    /// One of the sets of signals in its status: a bit for each number less one.
    pub(crate) fn signals(self, set: &str) -> io::Result<u64> {
        Ok(u64::from_str_radix(&self.status(set)?, 16).unwrap_or(0))
    }

    /// What follows a name in its status; empty if there is no such line.
    pub(crate) fn status(self, name: &str) -> io::Result<String> {
        let status = self.read("status")?;
        let status = String::from_utf8_lossy(&status);
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value.unwrap_or_default().trim().to_owned())
    }

    /// The command line that it was started with, unless it has overwritten that.
    pub(crate) fn arguments(self) -> io::Result<Vec<Vec<u8>>> {
        Ok(strings(&self.read("cmdline")?).map(<[u8]>::to_vec).collect())
    }

    /// The environment that it was started with, unless it has overwritten that.
    pub(crate) fn environment(self) -> io::Result<Vec<Vec<u8>>> {
        Ok(strings(&self.read("environ")?).map(<[u8]>::to_vec).collect())
    }

    /// The value of a variable at its start.
    pub(crate) fn variable(self, name: &str) -> Option<Vec<u8>> {
        let environment = self.read("environ").ok()?;
        strings(&environment).find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(Into::into))
    }

    /// The system call that a thread sleeps in: the number, six arguments, and two addresses. The number is -1 outside
    /// a call; a thread that doesn't sleep is just `running`.
    ///
    /// # Errors
    /// `EPERM` unless this process could trace it.
    pub(crate) fn system_call(self) -> io::Result<String> {
        fs::read_to_string(self.path("syscall"))
    }

    /// Its memory; a position is an address.
    ///
    /// # Errors
    /// `EACCES` unless this process could trace it.
    pub(crate) fn memory(self, access: &OpenOptions) -> io::Result<File> {
        access.open(self.path("mem"))
    }

    pub(crate) fn descriptor(self, number: RawFd) -> Descriptor {
        Descriptor { process: self, number }
    }

    /// Those that are open.
    pub(crate) fn descriptors(self) -> io::Result<impl Iterator<Item = Descriptor>> {
        Ok(numbers_in(&self.path("fd"))?.map(move |number| self.descriptor(number)))
    }

    /// The same, or an error if any of them may be missing.
    pub(super) fn all_descriptors(self) -> io::Result<Vec<Descriptor>> {
        let entries = fs::read_dir(self.path("fd"))?;
        let number =
            |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
        let numbers: io::Result<Vec<Option<RawFd>>> = entries.map(number).collect();
        Ok(numbers?.into_iter().flatten().map(|number| self.descriptor(number)).collect())
    }

    fn read(self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }
}

#[allow(dead_code, reason = "asked by --take-over alone, which not every system and not every build has")]
impl Process {
    /// Leads to where `path` leads for that process, which may have another root directory.
    pub(crate) fn seen(self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(path) => self.path("root").join(path),
            Err(_) => self.path("cwd").join(path),
        }
    }

    /// One of its limits, by its name in `limits`, such as `Max file size`. None if there is none.
    pub(crate) fn limit(self, name: &str) -> Option<u64> {
        let limits = self.read("limits").ok()?;
        let line = str::from_utf8(&limits).ok()?.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Whether it has the processor, or would get further with more of that or a faster disk.
    pub(crate) fn is_at_work(self) -> bool {
        self.read("stat").is_ok_and(|stat| matches!(field_of(&stat, 0), Some('R' | 'D')))
    }

    pub(crate) fn blocks(self, signal: c_int) -> bool {
        self.signals("SigBlk").is_ok_and(|set| contains(set, signal))
    }
}

/// How many threads this process has.
pub(crate) fn own_threads() -> Option<u64> {
    // The directory's entries are `.`, `..` and one per thread, and each is a directory.
    fs::metadata(Process::Own.path("task")).ok().map(|directory| directory.nlink().saturating_sub(2))
}

/// The entries of a directory whose names are numbers.
pub(super) fn numbers_in(directory: &Path) -> io::Result<impl Iterator<Item = c_int> + use<>> {
    let entries = fs::read_dir(directory)?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// The NUL-terminated strings of a file.
fn strings(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_empty = text.is_empty();
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    text.split(|&byte| byte == 0).filter(move |_| !is_empty)
}

fn contains(signals: u64, signal: c_int) -> bool {
    signals & 1 << (signal - 1) != 0
}

fn start_in(stat: &[u8]) -> Option<Duration> {
    field_of(stat, 19).map(|ticks: u64| Duration::from_millis(ticks.saturating_mul(1000) / USER_HZ))
}

fn parent_in(stat: &[u8]) -> Option<Pid> {
    field_of(stat, 1)
}

/// From `PID (NAME) STATE PARENT ...`, counted from the state. The name may contain anything; what follows it contains
/// no parenthesis.
fn field_of<T: FromStr>(stat: &[u8], index: usize) -> Option<T> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = str::from_utf8(&stat[name_end + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pass_for_the_fields_that_follow_it() {
        assert_eq!(parent_in(b"12 (sh) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent_in(b"12 (a) R 1 (b) ( ) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent_in(b"12 (\xff\n)) S 7 12 12 0 -1"), Some(7));
        assert_eq!((parent_in(b""), parent_in(b"12 (sh)"), parent_in(b"12 (sh) S")), (None, None, None));
        let own = Process::Pid(Pid::try_from(std::process::id()).unwrap());
        assert_eq!(own.parent(), Some(nix::unistd::getppid().as_raw()));
    }

    #[test]
    fn each_string_ends_in_a_nul() {
        let table: [(&[u8], &[&[u8]]); 5] = [
            (b"", &[]),
            (b"\0", &[b""]),
            (b"a\0b\0", &[b"a", b"b"]),
            (b"a\0\0b", &[b"a", b"", b"b"]),
            (b"a\0\0", &[b"a", b""]),
        ];
        for (text, expected) in table {
            assert_eq!(strings(text).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn this_process() {
        let pid = Pid::try_from(std::process::id()).unwrap();
        let argument = std::env::args_os().next().unwrap().into_encoded_bytes();
        assert_eq!(Process::Own.arguments().unwrap()[0], argument);
        assert_eq!(Process::Pid(pid).arguments().unwrap()[0], argument);
        // Nothing is certain about signals: the C library blocks all of them while another test gets its thread.
        assert!(!Process::Own.is_zombie());
        let threads = Process::threads_of(pid).count();
        assert!(threads >= 1 && own_threads().is_some_and(|count| count >= 1));
        assert_eq!(Process::Own.status("NoSuchLine").unwrap(), "");
    }

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(
            &[b"12 (a) R 1 (b) ( ) S 7 12 12 0 -1 4194560 90 0 0 0 1 2 0 0 20 0 1 0 12345 9 9"],
            |text| {
                let _ = (parent_in(text), start_in(text));
                strings(text).for_each(drop);
            },
        );
    }
}
