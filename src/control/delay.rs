//! The state of a restart. A superdaemon of ours reports it; for the original and older versions, it is read from
//! status file, failure note and log.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::control::show_status::unlisted;
use crate::files::failure_note::FailureNote;
use crate::files::log_tail::{LogTail, last_lines};
use crate::files::status_file::workers;
use crate::proc::Process;
use crate::report::{Post, Report};
use crate::stderr::{visible, visible_lines};
use crate::sys::Pid;
use crate::wait_status::{WaitStatus, in_words};
use crate::words::{HAS_ENDED, HAS_FAILED, STARTING};

/// A restart, and where the log of the superdaemon ended when it began.
pub(super) struct Delay<'a> {
    superdaemon: Option<Pid>,
    status_file: &'a Path,
    /// The first generation that is new.
    awaited: u64,
    known_failure: Option<FailureNote>,
    log: Option<LogTail>,
}

impl<'a> Delay<'a> {
    pub(super) fn of(superdaemon: Option<Pid>, status_file: &'a Path, awaited: u64) -> Self {
        let log = superdaemon.and_then(|pid| LogTail::of(&Process::Pid(pid).descriptor(2).path()));
        Self { superdaemon, status_file, awaited, known_failure: FailureNote::of(status_file), log }
    }

    /// The current state.
    pub(super) fn look(&self) -> Standstill {
        // ORDER: the note is written before the report, and before the status file shows who is left.
        let note = self.note();
        match self.superdaemon.and_then(|pid| Report::of(pid).ok().flatten()) {
            Some(report) => self.told(&report, note),
            None => self.seen(note),
        }
    }

    /// Of a start that has failed since the restart began.
    fn note(&self) -> Option<FailureNote> {
        let note = FailureNote::of(self.status_file).filter(|note| note.generation() >= self.awaited);
        note.filter(|note| self.known_failure.as_ref() != Some(note))
    }

    fn told(&self, report: &Report, note: Option<FailureNote>) -> Standstill {
        let awaited = self.awaited;
        let all = |posts: &[Post]| {
            let mut all = BTreeMap::new();
            let meant = report.workers.iter().filter(|worker| posts.contains(&worker.post));
            all.extend(meant.map(|worker| (worker.generation, worker.pid)));
            all
        };
        let current = report.current().map(|worker| worker.generation);
        let started = current.filter(|&current| current >= awaited);
        let mut old = all(&[Post::Stopping, Post::Current]);
        old.retain(|&generation, _| Some(generation) != started);
        let failure = report.last_failures.last().filter(|failure| failure.generation >= awaited);
        let failure = failure.map(|failure| {
            let detail = report.detail.trim_ascii_end();
            let lines =
                if detail.is_empty() { [HAS_FAILED.as_bytes(), &failure.reason].concat() } else { detail.into() };
            let is_brief = detail.is_empty();
            Failed {
                generation: Some(failure.generation),
                line: failure.reason.clone(),
                lines: visible_lines(&lines),
                is_brief,
            }
        });
        let is_noted = note.as_ref().is_some_and(FailureNote::is_last);
        // The note is written at once, the report before the next wait.
        let has_later_note =
            |failure: &Failed| note.as_ref().is_some_and(|note| Some(note.generation()) > failure.generation);
        let failure = failure.filter(|failure| !has_later_note(failure)).or_else(|| note.map(Failed::from));
        Standstill {
            awaited,
            started,
            serves: current.is_some(),
            old,
            rejected: all(&[Post::Rejected]),
            tried: all(&[Post::Starting]).into_keys().next_back(),
            failure,
            course: match report.given_up {
                _ if report.is_stopping => Course::Stopping,
                Some((generation, _)) if generation >= awaited => Course::GivenUp,
                // A program that has replaced another one doesn't know about that.
                None if started.is_none() && is_noted => Course::GivenUp,
                _ => Course::UnderWay,
            },
            is_told: true,
        }
    }

    fn seen(&self, note: Option<FailureNote>) -> Standstill {
        let awaited = self.awaited;
        let workers = workers(self.status_file);
        let has_started =
            |generation: u64| generation >= awaited && note.as_ref().is_none_or(|note| note.generation() < generation);
        let started = workers.keys().next_back().copied().filter(|&newest| has_started(newest));
        // A worker that has failed is listed until it has exited.
        let (new, old): (BTreeMap<u64, Pid>, BTreeMap<u64, Pid>) =
            workers.into_iter().filter(|&(it, _)| Some(it) != started).partition(|&(it, _)| it >= awaited);
        Standstill {
            awaited,
            started,
            serves: true,
            old,
            rejected: new,
            tried: None,
            course: if note.as_ref().is_some_and(FailureNote::is_last) { Course::GivenUp } else { Course::UnderWay },
            failure: note.map(Failed::from),
            is_told: false,
        }
    }

    /// What only a person wants to know, if the superdaemon doesn't report it: which attempt is in progress, why the
    /// last one has failed, and what the worker has printed.
    pub(super) fn add_what_is_seen(&self, standstill: &mut Standstill) {
        if standstill.started.is_some() {
            return;
        }
        let is_told = standstill.is_told;
        let log = self.log.as_ref().map(LogTail::read).unwrap_or_default();
        if !is_told {
            let newest = self.superdaemon.and_then(|pid| unlisted(pid, self.status_file).into_iter().max());
            let attempts =
                log.split(|&byte| byte == b'\n').filter(|line| line.starts_with(STARTING.as_bytes())).count();
            // A dead worker no longer shows its generation; the log shows how many there were.
            let by_log = (self.awaited + attempts as u64).saturating_sub(1);
            standstill.tried = Some(by_log).max(newest).filter(|&generation| generation >= self.awaited);
        }
        if standstill.failure.as_ref().is_some_and(|failure| !failure.is_brief)
            || (is_told && standstill.failure.is_none())
        {
            return;
        }
        let Some((line, lines)) = last_failure(&log) else { return };
        // The log has no generations.
        let generation = match &standstill.failure {
            Some(failure) => failure.generation,
            None => standstill.tried.map(|tried| tried.saturating_sub(1)).filter(|&before| before >= self.awaited),
        };
        standstill.failure = Some(Failed { generation, line, lines, is_brief: false });
    }

    /// What the restart waits for, and what is known about the last failed start, as lines to append to another one.
    pub(super) fn reason(&self, mut standstill: Standstill) -> Vec<u8> {
        self.add_what_is_seen(&mut standstill);
        let failure = standstill.failure.as_ref().filter(|_| standstill.started.is_none());
        let failure = failure.map(Failed::reason).unwrap_or_default();
        [b"\n", standstill.in_full().as_bytes(), &failure].concat()
    }
}

/// A start that has failed since the restart began.
pub(super) struct Failed {
    /// None if that isn't known.
    generation: Option<u64>,
    /// Why; may be empty.
    line: Vec<u8>,
    /// The same in full.
    lines: Vec<u8>,
    /// The superdaemon doesn't report what the worker has printed.
    is_brief: bool,
}

impl From<FailureNote> for Failed {
    fn from(note: FailureNote) -> Self {
        let lines = note.reason().trim_ascii_start().to_vec();
        Self { generation: Some(note.generation()), line: Vec::new(), lines, is_brief: false }
    }
}

impl Failed {
    fn subject(&self) -> String {
        self.generation.map_or_else(|| "the last start".to_owned(), |generation| format!("generation {generation}"))
    }

    /// Lines to append to another one.
    pub(super) fn reason(&self) -> Vec<u8> {
        if self.lines.is_empty() { Vec::new() } else { [b"\n", &self.lines[..]].concat() }
    }
}

/// Whether a new worker can still be expected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    UnderWay,
    GivenUp,
    /// The superdaemon ends.
    Stopping,
}

/// The state of a restart.
pub(super) struct Standstill {
    awaited: u64,
    /// The generation that is new and serves.
    pub(super) started: Option<u64>,
    /// Whether a worker serves.
    pub(super) serves: bool,
    /// Workers from before that have not exited.
    pub(super) old: BTreeMap<u64, Pid>,
    /// Those that have failed and have not exited.
    pub(super) rejected: BTreeMap<u64, Pid>,
    /// The generation that is being started.
    tried: Option<u64>,
    pub(super) failure: Option<Failed>,
    pub(super) course: Course,
    /// Reported by the superdaemon itself.
    pub(super) is_told: bool,
}

impl Standstill {
    /// The generation that is the only one left.
    pub(super) fn over(&self) -> Option<u64> {
        self.started.filter(|_| self.old.is_empty() && self.rejected.is_empty())
    }

    /// The reason of the last failed start has its own lines.
    fn in_full(&self) -> String {
        match &self.failure {
            Some(failure) if self.started.is_none() && self.course == Course::UnderWay => {
                let next = self.tried.map_or_else(|| "the next one".to_owned(), |tried| format!("generation {tried}"));
                format!("{} has failed, waiting for {next}", failure.subject())
            }
            _ => self.what_is_waited_for(),
        }
    }

    fn what_is_waited_for(&self) -> String {
        if self.course == Course::Stopping {
            return "the superdaemon is stopping".to_owned();
        }
        let left = named(self.old.iter().chain(&self.rejected));
        match (self.started, self.tried) {
            (Some(started), _) => format!("generation {started} has started, waiting for the end of {left}"),
            (None, _) if self.course == Course::GivenUp => {
                format!("given up, waiting for the end of {}", named(&self.rejected))
            }
            (None, Some(tried)) => format!("waiting for generation {tried} to start"),
            (None, None) => format!("waiting for generation {} to start", self.awaited),
        }
    }
}

/// Workers, for people.
pub(super) fn named<'a>(workers: impl IntoIterator<Item = (&'a u64, &'a Pid)>) -> String {
    let all = workers.into_iter().map(|(generation, pid)| format!("{generation} (pid {pid})"));
    all.collect::<Vec<_>>().join(", ")
}

/// In one line.
impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what_is_waited_for())?;
        match &self.failure {
            Some(failure) if self.started.is_none() && self.course == Course::UnderWay => {
                write!(f, "; {} has failed", failure.subject())?;
                let line = visible(&failure.line);
                if line.is_empty() { Ok(()) } else { write!(f, ": {}", String::from_utf8_lossy(&line)) }
            }
            _ => Ok(()),
        }
    }
}

/// The last failed start in a log: why, and the same with what the worker has printed.
fn last_failure(log: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let lines: Vec<&[u8]> = log.split(|&byte| byte == b'\n').collect();
    let status = |line: &&[u8]| String::from_utf8_lossy(line).split_once(HAS_ENDED)?.1.parse::<WaitStatus>().ok();
    let (end, status) = lines.iter().enumerate().rev().find_map(|(index, line)| Some((index, status(line)?)))?;
    let begin = lines[..end].iter().rposition(|line| line.starts_with(STARTING.as_bytes())).unwrap_or(0);
    let said = last_lines(&lines[begin..end].join(&b'\n'));
    let line = in_words(status);
    let text = [HAS_FAILED.as_bytes(), line.as_bytes(), b"\n", &said].concat();
    Some((line.into(), visible_lines(text.trim_ascii_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_of_the_last_failure() {
        let log = b"starting new worker 7\nfirst\nnew worker 7 seems to have failed to start, exit status:256\n\
                    starting new worker 8\nsecond\x1b\nnew worker 8 seems to have failed to start, exit status:9\n\
                    starting new worker 9\nthird\n";
        let expected = (b"killed by SIGKILL".to_vec(), b"it has failed: killed by SIGKILL\nsecond\\u{1b}".to_vec());
        assert_eq!(last_failure(log), Some(expected));
        assert_eq!(last_failure(b"starting new worker 7\nfirst\n"), None);
    }

    #[test]
    fn one_line() {
        let workers = |generations: &[u64]| generations.iter().map(|&generation| (generation, 9)).collect();
        let standstill = |started, tried, failed: Option<&[u8]>| Standstill {
            awaited: 2,
            started,
            serves: true,
            old: workers(&[1]),
            rejected: workers(&[3]),
            tried,
            failure: failed.map(|line| Failed {
                generation: Some(3),
                line: line.to_vec(),
                lines: Vec::new(),
                is_brief: true,
            }),
            course: Course::UnderWay,
            is_told: true,
        };
        for (standstill, expected) in [
            (standstill(None, None, None), "waiting for generation 2 to start"),
            (standstill(None, Some(4), None), "waiting for generation 4 to start"),
            (
                standstill(None, Some(4), Some(b"exit 1")),
                "waiting for generation 4 to start; generation 3 has failed: exit 1",
            ),
            (standstill(None, Some(4), Some(b"")), "waiting for generation 4 to start; generation 3 has failed"),
            (
                standstill(Some(4), None, Some(b"x")),
                "generation 4 has started, waiting for the end of 1 (pid 9), 3 (pid 9)",
            ),
            (
                Standstill { course: Course::GivenUp, ..standstill(None, None, None) },
                "given up, waiting for the end of 3 (pid 9)",
            ),
            (Standstill { course: Course::Stopping, ..standstill(None, None, None) }, "the superdaemon is stopping"),
        ] {
            assert_eq!(standstill.to_string(), expected);
        }
    }
}
