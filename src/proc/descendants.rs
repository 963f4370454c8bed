//! Who descends from whom. If the kernel lists children (`CONFIG_PROC_CHILDREN`), the search goes down from the
//! ancestor, and its time depends on the size of the family; otherwise it reads all processes of the machine.

use std::collections::{BTreeMap, BTreeSet};

use crate::proc::{Pid, Process};

/// `processes` and their descendants, as far as they are found while processes come and go.
pub(crate) fn with_descendants(processes: &[Pid]) -> Vec<Pid> {
    let mut tree = Tree::default();
    let mut family = processes.to_vec();
    let mut known = BTreeSet::new();
    known.extend(&family);
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        next += 1;
        // Parts that were read at different times, with pids that were reused, may form a circle.
        family.extend(tree.children_of(parent).into_iter().filter(|&child| known.insert(child)));
    }
    family
}

/// The children of a process, including dead ones, as far as they are found.
pub(crate) fn children_of(process: Pid) -> Vec<Pid> {
    Tree::default().children_of(process)
}

/// What has been read of all processes, if necessary.
#[derive(Default)]
struct Tree(Option<BTreeMap<Pid, Vec<Pid>>>);

impl Tree {
    fn children_of(&mut self, process: Pid) -> Vec<Pid> {
        if self.0.is_none() {
            // Each thread lists those that it has forked.
            let lists: Vec<_> = Process::threads_of(process).map(Process::children).collect();
            // A thread may be gone before its list is read. If the kernel has no lists, our own thread shows that.
            if lists.iter().all(Option::is_some) || Process::OwnThread.children().is_some() {
                return lists.into_iter().flatten().flatten().collect();
            }
        }
        self.0.get_or_insert_with(families_of_all).get(&process).cloned().unwrap_or_default()
    }
}

/// The children of all processes that are seen.
fn families_of_all() -> BTreeMap<Pid, Vec<Pid>> {
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for pid in Process::all() {
        if let Some(parent) = Process::Pid(pid).parent() {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;

    #[test]
    fn children_are_those_of_all_threads() {
        let own = Pid::try_from(std::process::id()).unwrap();
        let start = || Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        // The forking thread has to exist while the child is looked for.
        thread::scope(|scope| {
            let (sender, end) = std::sync::mpsc::channel::<()>();
            let (told, child) = std::sync::mpsc::channel();
            scope.spawn(move || {
                let child = start();
                told.send(Pid::try_from(child.id()).unwrap()).unwrap();
                let _ = end.recv();
                let _ = child.wait_with_output();
            });
            let mut children = vec![child.recv().unwrap()];
            let here = start();
            children.push(Pid::try_from(here.id()).unwrap());
            let found = children_of(own);
            let all = with_descendants(&[own]);
            let by_table = Tree(Some(families_of_all())).children_of(own);
            for child in children {
                assert!(found.contains(&child) && all.contains(&child) && by_table.contains(&child));
                assert!(!with_descendants(&[child]).contains(&own));
            }
            drop(sender);
            let _ = here.wait_with_output();
        });
    }
}
