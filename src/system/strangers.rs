//! Processes that hold a listener, and that no known worker has started; as a rule, one that got it through a socket.
//! While they do, nobody can listen on its address, so a line names them when the superdaemon ends. Nothing else is
//! done to them.

use std::collections::{BTreeMap, BTreeSet};

use libc::ino_t;

use crate::proc::descendants::with_descendants;
use crate::proc::{Descriptor, Pid, Process};
use crate::stderr::visible;

/// At most this many are named.
const MOST_NAMED: usize = 10;

/// Every worker has this in its environment, and so does every process that it starts.
const GENERATION: &str = "SERVER_STARTER_GENERATION";

/// A line for each. `listeners`: their names by inode. `known`: those to leave out.
pub(super) fn lines(listeners: &BTreeMap<ino_t, Vec<u8>>, own_pid: Pid, known: &BTreeSet<Pid>) -> Vec<Vec<u8>> {
    let descendants: BTreeSet<Pid> = with_descendants(&[own_pid]).into_iter().collect();
    let line_of = |pid: Pid| {
        let names = held_by(pid, listeners);
        if names.is_empty() {
            return None;
        }
        let name = visible(Process::Pid(pid).name().unwrap_or_default().trim_ascii_end());
        // What a worker has started descends from us, whatever it does; or from another process, if it was started
        // before this program ran.
        let is_foreign = !descendants.contains(&pid) && has_other_environment(pid);
        let origin = if is_foreign { b"; not started by a worker".as_slice() } else { b"" };
        let pid = pid.to_string();
        Some([pid.as_bytes(), b" (", &name, b") holds ", &names.join(b", ".as_slice()), b" too", origin].concat())
    };
    let others = Process::all().into_iter().filter(|pid| *pid != own_pid && !known.contains(pid));
    others.filter_map(line_of).take(MOST_NAMED).collect()
}

fn held_by(pid: Pid, listeners: &BTreeMap<ino_t, Vec<u8>>) -> Vec<&[u8]> {
    let sockets = Process::Pid(pid).descriptors().into_iter().flatten().filter_map(Descriptor::socket);
    let inodes: BTreeSet<ino_t> = sockets.collect();
    inodes.iter().filter_map(|inode| listeners.get(inode).map(Vec::as_slice)).collect()
}

fn has_other_environment(pid: Pid) -> bool {
    let environment = Process::Pid(pid).environment().unwrap_or_default();
    !environment.is_empty() && Process::Pid(pid).variable(GENERATION).is_none()
}
