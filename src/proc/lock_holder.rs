//! Who holds the lock of a file, as /proc tells it on Linux.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{major, minor};

use crate::sys::Pid;

/// Whether `pid` has taken the flock(2) lock of a file. None if that can't be known, as where /proc is missing, is of
/// another pid namespace, or doesn't tell of the file.
pub(crate) fn is_held_by(pid: Pid, file: &Metadata) -> Option<bool> {
    // The list of all locks stops every other lock of the machine for a moment, which takes milliseconds.
    if has_descriptor_with_lock(pid, file) {
        return Some(true);
    }
    let own_pid = std::process::id().to_string();
    (fs::read_link("/proc/self").ok()? == Path::new(&own_pid)).then_some(())?;
    let device = format!("{:02x}:{:02x}", major(file.dev()), minor(file.dev()));
    search(&fs::read_to_string("/proc/locks").ok()?, pid, &device, &file.ino().to_string())
}

/// Whether a descriptor of `pid` holds it. Only the user of that process, and root, can see that.
fn has_descriptor_with_lock(pid: Pid, file: &Metadata) -> bool {
    /// More descriptors than these are not looked at: that would take as long.
    const MOST: usize = 256;
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    links.take(MOST).any(|link| {
        let is_same =
            fs::metadata(link.path()).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()));
        is_same && {
            let info = format!("/proc/{pid}/fdinfo/{}", link.file_name().display());
            let info = fs::read_to_string(info).unwrap_or_default();
            info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK") && line.contains("WRITE"))
        }
    })
}

/// In lines like `1: FLOCK  ADVISORY  WRITE PID MAJOR:MINOR:INODE 0 EOF`; who still waits has `->` as its second word.
fn search(locks: &str, pid: Pid, device: &str, inode: &str) -> Option<bool> {
    let mut is_known = None;
    for line in locks.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, holder, file, ..] = words[..] else { continue };
        let Some((its_device, its_inode)) = file.rsplit_once(':') else { continue };
        if its_inode != inode {
            continue;
        }
        if holder.parse() == Ok(pid) {
            return Some(true);
        }
        // Some file systems tell of another device than stat(2) does.
        if its_device == device {
            is_known = Some(false);
        }
    }
    is_known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:01:12 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 08:01:12 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 08:01:12 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 10 00:2f:13 0 EOF\n";
        let is_held = |pid, inode| search(locks, pid, "08:01", inode);
        assert_eq!([7, 8, 9, 10].map(|pid| is_held(pid, "12")), [false, true, false, false].map(Some));
        assert_eq!([8, 10].map(|pid| is_held(pid, "13")), [None, Some(true)]);
        assert_eq!(is_held(8, "14"), None);
    }
}
