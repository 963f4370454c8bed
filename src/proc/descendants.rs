//! Who descends from whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::proc::process::numbers_in;
use crate::proc::{Pid, Process};

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
    let mut known = BTreeSet::new();
    known.extend(&family);
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

/// The children of a process, as far as they are found.
pub(crate) fn children_of(process: Pid) -> Vec<Pid> {
    processes_and_parents().into_iter().filter(|&(_, parent)| parent == process).map(|(child, _)| child).collect()
}

/// All processes that are seen.
pub(crate) fn all() -> Vec<Pid> {
    processes_and_parents().into_iter().map(|(pid, _)| pid).collect()
}

/// All processes that are seen, each with its parent.
fn processes_and_parents() -> Vec<(Pid, Pid)> {
    let pids = numbers_in(Path::new("/proc")).into_iter().flatten();
    pids.filter_map(|pid| Some((pid, Process::Pid(pid).parent()?))).collect()
}
