//! `--show-status`: what a superdaemon, ours or the original, is doing, from its pid file, its status file and /proc.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::os::fd::RawFd;
use std::path::Path;

use libc::ino_t;

use crate::files::pid_file::ForeignPidFile;
use crate::files::status_file;
use crate::proc::descendants::children_of;
use crate::proc::sock_diag;
use crate::proc::{Process, uptime};
use crate::stderr::visible;
use crate::sys::{self, Pid};

/// What there is to tell, and the exit code: 0 for a superdaemon that runs, 1 for one that is dead but has a pid file,
/// 3 for none, as the Linux Standard Base has it of init scripts.
pub struct StatusReport {
    /// Lines for people, or one object of JSON, which ends in a newline.
    pub text: String,
    /// See above.
    pub exit_code: u8,
}

/// Looks at the superdaemon that owns `pid_file`. Without a status file, its workers are its children. What this
/// process may not see is left out.
#[must_use]
pub fn show_status(pid_file: &Path, status_file: Option<&Path>, as_json: bool) -> StatusReport {
    sys::open_standard_descriptors();
    let Ok(file) = ForeignPidFile::open(pid_file, OpenOptions::new().read(true)) else {
        return StatusReport { text: verdict("not running", as_json), exit_code: 3 };
    };
    let pid = file.is_alive().then(|| file.pid()).flatten();
    let Some(superdaemon) = pid else {
        return StatusReport { text: verdict("dead, but has a pid file", as_json), exit_code: 1 };
    };
    let workers = workers(superdaemon, status_file);
    let listeners = listeners(superdaemon, &workers);
    let text = if as_json { json(superdaemon, &workers, &listeners) } else { lines(superdaemon, &workers, &listeners) };
    StatusReport { text, exit_code: 0 }
}

/// What a full queue of a listener has refused so far, where the kernel counts that, and what waits.
pub(crate) struct Refused {
    pub(crate) name: String,
    pub(crate) count: Option<u32>,
    pub(crate) waiting: Option<u32>,
}

/// Of each listener whose name is to be known.
pub(crate) fn refused(superdaemon: Pid, status_file: &Path) -> Vec<Refused> {
    let listeners = listeners(superdaemon, &workers(superdaemon, Some(status_file))).into_iter();
    listeners.map(|Listener { name, waiting, refused, .. }| Refused { name, count: refused, waiting }).collect()
}

struct Worker {
    generation: u64,
    pid: Pid,
    state: &'static str,
    age: Option<f64>,
    command: String,
    /// Of an old one: it was told to stop after the current one had been started.
    told_at_most: Option<f64>,
}

struct Listener {
    name: String,
    waiting: Option<u32>,
    limit: Option<u32>,
    refused: Option<u32>,
}

/// In the order of their generations.
fn workers(superdaemon: Pid, status_file: Option<&Path>) -> Vec<Worker> {
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
            std::cmp::Ordering::Less => "old",
            std::cmp::Ordering::Equal => "current",
            std::cmp::Ordering::Greater => "new",
        };
        let told_at_most = current_age.filter(|_| state == "old");
        Worker { generation, pid, state, age: age(pid), command: command(pid), told_at_most }
    };
    generations.iter().map(describe).collect()
}

/// As workers name them. Where no worker can be asked, the sockets of the superdaemon.
fn listeners(superdaemon: Pid, workers: &[Worker]) -> Vec<Listener> {
    let names = workers.iter().rev().find_map(|worker| variable(worker.pid, "SERVER_STARTER_PORT")).unwrap_or_default();
    let queues = queues();
    let listener = |entry: &str| {
        let (name, fd) = entry.rsplit_once('=')?;
        let fd = RawFd::try_from(fd.parse::<u32>().ok()?).ok()?;
        let inode = Process::Pid(superdaemon).descriptor(fd).socket();
        let (waiting, limit, refused) = inode.and_then(|inode| queues.get(&inode).copied()).unwrap_or_default();
        Some(Listener { name: name.to_owned(), waiting, limit, refused })
    };
    let listeners: Vec<_> = names.split(';').filter_map(listener).collect();
    if listeners.is_empty() { nameless(superdaemon, &queues) } else { listeners }
}

/// Many servers write over what tells the names. The descriptors tell the rest.
fn nameless(superdaemon: Pid, queues: &BTreeMap<ino_t, Queue>) -> Vec<Listener> {
    let mut listeners: Vec<(RawFd, Listener)> = Vec::new();
    for descriptor in Process::Pid(superdaemon).descriptors().into_iter().flatten() {
        if let Some(&(waiting, limit, refused)) = descriptor.socket().and_then(|inode| queues.get(&inode)) {
            let number = descriptor.number;
            listeners.push((number, Listener { name: format!("descriptor {number}"), waiting, limit, refused }));
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

/// In seconds.
fn age(pid: Pid) -> Option<f64> {
    Some(uptime()?.saturating_sub(Process::Pid(pid).started()?).as_secs_f64())
}

fn command(pid: Pid) -> String {
    let arguments = Process::Pid(pid).arguments().unwrap_or_default().join(&b' ');
    String::from_utf8_lossy(&arguments).trim_end().to_owned()
}

/// For a terminal.
fn shown(text: &str) -> String {
    String::from_utf8_lossy(&visible(text.as_bytes())).into_owned()
}

fn verdict(state: &str, as_json: bool) -> String {
    if as_json { format!("{{\"state\":{}}}\n", quoted(state)) } else { format!("{state}\n") }
}

fn lines(superdaemon: Pid, workers: &[Worker], listeners: &[Listener]) -> String {
    let mut text = format!("superdaemon {superdaemon}, {}\n", seconds(age(superdaemon)));
    for worker in workers {
        let Worker { generation, pid, state, age, command, told_at_most } = worker;
        let _ = write!(text, "generation {generation}, pid {pid}, {state}, {}: {}", seconds(*age), shown(command));
        if let Some(told) = told_at_most {
            let _ = write!(text, " (told to stop at most {} ago)", seconds(Some(*told)));
        }
        text.push('\n');
    }
    for Listener { name, waiting, limit, refused } in listeners {
        let _ = write!(text, "listener {}", shown(name));
        let counts = [("waiting", waiting), ("of at most", limit), ("refused", refused)];
        for (what, count) in counts.into_iter().filter_map(|(what, count)| Some((what, (*count)?))) {
            let _ = write!(text, ", {what} {count}");
        }
        text.push('\n');
    }
    text
}

fn seconds(time: Option<f64>) -> String {
    time.map_or_else(|| "gone".to_owned(), |time| format!("{time:.0} s"))
}

fn json(superdaemon: Pid, workers: &[Worker], listeners: &[Listener]) -> String {
    let workers = workers.iter().map(|worker| {
        let Worker { generation, pid, state, age, command, told_at_most } = worker;
        let (age, told) = (number(*age), number(*told_at_most));
        let command = quoted(command);
        format!(
            "{{\"generation\":{generation},\"pid\":{pid},\"state\":\"{state}\",\"age_seconds\":{age},\
             \"told_to_stop_at_most_seconds_ago\":{told},\"command\":{command}}}"
        )
    });
    let listeners = listeners.iter().map(|listener| {
        let [waiting, limit, refused] =
            [listener.waiting, listener.limit, listener.refused].map(|count| number(count.map(f64::from)));
        let name = quoted(&listener.name);
        format!("{{\"name\":{name},\"waiting\":{waiting},\"limit\":{limit},\"refused\":{refused}}}")
    });
    format!(
        "{{\"state\":\"running\",\"pid\":{superdaemon},\"age_seconds\":{},\"workers\":[{}],\"listeners\":[{}]}}\n",
        number(age(superdaemon)),
        workers.collect::<Vec<_>>().join(","),
        listeners.collect::<Vec<_>>().join(",")
    )
}

fn number(number: Option<f64>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| format!("{number:.0}"))
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_json() {
        assert_eq!(quoted("a \"b\" \\ \n é"), "\"a \\\"b\\\" \\\\ \\u000a é\"");
    }

    #[test]
    fn this_process_has_an_age_and_a_command() {
        let pid = Pid::try_from(std::process::id()).unwrap();
        assert!(age(pid).is_some_and(|age| age < 3600.0) && !command(pid).is_empty());
    }
}
