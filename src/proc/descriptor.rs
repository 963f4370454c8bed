//! A descriptor of a process, and what it leads to.

use std::ffi::CStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use libc::ino_t;

use crate::proc::{Process, memory_file};

/// The limit for what is read about a descriptor. The list of an epoll set of ten thousand members takes less.
const LONGEST_INFO: u64 = 1 << 20;

/// The descriptor `number` of a process, whether it is open or not.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor {
    pub(super) process: Process,
    pub(crate) number: RawFd,
}

/// What a descriptor leads to, as far as anybody needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Socket(ino_t),
    EpollSet,
    Other,
}

impl Descriptor {
    /// Leads to the open file itself, whatever has happened to its name.
    pub(crate) fn path(self) -> PathBuf {
        self.process.path(&format!("fd/{}", self.number))
    }

    /// Another one of the same process.
    pub(crate) fn sibling(self, number: RawFd) -> Self {
        Self { number, ..self }
    }

    /// None if it is not open, or this process may not see it.
    pub(crate) fn target(self) -> Option<Target> {
        fs::read_link(self.path()).ok().map(|link| target_of(&link))
    }

    /// The inode of the socket, if it is one.
    pub(crate) fn socket(self) -> Option<ino_t> {
        match self.target()? {
            Target::Socket(inode) => Some(inode),
            _ => None,
        }
    }

    /// Of the file.
    pub(crate) fn metadata(self) -> Option<Metadata> {
        fs::metadata(self.path()).ok()
    }

    /// Opens it for reading if it is a file in memory of this name. A link that looks the same may lead to a file
    /// system whose owner can block a reader; but all files in memory, and no others, are on one mount.
    ///
    /// # Errors
    /// If it can't be opened.
    pub(crate) fn memory_file(self, name: &CStr) -> io::Result<Option<File>> {
        let expected = [b"/memfd:", name.to_bytes(), b" (deleted)"].concat();
        if fs::read_link(self.path()).is_ok_and(|link| link.as_os_str().as_bytes() == expected)
            && let Ok(own) = memory_file(name)
            && self.mount() == Process::Own.descriptor(own.as_raw_fd()).mount()
        {
            return OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(self.path()).map(Some);
        }
        Ok(None)
    }

    /// The number of the mount that the file is on.
    fn mount(self) -> Option<u64> {
        self.info().lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
    }

    /// Whether the file has been locked exclusively by flock(2) through this descriptor.
    pub(crate) fn has_lock(self) -> io::Result<bool> {
        let is_lock = |line: &str| line.starts_with("lock:") && line.contains("FLOCK") && line.contains("WRITE");
        Ok(self.try_info()?.lines().any(is_lock))
    }

    /// True if that can't be seen.
    #[allow(dead_code, reason = "asked by --take-over alone, as some of `Process`")]
    pub(crate) fn is_closed_on_exec(self) -> bool {
        let info = self.info();
        let flags = info.lines().find_map(|line| i32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        flags.is_none_or(|flags| flags & libc::O_CLOEXEC != 0)
    }

    /// Lines like `flags: 02000002`, and more about some kinds of files; empty if it is not open.
    pub(crate) fn info(self) -> String {
        self.try_info().unwrap_or_default()
    }

    fn try_info(self) -> io::Result<String> {
        let mut info = Vec::new();
        File::open(self.process.path(&format!("fdinfo/{}", self.number)))?.take(LONGEST_INFO).read_to_end(&mut info)?;
        Ok(String::from_utf8(info).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }
}

/// From the target of a descriptor's link, such as `socket:[INODE]`.
fn target_of(link: &Path) -> Target {
    let socket = || link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    match socket() {
        Some(inode) => Target::Socket(inode),
        None if link == Path::new("anon_inode:[eventpoll]") => Target::EpollSet,
        None => Target::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::sys::{Lock, Locked};

    #[test]
    fn targets() {
        for (link, target) in [
            ("socket:[4711]", Target::Socket(4711)),
            ("anon_inode:[eventpoll]", Target::EpollSet),
            ("/tmp/socket:[1]", Target::Other),
            ("socket:[]", Target::Other),
            ("/dev/null", Target::Other),
        ] {
            assert_eq!(target_of(Path::new(link)), target, "{link}");
        }
    }

    #[test]
    fn a_file_that_is_open_and_locked() {
        let file = tempfile::tempfile().unwrap();
        let descriptor = Process::Own.descriptor(file.as_raw_fd());
        assert_eq!(descriptor.metadata().map(|there| there.ino()), file.metadata().ok().map(|here| here.ino()));
        assert_eq!((descriptor.target(), descriptor.socket()), (Some(Target::Other), None));
        assert!(descriptor.is_closed_on_exec() && !descriptor.has_lock().unwrap());
        let _locked = Locked::lock(file, Lock::Try).map_err(|(_, errno)| errno).unwrap();
        assert!(descriptor.has_lock().unwrap());
        let mut own = Process::Own.descriptors().unwrap();
        assert!(own.any(|other| other.number == descriptor.number));
    }
}
