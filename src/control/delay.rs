//! Why a restart is not over, as far as that can be seen from outside, of a superdaemon of ours or the original.

use std::path::Path;

use crate::files::log_tail::{LogTail, last_lines};
use crate::files::status_file::{FailureNote, visible_lines, workers};
use crate::sys::{Pid, WaitStatus, in_words};

/// How a superdaemon tells of a worker that has ended too early, up to the status.
const HAS_FAILED: &[u8] = b" seems to have failed to start, exit status:";

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
        let log = superdaemon.and_then(|pid| LogTail::of(Path::new(&format!("/proc/{pid}/fd/2"))));
        Self { status_file, awaited, known_failure: FailureNote::of(status_file), log }
    }

    /// A start that has failed since.
    pub(super) fn failure(&self) -> Option<FailureNote> {
        let note = FailureNote::of(self.status_file).filter(|note| note.generation() >= self.awaited)?;
        (self.known_failure.as_ref() != Some(&note)).then_some(note)
    }

    /// The generation that has started, if there is one.
    pub(super) fn started(&self) -> Option<u64> {
        let failed = self.failure().map_or(0, |note| note.generation());
        workers(self.status_file).into_keys().next_back().filter(|&newest| newest >= self.awaited && newest > failed)
    }

    /// What is waited for.
    pub(super) fn wait(&self) -> String {
        if let Some(newest) = self.started() {
            let mut old = workers(self.status_file);
            old.remove(&newest);
            let old: Vec<_> = old.iter().map(|(generation, pid)| format!("{generation} (pid {pid})")).collect();
            return format!("generation {newest} has started, waiting for the end of {}", old.join(", "));
        }
        match self.failure() {
            Some(note) => format!("generation {} has failed to start, waiting for the next one", note.generation()),
            None => format!("waiting for generation {} to start", self.awaited),
        }
    }

    /// The same with what is known of the last failed start, as lines to be put behind another one.
    pub(super) fn reason(&self) -> Vec<u8> {
        let failure = match self.failure() {
            _ if self.started().is_some() => None,
            Some(note) => Some(note.reason()),
            None => self.log.as_ref().and_then(|log| last_failure(&log.read())),
        };
        [b"\n", self.wait().as_bytes(), &failure.unwrap_or_default()].concat()
    }
}

/// The last failed start that a log tells of, and what the worker has said.
fn last_failure(log: &[u8]) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = log.split(|&byte| byte == b'\n').collect();
    let status = |line: &&[u8]| {
        let at = line.windows(HAS_FAILED.len()).position(|part| part == HAS_FAILED)?;
        str::from_utf8(&line[at + HAS_FAILED.len()..]).ok()?.parse::<WaitStatus>().ok()
    };
    let (end, status) = lines.iter().enumerate().rev().find_map(|(index, line)| Some((index, status(line)?)))?;
    let begin = lines[..end].iter().rposition(|line| line.starts_with(b"starting new worker ")).unwrap_or(0);
    let said = last_lines(&lines[begin..end].join(&b'\n'));
    let text = [b"it has failed: ", in_words(status).as_bytes(), b"\n", &said].concat();
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
