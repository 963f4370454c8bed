//! What a superdaemon is doing, as a value: lines for people, JSON, and the exit code of `--show-status`.

use std::fmt::{self, Display, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::stderr::{visible, visible_lines};
use crate::sys::Pid;

/// What the superdaemon of a pid file is doing.
///
/// `Display` gives lines for people, each of which ends in a newline; control characters in a process's name are
/// escaped. [`Status::to_json`] is for programs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// There is no pid file.
    #[non_exhaustive]
    NotRunning {
        /// Where it would be.
        pid_file: PathBuf,
    },
    /// There is a pid file, but no superdaemon holds its lock.
    #[non_exhaustive]
    Dead {
        /// Workers of the status file that are still alive.
        workers: Vec<WorkerStatus>,
        /// What these listen to.
        listeners: Vec<ListenerStatus>,
    },
    /// Whether it runs can't be known.
    #[non_exhaustive]
    Unknown {
        /// Why.
        reason: String,
    },
    /// It runs.
    #[non_exhaustive]
    Running {
        /// The superdaemon itself.
        superdaemon: SuperdaemonStatus,
        /// Its workers that live, by ascending generation.
        workers: Vec<WorkerStatus>,
        /// What it listens to.
        listeners: Vec<ListenerStatus>,
    },
}

/// The superdaemon of [`Status::Running`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SuperdaemonStatus {
    /// Its process.
    pub pid: Pid,
    /// How long it has been running; None if that can't be seen.
    pub age: Option<Duration>,
    /// Why all this is only what can be seen from outside. None if the superdaemon itself tells it; otherwise most of the
    /// fields below are empty.
    pub seen_from_outside: Option<String>,
    /// Of the program `start_server`.
    pub version: Option<String>,
    /// Whether it is still the program that is on disk.
    pub program: ProgramStatus,
    /// Whether it is stopping all workers, and then ends.
    pub is_stopping: bool,
    /// How long a restart has been in progress.
    pub restart: Option<Duration>,
    /// How long ago the last restart was given up, if no worker has started since.
    pub given_up_ago: Option<Duration>,
    /// How many starts have failed in a row.
    pub failures: u32,
    /// The last of them, oldest first.
    pub last_failures: Vec<FailureStatus>,
    /// Lines about the last one.
    pub detail: String,
}

/// Whether the program of a superdaemon is still the one that is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramStatus {
    /// It is.
    Same,
    /// There is another one: `--upgrade` is due.
    Replaced,
    /// There is none.
    Deleted,
    /// That can't be seen.
    #[default]
    Unknown,
}

/// A start that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureStatus {
    /// The `SERVER_STARTER_GENERATION` of the worker.
    pub generation: u64,
    /// How long ago.
    pub ago: Duration,
    /// In one line.
    pub reason: String,
}

/// A worker.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its `SERVER_STARTER_GENERATION`; None if the superdaemon doesn't report it, and the worker has overwritten it.
    pub generation: Option<u64>,
    /// Its process.
    pub pid: Pid,
    /// Its state.
    pub state: WorkerState,
    /// How long it has been in that state.
    pub state_age: Option<Duration>,
    /// How long it has been running; None if that can't be seen.
    pub age: Option<Duration>,
    /// Its command line, with blanks between the arguments.
    pub command: String,
    /// The stop signal that it has got, as the options have it.
    pub stop_signal: Option<String>,
    /// Time until it gets KILL.
    pub kill_in: Option<Duration>,
    /// If it is not known when a stopping worker was told to stop: at most this long ago, the age of the current one.
    pub told_to_stop_at_most_ago: Option<Duration>,
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It has not started yet.
    Starting,
    /// It serves.
    Current,
    /// It has been replaced, or is stopped with all others, and is about to exit.
    Stopping,
    /// Its start has failed, and it is about to exit.
    Rejected,
    /// Its superdaemon is dead.
    Orphaned,
    /// That can't be seen.
    Unknown,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// The name that workers know it by, that of `--port` or `--path`, or its address.
    pub name: String,
    /// How many connections wait to be accepted; for UDP, how many bytes wait to be received. None if the kernel
    /// doesn't report it, as in the next two.
    pub waiting: Option<u32>,
    /// How many may wait.
    pub limit: Option<u32>,
    /// How many a full queue has refused since it was opened. The counter wraps at 2^32.
    pub refused: Option<u32>,
}

impl Status {
    /// As the Linux Standard Base defines it for init scripts: 0 if it runs, 1 if it is dead but has a pid file, 3 if
    /// there is none, 4 if that can't be known. And 150, which that leaves to applications, if it runs but no worker
    /// serves or it is stopping.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Running { superdaemon, .. } if superdaemon.is_stopping => 150,
            Self::Running { .. } if self.serves() == Some(false) => 150,
            Self::Running { .. } => 0,
            Self::Dead { .. } => 1,
            Self::NotRunning { .. } => 3,
            Self::Unknown { .. } => 4,
        }
    }

    /// Whether a worker of a running superdaemon serves. None if that can't be known: for an original without a status
    /// file.
    #[must_use]
    pub fn serves(&self) -> Option<bool> {
        let Self::Running { workers, .. } = self else { return Some(false) };
        let is_there = |state| workers.iter().any(|worker| worker.state == state);
        if is_there(WorkerState::Current) {
            Some(true)
        } else if is_there(WorkerState::Unknown) {
            None
        } else {
            Some(false)
        }
    }

    /// One object of JSON, which ends in a newline. What can't be known is null.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut fields = vec![("state", quoted(self.verdict()))];
        match self {
            Self::NotRunning { .. } => {}
            Self::Unknown { reason } => fields.push(("reason", quoted(reason))),
            Self::Dead { workers, listeners } => {
                fields.extend([("workers", array(workers, WorkerStatus::to_json))]);
                fields.extend([("listeners", array(listeners, ListenerStatus::to_json))]);
            }
            Self::Running { superdaemon, workers, listeners } => {
                fields.push(("serves", self.serves().map_or_else(null, |serves| serves.to_string())));
                fields.extend(superdaemon.fields());
                fields.push(("workers", array(workers, WorkerStatus::to_json)));
                fields.push(("listeners", array(listeners, ListenerStatus::to_json)));
            }
        }
        object(&fields) + "\n"
    }

    fn verdict(&self) -> &'static str {
        match self {
            Self::NotRunning { .. } => "not running",
            Self::Dead { .. } => "dead, but has a pid file",
            Self::Unknown { .. } => "unknown",
            Self::Running { .. } => "running",
        }
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { pid_file } => {
                writeln!(f, "{}: there is no {}", self.verdict(), shown(&pid_file.to_string_lossy()))
            }
            Self::Unknown { reason } => writeln!(f, "{}: {}", self.verdict(), shown(reason)),
            Self::Dead { workers, listeners } => {
                writeln!(f, "{}", self.verdict())?;
                if !workers.is_empty() {
                    writeln!(f, "its workers are alive:")?;
                }
                lines(f, workers)?;
                lines(f, listeners)
            }
            Self::Running { superdaemon, workers, listeners } => {
                write!(f, "{superdaemon}")?;
                if self.serves() == Some(false) {
                    writeln!(f, "no worker serves")?;
                }
                lines(f, workers)?;
                superdaemon.write_failures(f)?;
                lines(f, listeners)
            }
        }
    }
}

fn lines<T: Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    items.iter().try_for_each(|item| writeln!(f, "{item}"))
}

impl SuperdaemonStatus {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.as_deref().map_or_else(null, quoted);
        let program = match self.program {
            ProgramStatus::Same => quoted("same"),
            ProgramStatus::Replaced => quoted("replaced"),
            ProgramStatus::Deleted => quoted("deleted"),
            ProgramStatus::Unknown => null(),
        };
        vec![
            ("pid", self.pid.to_string()),
            ("age_seconds", in_json(self.age)),
            ("seen_from_outside", text(&self.seen_from_outside)),
            ("version", text(&self.version)),
            ("program", program),
            ("stopping", self.is_stopping.to_string()),
            ("restart_seconds", in_json(self.restart)),
            ("given_up_seconds_ago", in_json(self.given_up_ago)),
            ("failures", self.failures.to_string()),
            ("last_failures", array(&self.last_failures, FailureStatus::to_json)),
            ("detail", quoted(&self.detail)),
        ]
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.last_failures.last() else { return Ok(()) };
        let starts = if self.failures == 1 { "1 start has" } else { &format!("{} starts have", self.failures) };
        writeln!(f, "{starts} failed, the last one {} ago:", in_seconds(Some(last.ago)))?;
        for FailureStatus { generation, ago, reason } in &self.last_failures {
            writeln!(f, "generation {generation}, {} ago: {}", in_seconds(Some(*ago)), shown(reason))?;
        }
        match String::from_utf8_lossy(&visible_lines(self.detail.trim_end().as_bytes())) {
            detail if detail.is_empty() => Ok(()),
            detail => writeln!(f, "{detail}"),
        }
    }
}

impl Display for SuperdaemonStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "superdaemon {}", self.pid)?;
        if let age @ Some(_) = self.age {
            write!(f, ", {}", in_seconds(age))?;
        }
        if let Some(version) = &self.version {
            write!(f, ", version {}", shown(version))?;
        }
        f.write_str(match self.program {
            ProgramStatus::Replaced => ", another program is on disk",
            ProgramStatus::Deleted => ", its program is no longer on disk",
            ProgramStatus::Same | ProgramStatus::Unknown => "",
        })?;
        writeln!(f, "{}", if self.is_stopping { ", stopping" } else { "" })?;
        if let Some(reason) = &self.seen_from_outside {
            writeln!(f, "seen from outside: {}", shown(reason))?;
        }
        if let restart @ Some(_) = self.restart {
            writeln!(f, "a restart has been under way for {}", in_seconds(restart))?;
        }
        if let ago @ Some(_) = self.given_up_ago {
            writeln!(f, "the last restart was given up {} ago", in_seconds(ago))?;
        }
        Ok(())
    }
}

impl FailureStatus {
    fn to_json(&self) -> String {
        let Self { generation, ago, reason } = self;
        let (ago, reason) = (in_json(Some(*ago)), quoted(reason));
        object(&[("generation", generation.to_string()), ("seconds_ago", ago), ("reason", reason)])
    }
}

impl WorkerStatus {
    fn to_json(&self) -> String {
        object(&[
            ("generation", self.generation.map_or_else(null, |generation| generation.to_string())),
            ("pid", self.pid.to_string()),
            ("state", quoted(&self.state.to_string())),
            ("state_seconds", in_json(self.state_age)),
            ("age_seconds", in_json(self.age)),
            ("stop_signal", self.stop_signal.as_deref().map_or_else(null, quoted)),
            ("kill_in_seconds", in_json(self.kill_in)),
            ("told_to_stop_at_most_seconds_ago", in_json(self.told_to_stop_at_most_ago)),
            ("command", quoted(&self.command)),
        ])
    }
}

impl Display for WorkerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.generation.map_or_else(|| "unknown".to_owned(), |generation| generation.to_string());
        write!(f, "generation {generation}, pid {}, {}", self.pid, self.state)?;
        if let age @ Some(_) = self.age {
            write!(f, ", {}", in_seconds(age))?;
        }
        write!(f, ": {}", shown(&self.command))?;
        let told =
            self.stop_signal.as_ref().map(|signal| format!("{} {} ago", shown(signal), in_seconds(self.state_age)));
        let kill = self.kill_in.map(|left| format!("KILL in {}", in_seconds(Some(left))));
        let times: Vec<String> = told.into_iter().chain(kill).collect();
        if !times.is_empty() {
            write!(f, " ({})", times.join(", "))?;
        }
        match self.told_to_stop_at_most_ago {
            told @ Some(_) => write!(f, " (told to stop at most {} ago)", in_seconds(told)),
            None => Ok(()),
        }
    }
}

impl Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Current => "current",
            Self::Stopping => "stopping",
            Self::Rejected => "rejected",
            Self::Orphaned => "orphaned",
            Self::Unknown => "unknown",
        })
    }
}

impl ListenerStatus {
    fn to_json(&self) -> String {
        let number = |number: Option<u32>| number.map_or_else(null, |number| number.to_string());
        object(&[
            ("name", quoted(&self.name)),
            ("waiting", number(self.waiting)),
            ("limit", number(self.limit)),
            ("refused", number(self.refused)),
        ])
    }
}

impl Display for ListenerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, waiting, limit, refused } = self;
        write!(f, "listener {}", shown(name))?;
        let counts = [("waiting", waiting), ("of at most", limit), ("refused", refused)];
        let mut known = counts.into_iter().filter_map(|(what, count)| Some((what, (*count)?)));
        known.try_for_each(|(what, count)| write!(f, ", {what} {count}"))
    }
}

/// For a terminal.
fn shown(text: &str) -> String {
    String::from_utf8_lossy(&visible(text.as_bytes())).into_owned()
}

fn in_seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "some time".to_owned(), |time| format!("{} s", whole_seconds(time)))
}

fn in_json(time: Option<Duration>) -> String {
    time.map_or_else(null, |time| whole_seconds(time).to_string())
}

/// Rounded.
fn whole_seconds(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}

fn null() -> String {
    "null".to_owned()
}

/// An object of JSON.
fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// An array of JSON.
fn array<T>(items: &[T], to_json: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(to_json).collect::<Vec<_>>().join(","))
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

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn worker(generation: u64, state: WorkerState) -> WorkerStatus {
        WorkerStatus {
            generation: Some(generation),
            pid: 10,
            state,
            state_age: Some(ms(1400)),
            age: Some(ms(1400)),
            command: "a\x1b b".to_owned(),
            stop_signal: None,
            kill_in: None,
            told_to_stop_at_most_ago: None,
        }
    }

    fn superdaemon() -> SuperdaemonStatus {
        SuperdaemonStatus {
            pid: 9,
            age: Some(ms(3600)),
            seen_from_outside: None,
            version: Some("0.1.0".to_owned()),
            program: ProgramStatus::Replaced,
            is_stopping: false,
            restart: Some(ms(2000)),
            given_up_ago: None,
            failures: 0,
            last_failures: Vec::new(),
            detail: String::new(),
        }
    }

    #[test]
    fn strings_of_json() {
        assert_eq!(quoted("a \"b\" \\ \n é"), "\"a \\\"b\\\" \\\\ \\u000a é\"");
    }

    #[test]
    fn lines_and_json() {
        let listener = |refused| ListenerStatus { name: "80".to_owned(), waiting: Some(1), limit: Some(2), refused };
        let stopping = WorkerStatus {
            stop_signal: Some("TERM".to_owned()),
            kill_in: Some(ms(7000)),
            ..worker(1, WorkerState::Stopping)
        };
        let status = Status::Running {
            superdaemon: superdaemon(),
            workers: vec![stopping, worker(2, WorkerState::Current)],
            listeners: vec![listener(Some(3)), listener(None)],
        };
        let lines = "superdaemon 9, 4 s, version 0.1.0, another program is on disk\n\
                     a restart has been under way for 2 s\n\
                     generation 1, pid 10, stopping, 1 s: a\\u{1b} b (TERM 1 s ago, KILL in 7 s)\n\
                     generation 2, pid 10, current, 1 s: a\\u{1b} b\n\
                     listener 80, waiting 1, of at most 2, refused 3\n\
                     listener 80, waiting 1, of at most 2\n";
        let json = r#"{"state":"running","serves":true,"pid":9,"age_seconds":4,"seen_from_outside":null,"version":"0.1.0","program":"replaced","stopping":false,"restart_seconds":2,"given_up_seconds_ago":null,"failures":0,"last_failures":[],"detail":"","workers":[{"generation":1,"pid":10,"state":"stopping","state_seconds":1,"age_seconds":1,"stop_signal":"TERM","kill_in_seconds":7,"told_to_stop_at_most_seconds_ago":null,"command":"a\u001b b"},{"generation":2,"pid":10,"state":"current","state_seconds":1,"age_seconds":1,"stop_signal":null,"kill_in_seconds":null,"told_to_stop_at_most_seconds_ago":null,"command":"a\u001b b"}],"listeners":[{"name":"80","waiting":1,"limit":2,"refused":3},{"name":"80","waiting":1,"limit":2,"refused":null}]}"#;
        assert_eq!((status.to_string(), status.to_json(), status.exit_code()), (lines.into(), format!("{json}\n"), 0));
    }

    #[test]
    fn failures_and_nobody_who_serves() {
        let failure = |generation| FailureStatus { generation, ago: Duration::from_secs(5), reason: "exit 1".into() };
        let superdaemon = SuperdaemonStatus {
            restart: None,
            given_up_ago: Some(ms(5000)),
            program: ProgramStatus::Same,
            failures: 2,
            last_failures: vec![failure(2), failure(3)],
            detail: "it has failed: exit 1\nno \x1bdatabase\n".to_owned(),
            seen_from_outside: Some("x".to_owned()),
            ..superdaemon()
        };
        let workers = vec![worker(4, WorkerState::Starting)];
        let status = Status::Running { superdaemon, workers, listeners: Vec::new() };
        let lines = "superdaemon 9, 4 s, version 0.1.0\nseen from outside: x\nthe last restart was given up 5 s ago\n\
                     no worker serves\ngeneration 4, pid 10, starting, 1 s: a\\u{1b} b\n\
                     2 starts have failed, the last one 5 s ago:\n\
                     generation 2, 5 s ago: exit 1\ngeneration 3, 5 s ago: exit 1\n\
                     it has failed: exit 1\nno \\u{1b}database\n";
        assert_eq!((status.to_string(), status.exit_code(), status.serves()), (lines.into(), 150, Some(false)));
    }

    #[test]
    fn whether_a_worker_serves() {
        let status = |states: &[WorkerState]| Status::Running {
            superdaemon: superdaemon(),
            workers: states.iter().map(|&state| worker(1, state)).collect(),
            listeners: Vec::new(),
        };
        let all = [WorkerState::Starting, WorkerState::Stopping, WorkerState::Rejected];
        assert_eq!((status(&all).exit_code(), status(&[]).exit_code()), (150, 150));
        assert_eq!((status(&[WorkerState::Unknown]).serves(), status(&[WorkerState::Unknown]).exit_code()), (None, 0));
    }

    #[test]
    fn verdicts() {
        let dead = Status::Dead { workers: vec![worker(1, WorkerState::Orphaned)], listeners: Vec::new() };
        for (status, text, json, code) in [
            (
                Status::Dead { workers: Vec::new(), listeners: Vec::new() },
                "dead, but has a pid file\n",
                r#"{"state":"dead, but has a pid file","workers":[],"listeners":[]}"#,
                1,
            ),
            (
                Status::NotRunning { pid_file: "run/pid".into() },
                "not running: there is no run/pid\n",
                r#"{"state":"not running"}"#,
                3,
            ),
            (
                Status::Unknown { reason: "why\n".into() },
                "unknown: why\\n\n",
                r#"{"state":"unknown","reason":"why\u000a"}"#,
                4,
            ),
        ] {
            assert_eq!(
                (status.to_string(), status.to_json(), status.exit_code()),
                (text.into(), format!("{json}\n"), code)
            );
        }
        let lines =
            "dead, but has a pid file\nits workers are alive:\ngeneration 1, pid 10, orphaned, 1 s: a\\u{1b} b\n";
        assert_eq!((dead.to_string(), dead.exit_code()), (lines.into(), 1));
    }
}
