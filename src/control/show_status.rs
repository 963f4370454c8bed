//! `--show-status`: what a superdaemon, ours or the original, is doing, from its pid file, its status file and /proc.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use libc::ino_t;

use crate::control::status::{ListenerStatus, Status, SuperdaemonStatus, WorkerState, WorkerStatus};
use crate::files::pid_file::ForeignPidFile;
use crate::files::status_file;
use crate::proc::descendants::children_of;
use crate::proc::sock_diag;
use crate::proc::{Process, uptime};
use crate::sys::{self, Pid};

/// Looks at the superdaemon that owns `pid_file`. Without a status file, its workers are its children. What this
/// process may not see is left out.
///
/// ```no_run
/// # use std::path::Path;
/// use server_starter::{Status, show_status};
///
/// match show_status(Path::new("/run/app.pid"), Some(Path::new("/run/app.status"))) {
///     Status::Running { workers, .. } => println!("{} workers", workers.len()),
///     status => print!("{status}"),
/// }
/// ```
#[must_use]
pub fn show_status(pid_file: &Path, status_file: Option<&Path>) -> Status {
    sys::open_standard_descriptors();
    let file = match ForeignPidFile::open(pid_file, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(_) if matches!(fs::symlink_metadata(pid_file), Err(error) if error.kind() == ErrorKind::NotFound) => {
            return Status::NotRunning;
        }
        Err(error) => return Status::Unknown { reason: error.to_string() },
    };
    let pid = match file.liveness() {
        Ok(is_alive) => is_alive.then(|| file.pid()).flatten(),
        Err(error) => return Status::Unknown { reason: error.to_string() },
    };
    let Some(pid) = pid else { return Status::Dead };
    let workers = workers(pid, status_file);
    let listeners = listeners(pid, &workers);
    Status::Running { superdaemon: SuperdaemonStatus { pid, age: age(pid) }, workers, listeners }
}

/// Whether the superdaemon that owns `pid_file` is alive. A file that can't be read means that it isn't.
///
/// ```no_run
/// # use std::path::Path;
/// if !server_starter::is_running(Path::new("/run/app.pid")) {
///     println!("down");
/// }
/// ```
#[must_use]
pub fn is_running(pid_file: &Path) -> bool {
    sys::open_standard_descriptors();
    ForeignPidFile::open(pid_file, OpenOptions::new().read(true))
        .is_ok_and(|superdaemon| superdaemon.liveness().unwrap_or(false))
}

/// The listeners of a superdaemon.
pub(super) fn listeners_of(superdaemon: Pid, status_file: &Path) -> Vec<ListenerStatus> {
    listeners(superdaemon, &workers(superdaemon, Some(status_file)))
}

/// In the order of their generations.
fn workers(superdaemon: Pid, status_file: Option<&Path>) -> Vec<WorkerStatus> {
    let mut generations = status_file.map(status_file::workers).unwrap_or_default();
    let current = generations.keys().next_back().copied();
    for child in children_of(superdaemon).into_iter().filter(|&child| !Process::Pid(child).is_zombie()) {
        let generation = variable(child, "SERVER_STARTER_GENERATION").and_then(|text| text.parse().ok());
        generations.extend(generation.map(|generation: u64| (generation, child)));
    }
    let current = current.or_else(|| generations.keys().next_back().copied());
    let current_age = current.and_then(|generation| age(generations[&generation]));
    let describe = |(&generation, &pid): (&u64, &Pid)| {
        let state = match Some(generation).cmp(&current) {
            Ordering::Less => WorkerState::Old,
            Ordering::Equal => WorkerState::Current,
            Ordering::Greater => WorkerState::New,
        };
        let told_to_stop_at_most_ago = current_age.filter(|_| state == WorkerState::Old);
        let age = age(pid);
        WorkerStatus { generation, pid, state, age, command: command(pid), told_to_stop_at_most_ago }
    };
    generations.iter().map(describe).collect()
}

/// As workers name them. Where no worker can be asked, the sockets of the superdaemon.
fn listeners(superdaemon: Pid, workers: &[WorkerStatus]) -> Vec<ListenerStatus> {
    let names = workers.iter().rev().find_map(|worker| variable(worker.pid, "SERVER_STARTER_PORT")).unwrap_or_default();
    let queues = queues();
    let listener = |entry: &str| {
        let (name, fd) = entry.rsplit_once('=')?;
        let fd = RawFd::try_from(fd.parse::<u32>().ok()?).ok()?;
        let inode = Process::Pid(superdaemon).descriptor(fd).socket();
        let (waiting, limit, refused) = inode.and_then(|inode| queues.get(&inode).copied()).unwrap_or_default();
        Some(ListenerStatus { name: name.to_owned(), waiting, limit, refused })
    };
    let listeners: Vec<_> = names.split(';').filter_map(listener).collect();
    if listeners.is_empty() { nameless(superdaemon, &queues) } else { listeners }
}

/// Many servers write over what tells the names. The descriptors tell the rest.
fn nameless(superdaemon: Pid, queues: &BTreeMap<ino_t, Queue>) -> Vec<ListenerStatus> {
    let mut listeners: Vec<(RawFd, ListenerStatus)> = Vec::new();
    for descriptor in Process::Pid(superdaemon).descriptors().into_iter().flatten() {
        if let Some(&(waiting, limit, refused)) = descriptor.socket().and_then(|inode| queues.get(&inode)) {
            let number = descriptor.number;
            listeners.push((number, ListenerStatus { name: format!("descriptor {number}"), waiting, limit, refused }));
        }
    }
    listeners.sort_unstable_by_key(|&(number, _)| number);
    listeners.into_iter().map(|(_, listener)| listener).collect()
}

type Queue = (Option<u32>, Option<u32>, Option<u32>);

fn queues() -> BTreeMap<ino_t, Queue> {
    let queues = sock_diag::queues().into_iter();
    queues.map(|(inode, queue)| (inode, (Some(queue.waiting), queue.limit, queue.refused))).collect()
}

/// Of the environment that a process was started with.
fn variable(pid: Pid, name: &str) -> Option<String> {
    let value = Process::Pid(pid).variable(name)?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

fn age(pid: Pid) -> Option<Duration> {
    Some(uptime()?.saturating_sub(Process::Pid(pid).started()?))
}

fn command(pid: Pid) -> String {
    let arguments = Process::Pid(pid).arguments().unwrap_or_default().join(&b' ');
    String::from_utf8_lossy(&arguments).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_an_age_and_a_command() {
        let pid = Pid::try_from(std::process::id()).unwrap();
        assert!(age(pid).is_some_and(|age| age < Duration::from_secs(3600)) && !command(pid).is_empty());
    }
}
