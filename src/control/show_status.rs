//! `--show-status`: what a superdaemon is doing. One of ours reports that itself; for the original and older versions,
//! it is what pid file, status file and /proc show from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use libc::ino_t;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::control::status::{
    FailureStatus, ListenerStatus, ProgramStatus, Status, SuperdaemonStatus, WorkerState, WorkerStatus,
};
use crate::files::file_id::FileId;
use crate::files::pid_file::{ForeignPidFile, Standing};
use crate::files::status_file;
use crate::listeners::Address;
use crate::proc::descendants::children_of;
use crate::proc::sock_diag::{self, Name, Queue};
use crate::proc::{Process, uptime};
use crate::report::{Member, Post, Report};
use crate::sys::{self, Pid};

const GENERATION: &str = "SERVER_STARTER_GENERATION";

/// Looks at the superdaemon that owns `pid_file`. If it doesn't report what it is doing, like the original, it is
/// examined from outside, with `status_file` if there is one.
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
    let unknown = |reason: String| Status::Unknown { reason };
    // It may be the name of something whose opening blocks.
    let file = ForeignPidFile::open(pid_file, OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK));
    let file = match file {
        Ok(file) => file,
        Err(error) if error.exit_code() == Errno::ENOENT as u8 => {
            return Status::NotRunning { pid_file: pid_file.to_owned() };
        }
        Err(error) => return unknown(error.to_string()),
    };
    match file.standing() {
        Standing::Alive(pid) => running(pid, status_file),
        Standing::Dead => dead(status_file),
        Standing::Unknown(reason) => unknown(reason),
    }
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
    match running(superdaemon, Some(status_file)) {
        Status::Running { listeners, .. } => listeners,
        _ => Vec::new(),
    }
}

/// The workers that the status file doesn't list, for a superdaemon that doesn't report: they have not started.
pub(super) fn unlisted(superdaemon: Pid, status_file: &Path) -> Vec<u64> {
    let listed = status_file::workers(status_file);
    let all = seen_workers(superdaemon, Some(&listed));
    all.into_iter().filter(|worker| worker.state == WorkerState::Starting).filter_map(|it| it.generation).collect()
}

fn running(pid: Pid, status_file: Option<&Path>) -> Status {
    let outside = |reason: &str| from_outside(pid, status_file, reason);
    match Report::of(pid) {
        Ok(Some(report)) => told(pid, report),
        Ok(None) => outside("it publishes no report, like the original"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => outside("its report can't be understood"),
        Err(error) => outside(&format!("its report can't be read: {}", reason_of(&error))),
    }
}

/// What the superdaemon itself reports.
fn told(pid: Pid, report: Report) -> Status {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    let ago = |time: Duration| now.saturating_sub(time);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let program = report.program.as_deref().map_or(ProgramStatus::Unknown, |path| program(pid, path));
    let worker = |worker: Member| WorkerStatus {
        state_age: worker.since.map(ago),
        stop_signal: worker.signal.as_deref().map(text),
        kill_in: worker.kill.map(|time| time.saturating_sub(now)),
        ..described(Some(worker.generation), worker.pid, state(worker.post))
    };
    let workers = in_order(report.workers.into_iter().filter(|worker| lives(worker.pid, pid)).map(worker).collect());
    let queues = sock_diag::queues();
    let listener = |(fd, name): &(RawFd, Vec<u8>)| {
        let queue = Process::Pid(pid).descriptor(*fd).socket().and_then(|inode| queues.get(&inode));
        listener(text(name), queue)
    };
    let failure = |failure: crate::report::FailedStart| FailureStatus {
        generation: failure.generation,
        ago: ago(failure.at),
        reason: text(&failure.reason),
    };
    let superdaemon = SuperdaemonStatus {
        version: Some(text(&report.version)),
        program,
        is_stopping: report.is_stopping,
        restart: report.restart.map(ago),
        given_up_ago: report.given_up.map(|(_, at)| ago(at)),
        failures: report.failures,
        last_failures: report.last_failures.into_iter().map(failure).collect(),
        detail: text(&report.detail),
        ..superdaemon(pid, None)
    };
    Status::Running { superdaemon, workers, listeners: report.listeners.iter().map(listener).collect() }
}

fn superdaemon(pid: Pid, seen_from_outside: Option<String>) -> SuperdaemonStatus {
    SuperdaemonStatus {
        pid,
        age: age(pid),
        seen_from_outside,
        version: None,
        program: ProgramStatus::Unknown,
        is_stopping: false,
        restart: None,
        given_up_ago: None,
        failures: 0,
        last_failures: Vec::new(),
        detail: String::new(),
    }
}

fn state(post: Post) -> WorkerState {
    match post {
        Post::Starting => WorkerState::Starting,
        Post::Current => WorkerState::Current,
        Post::Stopping => WorkerState::Stopping,
        Post::Rejected => WorkerState::Rejected,
    }
}

/// `path`: the one by which it was executed, as the superdaemon sees it.
fn program(pid: Pid, path: &[u8]) -> ProgramStatus {
    let Some(running) = FileId::of(&Process::Pid(pid).executable()) else { return ProgramStatus::Unknown };
    match fs::metadata(Process::Pid(pid).seen(Path::new(OsStr::from_bytes(path)))) {
        Ok(there) if FileId::from(&there) == running => ProgramStatus::Same,
        Ok(_) => ProgramStatus::Replaced,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ProgramStatus::Deleted,
        Err(_) => ProgramStatus::Unknown,
    }
}

/// What can be seen of a superdaemon that doesn't report, for this `reason`.
fn from_outside(pid: Pid, status_file: Option<&Path>, reason: &str) -> Status {
    let mut reason = reason.to_owned();
    let listed = status_file.and_then(|path| match fs::read(path) {
        Ok(content) => Some(status_file::workers_in(&content)),
        Err(error) => {
            reason = format!("{reason}; {}: {}", path.display(), reason_of(&error));
            // A missing one lists nobody: no worker has started.
            (error.kind() == io::ErrorKind::NotFound).then(BTreeMap::new)
        }
    });
    let workers = seen_workers(pid, listed.as_ref());
    let listeners = seen_listeners(pid, &workers);
    Status::Running { superdaemon: superdaemon(pid, Some(reason)), workers, listeners }
}

/// In the order of their generations. `listed`: the workers in the status file, all of which have started, and all but
/// the newest of which were told to stop when that one had.
fn seen_workers(superdaemon: Pid, listed: Option<&BTreeMap<u64, Pid>>) -> Vec<WorkerStatus> {
    let none = BTreeMap::new();
    let started = listed.unwrap_or(&none);
    let newest = started.keys().next_back().copied();
    let mut workers = Vec::new();
    for (&generation, &pid) in started {
        if lives(pid, superdaemon) {
            let state = if Some(generation) == newest { WorkerState::Current } else { WorkerState::Stopping };
            workers.push(described(Some(generation), pid, state));
        }
    }
    let current_age =
        workers.last().filter(|worker| worker.state == WorkerState::Current).and_then(|worker| worker.age);
    for worker in workers.iter_mut().filter(|worker| worker.state == WorkerState::Stopping) {
        worker.told_to_stop_at_most_ago = current_age;
    }
    let known: BTreeSet<Pid> = workers.iter().map(|worker| worker.pid).collect();
    for child in children_of(superdaemon) {
        if known.contains(&child) || Process::Pid(child).is_zombie() {
            continue;
        }
        let generation = match generation_of(child) {
            Generation::Is(generation) => Some(generation),
            Generation::WrittenOver => None,
            Generation::IsNone => continue,
        };
        let has_not_started = listed.is_some() && (generation.is_none() || generation > newest);
        let state = if has_not_started { WorkerState::Starting } else { WorkerState::Unknown };
        workers.push(described(generation, child, state));
    }
    in_order(workers)
}

/// By generation; those without a known one come last.
fn in_order(mut workers: Vec<WorkerStatus>) -> Vec<WorkerStatus> {
    workers.sort_by_key(|worker| worker.generation.unwrap_or(u64::MAX));
    workers
}

/// What the environment at a process's start says about its generation.
enum Generation {
    Is(u64),
    /// The process has written its title there, as plackup, nginx and PHP-FPM do.
    WrittenOver,
    /// It is not a worker, but a command that reads the log.
    IsNone,
}

fn generation_of(pid: Pid) -> Generation {
    if let Some(generation) = variable(pid, GENERATION).and_then(|text| text.parse().ok()) {
        return Generation::Is(generation);
    }
    let environment = Process::Pid(pid).environment().unwrap_or_default();
    let is_variable = |entry: &Vec<u8>| entry.contains(&b'=');
    if !environment.is_empty() && environment.iter().all(is_variable) {
        Generation::IsNone
    } else {
        Generation::WrittenOver
    }
}

/// With the names that workers know. If no worker shows these, with what the superdaemon's sockets are bound to.
fn seen_listeners(superdaemon: Pid, workers: &[WorkerStatus]) -> Vec<ListenerStatus> {
    let names = workers.iter().rev().find_map(|worker| variable(worker.pid, "SERVER_STARTER_PORT")).unwrap_or_default();
    let queues = sock_diag::queues();
    let of_entry = |entry: &str| {
        let (name, fd) = entry.rsplit_once('=')?;
        let fd = RawFd::try_from(fd.parse::<u32>().ok()?).ok()?;
        let inode = Process::Pid(superdaemon).descriptor(fd).socket();
        Some(listener(name.to_owned(), inode.and_then(|inode| queues.get(&inode))))
    };
    let listeners: Vec<_> = names.split(';').filter_map(of_entry).collect();
    if listeners.is_empty() { bound(&[superdaemon], &queues) } else { listeners }
}

/// The listeners that these processes have open, by what they are bound to.
fn bound(processes: &[Pid], queues: &BTreeMap<ino_t, Queue>) -> Vec<ListenerStatus> {
    let mut inodes: Vec<(RawFd, ino_t)> = Vec::new();
    for descriptor in processes.iter().filter_map(|&pid| Process::Pid(pid).descriptors().ok()).flatten() {
        if let Some(inode) = descriptor.socket()
            && queues.contains_key(&inode)
            && inodes.iter().all(|&(_, known)| known != inode)
        {
            inodes.push((descriptor.number, inode));
        }
    }
    inodes.sort_unstable();
    let name = |name: &Name| match name {
        // Only the kind of internet_name matters, which is the same for UDP.
        Name::Internet(address) => Address::Tcp(*address).name(),
        Name::Unix(path) => Address::Unix(path.clone()).name(),
    };
    let listener = |&(_, inode): &(RawFd, ino_t)| {
        let queue = queues.get(&inode)?;
        Some(listener(String::from_utf8_lossy(&name(&queue.name)).into_owned(), Some(queue)))
    };
    inodes.iter().filter_map(listener).collect()
}

fn listener(name: String, queue: Option<&Queue>) -> ListenerStatus {
    let [waiting, limit, refused] = match queue {
        Some(queue) => [Some(queue.waiting), queue.limit, queue.refused],
        None => [None; 3],
    };
    ListenerStatus { name, waiting, limit, refused }
}

/// What the superdaemon has left behind: the workers of its status file that live.
fn dead(status_file: Option<&Path>) -> Status {
    let mut workers = Vec::new();
    if let Some(path) = status_file
        && let Ok(written) = fs::metadata(path).and_then(|there| there.modified())
    {
        for (generation, pid) in status_file::workers(path) {
            let is_other = matches!(generation_of(pid), Generation::Is(other) if other != generation);
            if !is_other && !Process::Pid(pid).is_zombie() && started_before(pid, written) {
                workers.push(described(Some(generation), pid, WorkerState::Orphaned));
            }
        }
    }
    let pids: Vec<Pid> = workers.iter().map(|worker| worker.pid).collect();
    let listeners = if pids.is_empty() { Vec::new() } else { bound(&pids, &sock_diag::queues()) };
    Status::Dead { workers, listeners }
}

/// Whether a process existed when the file that names it was written, so it isn't another one that has got its number.
fn started_before(pid: Pid, written: SystemTime) -> bool {
    const ROUNDING: Duration = Duration::from_secs(1);
    age(pid).and_then(|age| SystemTime::now().checked_sub(age)).is_some_and(|started| started <= written + ROUNDING)
}

fn described(generation: Option<u64>, pid: Pid, state: WorkerState) -> WorkerStatus {
    WorkerStatus {
        generation,
        pid,
        state,
        state_age: None,
        age: age(pid),
        command: command(pid),
        stop_signal: None,
        kill_in: None,
        told_to_stop_at_most_ago: None,
    }
}

/// Whether a worker lives: another process may have got a dead one's number. If that can't be seen, any process with
/// that number is taken for it.
fn lives(worker: Pid, superdaemon: Pid) -> bool {
    let is_child = Process::Pid(worker).is_living_child_of(superdaemon);
    is_child.unwrap_or_else(|| sys::kill(worker, 0) != Err(Errno::ESRCH))
}

fn reason_of(error: &io::Error) -> String {
    let text = |errno| String::from_utf8_lossy(sys::strerror(Errno::from_raw(errno)).as_bytes()).into_owned();
    error.raw_os_error().map_or_else(|| error.to_string(), text)
}

/// From the environment at a process's start.
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

    #[test]
    fn a_process_that_came_later_is_another_one() {
        let pid = Pid::try_from(std::process::id()).unwrap();
        assert!(started_before(pid, SystemTime::now()));
        assert!(!started_before(pid, SystemTime::now() - Duration::from_secs(100_000_000)));
    }
}
