//! Who holds the lock of a file.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;

use crate::proc::{Pid, Process, is_own_proc};

/// Whether `pid` has taken the flock(2) lock of a file. None if that can't be known, as where /proc is missing, is of
/// another pid namespace, or doesn't tell of the file.
pub(crate) fn is_held_by(pid: Pid, file: &Metadata) -> Option<bool> {
    // The list of all locks stops every other lock of the machine for a moment, which takes milliseconds.
    if has_descriptor_with_lock(pid, file) {
        return Some(true);
    }
    is_own_proc().ok()?.then_some(())?;
    search(&fs::read_to_string("/proc/locks").ok()?, pid, &device(file.dev()), &file.ino().to_string())
}

/// Who waits to take the flock(2) lock of a file, as far as /proc tells.
#[allow(dead_code, reason = "asked by --take-over alone, which not every system and not every build has")]
pub(crate) fn waiting(file: &Metadata) -> Vec<Pid> {
    let inode = file.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let waiting = locks.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "->", "FLOCK", _, _, pid, file, ..] = words[..] else { return None };
        (file.rsplit_once(':')?.1 == inode).then(|| pid.parse().ok())?
    });
    waiting.collect()
}

/// Whether a descriptor of `pid` holds it. Only the user of that process, and root, can see that.
fn has_descriptor_with_lock(pid: Pid, file: &Metadata) -> bool {
    /// More descriptors than these are not looked at: that would take as long.
    const MOST: usize = 256;
    Process::Pid(pid).descriptors().into_iter().flatten().take(MOST).any(|descriptor| {
        let is_same = |there: Metadata| (there.dev(), there.ino()) == (file.dev(), file.ino());
        descriptor.metadata().is_some_and(is_same) && descriptor.has_lock()
    })
}

/// `MAJOR:MINOR`, of a device as stat(2) on Linux packs it.
fn device(packed: u64) -> String {
    let major = packed >> 8 & 0xfff | packed >> 32 & 0xffff_f000;
    let minor = packed & 0xff | packed >> 12 & 0xffff_ff00;
    format!("{major:02x}:{minor:02x}")
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
    fn devices() {
        for (packed, expected) in [(0x801, "08:01"), (0x1f, "00:1f")] {
            assert_eq!(device(packed), expected);
        }
        #[cfg(target_os = "linux")]
        for packed in [0x801, 0x1f, 0x1234_5678_9abc_def0, u64::MAX] {
            let (major, minor) = (nix::sys::stat::major(packed), nix::sys::stat::minor(packed));
            assert_eq!(device(packed), format!("{major:02x}:{minor:02x}"));
        }
    }

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
