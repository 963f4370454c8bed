//! Reads files for another process with its own user's rights. Its command line names the files, and root could read
//! more than that user may know.

use std::io;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setfsgid, setfsuid, setgroups};

use crate::proc::Process;

/// User and groups for files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Rights {
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl Rights {
    /// Those of a process.
    pub(super) fn of(process: Process) -> io::Result<Self> {
        let numbers = |name| -> io::Result<Vec<u32>> {
            Ok(process.status(name)?.split_whitespace().filter_map(|word| word.parse().ok()).collect())
        };
        // Of real, effective, saved, and the one for files, the last.
        let last = |numbers: Vec<u32>| numbers.last().copied().ok_or(io::Error::from(Errno::EIO));
        Ok(Self {
            user: Uid::from_raw(last(numbers("Uid")?)?),
            group: Gid::from_raw(last(numbers("Gid")?)?),
            groups: numbers("Groups")?.into_iter().map(Gid::from_raw).collect(),
        })
    }

    /// Does something with only these rights.
    ///
    /// # Errors
    /// If that fails.
    pub(super) fn with<T>(&self, read: impl FnOnce() -> T) -> Result<T, Errno> {
        // The same user has the same rights.
        if self.user == geteuid() {
            return Ok(read());
        }
        let own = Self { user: geteuid(), group: getegid(), groups: getgroups()? };
        setgroups(&self.groups)?;
        let _back = Back(own);
        self.set();
        let is_set = setfsuid(NONE) == self.user && setfsgid(Gid::from_raw(NONE.as_raw())) == self.group;
        is_set.then(read).ok_or(Errno::EPERM)
    }

    fn set(&self) {
        setfsgid(self.group);
        setfsuid(self.user);
    }
}

/// Only queries the current one.
const NONE: Uid = Uid::from_raw(u32::MAX);

/// Restores this process's own rights.
struct Back(Rights);

impl Drop for Back {
    fn drop(&mut self) {
        self.0.set();
        let _ = setgroups(&self.0.groups);
    }
}
