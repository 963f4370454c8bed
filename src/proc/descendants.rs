//! Who descends from whom, as /proc shows it.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "--ready needs Linux"))]

use std::collections::BTreeMap;
use std::fs;
use std::iter;
use std::path::PathBuf;
use std::str::FromStr;

use crate::sets::set_of;
use crate::sys::Pid;

/// No process has more ancestors than this.
const MOST_ANCESTORS: usize = 10_000;

/// Whether `process` is `ancestor` or one of its descendants. One that has been reaped, or was left behind by its
/// parent, has no ancestors any more.
pub(crate) fn descends_from(process: Pid, ancestor: Pid) -> bool {
    iter::successors(Some(process), |&pid| parent_of(pid)).take(MOST_ANCESTORS).any(|pid| pid == ancestor)
}

fn parent_of(process: Pid) -> Option<Pid> {
    parent_in(&fs::read(format!("/proc/{process}/stat")).ok()?)
}

/// When a process was started, in ticks since the machine was.
pub(crate) fn start_of(process: Pid) -> Option<u64> {
    field_of(&fs::read(format!("/proc/{process}/stat")).ok()?, 19)
}

fn parent_in(stat: &[u8]) -> Option<Pid> {
    field_of(stat, 1)
}

/// From `PID (NAME) STATE PARENT ...`, counted from the state. The name may hold anything, what follows it holds no
/// parenthesis.
fn field_of<T: FromStr>(stat: &[u8], index: usize) -> Option<T> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = str::from_utf8(&stat[name_end + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(index)?.parse().ok()
}

/// `processes` and their descendants, as far as they are found while processes come and go.
pub(crate) fn with_descendants(processes: &[Pid]) -> Vec<Pid> {
    if processes.is_empty() {
        return Vec::new();
    }
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for (child, parent) in processes_and_parents() {
        children.entry(parent).or_default().push(child);
    }
    let mut family = processes.to_vec();
    let mut known = set_of(family.iter().copied());
    let mut next = 0;
    while let Some(parent) = family.get(next) {
        next += 1;
        // What was not read at the same time may, with pids that are used anew, go round in circles.
        let new = children.get(parent).into_iter().flatten().filter(|&&child| known.insert(child));
        let new: Vec<Pid> = new.copied().collect();
        family.extend(new);
    }
    family
}

/// The directories of the threads of a process; none if it is gone.
pub(crate) fn threads(process: Pid) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The children of a process, as far as they are found.
pub(crate) fn children_of(process: Pid) -> Vec<Pid> {
    processes_and_parents().into_iter().filter(|&(_, parent)| parent == process).map(|(child, _)| child).collect()
}

/// All processes that are seen.
pub(crate) fn all() -> Vec<Pid> {
    processes_and_parents().into_iter().map(|(pid, _)| pid).collect()
}

/// Whether a process has ended and has not been reaped.
pub(crate) fn is_zombie(process: Pid) -> bool {
    let stat = fs::read(format!("/proc/{process}/stat")).unwrap_or_default();
    let name_end = stat.iter().rposition(|&byte| byte == b')').unwrap_or(0);
    matches!(stat.get(name_end + 2), Some(b'Z' | b'X') | None)
}

/// All processes that are seen, each with its parent.
fn processes_and_parents() -> Vec<(Pid, Pid)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect()
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
        assert_eq!(parent_of(Pid::try_from(std::process::id()).unwrap()), Some(nix::unistd::getppid().as_raw()));
    }
}
