//! Who holds the lock of a file.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use crate::proc::{Pid, Process, is_own_proc};

/// Whether `pid` has taken the flock(2) lock of a file. None if that can't be known, for example if /proc is missing,
/// belongs to another pid namespace, or doesn't show the file.
pub(crate) fn is_held_by(pid: Pid, file: &Metadata) -> Option<bool> {
    if !is_own_proc().unwrap_or(false) {
        return None;
    }
    // Reading the list of all locks stops every other lock of the machine for milliseconds. It also names the process
    // that called flock(2), which may be dead while another one still has the descriptor, so its number may be
    // anybody's. So it is read only if the descriptors can't be seen or don't show the lock.
    let list = || search(&fs::read_to_string("/proc/locks").ok()?, pid, &device(file.dev()), &file.ino().to_string());
    match seen_in_descriptors(pid, file) {
        Some(Seen::Lock) => Some(true),
        Some(Seen::Nothing) => Some(false),
        // Locks of some file systems (FUSE) are not visible anywhere.
        Some(Seen::File) => list().map(|_| false),
        None => list(),
    }
}

/// Who waits for the flock(2) lock of a file, as far as /proc shows it.
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

/// What the descriptors of a process have to do with a lock.
enum Seen {
    /// One of them holds it.
    Lock,
    /// The file is open.
    File,
    Nothing,
}

/// Only the user of that process, and root, can see that. None if any part can't be seen.
fn seen_in_descriptors(pid: Pid, file: &Metadata) -> Option<Seen> {
    let is_same = |there: &Metadata| (there.dev(), there.ino()) == (file.dev(), file.ino());
    let mut seen = Seen::Nothing;
    for descriptor in Process::Pid(pid).all_descriptors().ok()? {
        match fs::metadata(descriptor.path()) {
            Ok(there) if is_same(&there) => {
                if descriptor.has_lock().ok()? {
                    return Some(Seen::Lock);
                }
                seen = Seen::File;
            }
            // A descriptor that was closed meanwhile doesn't count.
            Err(error) if error.kind() != ErrorKind::NotFound => return None,
            _ => {}
        }
    }
    Some(seen)
}

/// `MAJOR:MINOR`, from a device number as stat(2) on Linux packs it.
fn device(packed: u64) -> String {
    let major = packed >> 8 & 0xfff | packed >> 32 & 0xffff_f000;
    let minor = packed & 0xff | packed >> 12 & 0xffff_ff00;
    format!("{major:02x}:{minor:02x}")
}

/// In lines like `1: FLOCK  ADVISORY  WRITE PID MAJOR:MINOR:INODE 0 EOF`; for a process that still waits, the second
/// word is `->`.
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
        // Some file systems show another device here than in stat(2).
        if its_device == device {
            is_known = Some(false);
        }
    }
    is_known
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One process has taken the lock, but another holds it: a dead one's number may be anybody's.
    #[cfg(target_os = "linux")]
    #[test]
    fn who_has_taken_a_lock_may_not_hold_it_any_more() {
        use std::process::{Command, Stdio};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let file = fs::File::create(&path).unwrap();
        // The lock belongs to the open file, and stays with the child that has that as its input.
        file.lock().unwrap();
        let own_pid = Pid::try_from(std::process::id()).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(is_held_by(own_pid, &metadata), Some(true));
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::from(file)).spawn().unwrap();
        let holder = Pid::try_from(child.id()).unwrap();
        let other = fs::File::open(&path).unwrap();
        assert!(other.try_lock().is_err());
        assert_eq!(is_held_by(holder, &metadata), Some(true));
        drop(other);
        assert_eq!(is_held_by(own_pid, &metadata), Some(false));
        child.kill().unwrap();
        child.wait().unwrap();
    }

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

    #[test]
    fn whatever_the_text_is() {
        crate::random_texts::each_damaged(
            &[b"1: FLOCK  ADVISORY  WRITE 8 08:01:12 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 9 08:01:12 0 EOF\n"],
            |text| {
                search(&String::from_utf8_lossy(text), 8, "08:01", "12");
            },
        );
    }
}
