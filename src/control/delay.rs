//! Why a restart is not over, as far as that can be seen from outside, of a superdaemon of ours or the original.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::files::failure_note::FailureNote;
use crate::files::log_tail::{LogTail, last_lines};
use crate::files::status_file::workers;
use crate::proc::Process;
use crate::stderr::visible_lines;
use crate::sys::Pid;
use crate::wait_status::{WaitStatus, in_words};
use crate::words::{HAS_ENDED, HAS_FAILED, STARTING};

/// A restart, and where the log of the superdaemon ended when it began.
pub(super) struct Delay<'a> {
    status_file: &'a Path,
    /// The first generation that is new.
    awaited: u64,
    known_failure: Option<FailureNote>,
    log: Option<LogTail>,
}

impl<'a> Delay<'a> {
    pub(super) fn of(superdaemon: Option<Pid>, status_file: &'a Path, awaited: u64) -> Self {
        let log = superdaemon.and_then(|pid| LogTail::of(&Process::Pid(pid).descriptor(2).path()));
        Self { status_file, awaited, known_failure: FailureNote::of(status_file), log }
    }

    /// How things stand.
    pub(super) fn look(&self) -> Standstill {
        let failure = FailureNote::of(self.status_file).filter(|note| note.generation() >= self.awaited);
        let failure = failure.filter(|note| self.known_failure.as_ref() != Some(note));
        Standstill { awaited: self.awaited, workers: workers(self.status_file), failure }
    }

    /// What is waited for, and what is known of the last failed start, as lines to be put behind another one.
    pub(super) fn reason(&self, standstill: &Standstill) -> Vec<u8> {
        let failure = match &standstill.failure {
            _ if standstill.started().is_some() => None,
            Some(note) => Some(note.reason()),
            None => self.log.as_ref().and_then(|log| last_failure(&log.read())),
        };
        [b"\n", standstill.to_string().as_bytes(), &failure.unwrap_or_default()].concat()
    }
}

/// What a restart is waiting for.
pub(super) struct Standstill {
    awaited: u64,
    workers: BTreeMap<u64, Pid>,
    /// A start that has failed since the restart began.
    pub(super) failure: Option<FailureNote>,
}

impl Standstill {
    /// Whether this generation is new, and not one that has failed and is about to end.
    pub(super) fn has_started(&self, generation: u64) -> bool {
        generation >= self.awaited && self.failure.as_ref().is_none_or(|note| note.generation() < generation)
    }

    /// The generation that has started, if there is one.
    pub(super) fn started(&self) -> Option<u64> {
        self.workers.keys().next_back().copied().filter(|&newest| self.has_started(newest))
    }
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.started(), &self.failure) {
            (Some(newest), _) => {
                let old = self.workers.range(..newest).map(|(generation, pid)| format!("{generation} (pid {pid})"));
                let old = old.collect::<Vec<_>>().join(", ");
                write!(f, "generation {newest} has started, waiting for the end of {old}")
            }
            (None, Some(note)) => {
                write!(f, "generation {} has failed to start, waiting for the next one", note.generation())
            }
            (None, None) => write!(f, "waiting for generation {} to start", self.awaited),
        }
    }
}

/// The last failed start that a log tells of, and what the worker has said.
fn last_failure(log: &[u8]) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = log.split(|&byte| byte == b'\n').collect();
    let status = |line: &&[u8]| String::from_utf8_lossy(line).split_once(HAS_ENDED)?.1.parse::<WaitStatus>().ok();
    let (end, status) = lines.iter().enumerate().rev().find_map(|(index, line)| Some((index, status(line)?)))?;
    let begin = lines[..end].iter().rposition(|line| line.starts_with(STARTING.as_bytes())).unwrap_or(0);
    let said = last_lines(&lines[begin..end].join(&b'\n'));
    let text = [HAS_FAILED.as_bytes(), in_words(status).as_bytes(), b"\n", &said].concat();
    Some([b"\n", &visible_lines(text.trim_ascii_end())[..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_of_the_last_failure() {
        let log = b"starting new worker 7\nfirst\nnew worker 7 seems to have failed to start, exit status:256\n\
                    starting new worker 8\nsecond\x1b\nnew worker 8 seems to have failed to start, exit status:9\n\
                    starting new worker 9\nthird\n";
        assert_eq!(last_failure(log), Some(b"\nit has failed: killed by SIGKILL\nsecond\\u{1b}".to_vec()));
        assert_eq!(last_failure(b"starting new worker 7\nfirst\n"), None);
    }
}
