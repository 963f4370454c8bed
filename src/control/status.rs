//! What a superdaemon is doing, as a value: lines for people, JSON, and the exit code of `--show-status`.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use crate::stderr::visible;
use crate::sys::Pid;

/// What the superdaemon of a pid file is doing.
///
/// `Display` gives lines for people, each of which ends in a newline; control characters that a process has put into
/// its name are shown, not sent. [`Status::to_json`] is for programs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// There is no pid file.
    NotRunning,
    /// This process can't find out.
    Unknown {
        /// Why not.
        reason: String,
    },
    /// There is a pid file, but no superdaemon holds its lock.
    Dead,
    /// It runs.
    Running {
        /// The superdaemon itself.
        superdaemon: SuperdaemonStatus,
        /// Its workers, by ascending generation.
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
}

/// A worker of [`Status::Running`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its `SERVER_STARTER_GENERATION`.
    pub generation: u64,
    /// Its process.
    pub pid: Pid,
    /// Where it stands in a restart.
    pub state: WorkerState,
    /// How long it has been running; None if it has ended meanwhile, or can't be seen.
    pub age: Option<Duration>,
    /// Its command line, with blanks between the arguments.
    pub command: String,
    /// Of an old one: the time since it was told to stop is at most this, the age of the current one.
    pub told_to_stop_at_most_ago: Option<Duration>,
}

/// Where a worker stands in a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It is about to end.
    Old,
    /// It serves.
    Current,
    /// It has not shown yet that it is ready.
    New,
}

/// A listener of [`Status::Running`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// The name that workers know it by, that of `--port` or `--path`; or, where no worker tells it, `descriptor N`.
    pub name: String,
    /// How many connections wait to be accepted; of UDP, how many bytes to be received. None if the kernel doesn't
    /// tell, as in the next two.
    pub waiting: Option<u32>,
    /// How many may wait.
    pub limit: Option<u32>,
    /// How many a full queue has refused since it was opened. The counter begins anew at 2^32.
    pub refused: Option<u32>,
}

impl Status {
    /// As the Linux Standard Base has it of init scripts: 0 if it runs, 1 if it is dead but has a pid file, 3 if there
    /// is none, 4 if that can't be known.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Running { .. } => 0,
            Self::Dead => 1,
            Self::NotRunning => 3,
            Self::Unknown { .. } => 4,
        }
    }

    /// One object of JSON, which ends in a newline. What can't be known is null.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self::Running { superdaemon: SuperdaemonStatus { pid, age }, workers, listeners } = self else {
            return format!("{{\"state\":{}}}\n", quoted(self.verdict()));
        };
        let workers = workers.iter().map(WorkerStatus::to_json).collect::<Vec<_>>().join(",");
        let listeners = listeners.iter().map(ListenerStatus::to_json).collect::<Vec<_>>().join(",");
        let age = number(seconds(*age));
        format!(
            "{{\"state\":\"running\",\"pid\":{pid},\"age_seconds\":{age},\"workers\":[{workers}],\
             \"listeners\":[{listeners}]}}\n"
        )
    }

    fn verdict(&self) -> &'static str {
        match self {
            Self::NotRunning => "not running",
            Self::Dead => "dead, but has a pid file",
            Self::Running { .. } => "running",
            Self::Unknown { .. } => "unknown",
        }
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Running { superdaemon: SuperdaemonStatus { pid, age }, workers, listeners } = self else {
            return match self {
                Self::Unknown { reason } => {
                    writeln!(f, "unknown: {}", String::from_utf8_lossy(&visible(reason.as_bytes())))
                }
                _ => writeln!(f, "{}", self.verdict()),
            };
        };
        writeln!(f, "superdaemon {pid}, {}", in_seconds(*age))?;
        workers.iter().try_for_each(|worker| writeln!(f, "{worker}"))?;
        listeners.iter().try_for_each(|listener| writeln!(f, "{listener}"))
    }
}

impl WorkerStatus {
    fn to_json(&self) -> String {
        let Self { generation, pid, state, age, command, told_to_stop_at_most_ago: told } = self;
        let (age, told, command) = (number(seconds(*age)), number(seconds(*told)), quoted(command));
        format!(
            "{{\"generation\":{generation},\"pid\":{pid},\"state\":\"{state}\",\"age_seconds\":{age},\
             \"told_to_stop_at_most_seconds_ago\":{told},\"command\":{command}}}"
        )
    }
}

impl Display for WorkerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, pid, state, age, command, told_to_stop_at_most_ago } = self;
        let (age, command) = (in_seconds(*age), shown(command));
        write!(f, "generation {generation}, pid {pid}, {state}, {age}: {command}")?;
        match told_to_stop_at_most_ago {
            told @ Some(_) => write!(f, " (told to stop at most {} ago)", in_seconds(*told)),
            None => Ok(()),
        }
    }
}

impl Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Old => "old",
            Self::Current => "current",
            Self::New => "new",
        })
    }
}

impl ListenerStatus {
    fn to_json(&self) -> String {
        let [waiting, limit, refused] =
            [self.waiting, self.limit, self.refused].map(|count| number(count.map(f64::from)));
        let name = quoted(&self.name);
        format!("{{\"name\":{name},\"waiting\":{waiting},\"limit\":{limit},\"refused\":{refused}}}")
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

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.as_ref().map(Duration::as_secs_f64)
}

fn in_seconds(time: Option<Duration>) -> String {
    seconds(time).map_or_else(|| "gone".to_owned(), |seconds| format!("{seconds:.0} s"))
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
    fn lines_and_json() {
        let age = |seconds| Some(Duration::from_millis(seconds));
        let worker = |generation, state, age, told_to_stop_at_most_ago| WorkerStatus {
            generation,
            pid: 10,
            state,
            age,
            command: "a\x1b b".to_owned(),
            told_to_stop_at_most_ago,
        };
        let listener = |refused| ListenerStatus { name: "80".to_owned(), waiting: Some(1), limit: Some(2), refused };
        let status = Status::Running {
            superdaemon: SuperdaemonStatus { pid: 9, age: age(3600) },
            workers: vec![
                worker(1, WorkerState::Old, None, age(1400)),
                worker(2, WorkerState::Current, age(1400), None),
            ],
            listeners: vec![listener(Some(3)), listener(None)],
        };
        let lines = "superdaemon 9, 4 s\n\
                     generation 1, pid 10, old, gone: a\\u{1b} b (told to stop at most 1 s ago)\n\
                     generation 2, pid 10, current, 1 s: a\\u{1b} b\n\
                     listener 80, waiting 1, of at most 2, refused 3\n\
                     listener 80, waiting 1, of at most 2\n";
        let json = r#"{"state":"running","pid":9,"age_seconds":4,"workers":[{"generation":1,"pid":10,"state":"old","age_seconds":null,"told_to_stop_at_most_seconds_ago":1,"command":"a\u001b b"},{"generation":2,"pid":10,"state":"current","age_seconds":1,"told_to_stop_at_most_seconds_ago":null,"command":"a\u001b b"}],"listeners":[{"name":"80","waiting":1,"limit":2,"refused":3},{"name":"80","waiting":1,"limit":2,"refused":null}]}"#;
        assert_eq!((status.to_string(), status.to_json(), status.exit_code()), (lines.into(), format!("{json}\n"), 0));
        let verdicts = [(Status::Dead, "dead, but has a pid file", 1), (Status::NotRunning, "not running", 3)];
        let unknown = Status::Unknown { reason: "no\twords".to_owned() };
        assert_eq!((unknown.to_string(), unknown.exit_code()), ("unknown: no\\twords\n".to_owned(), 4));
        assert_eq!(unknown.to_json(), "{\"state\":\"unknown\"}\n");
        for (status, verdict, code) in verdicts {
            assert_eq!((status.to_string(), status.exit_code()), (format!("{verdict}\n"), code));
            assert_eq!(status.to_json(), format!("{{\"state\":\"{verdict}\"}}\n"));
        }
    }
}
