//! Why a new worker has failed to start, as far as that can be known: with options of ours, a line tells, and so does the
//! note by which `--restart` learns that it was given up.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::time::Instant;

use nix::errno::Errno;

use crate::files::log_file::LogFile;
use crate::files::log_tail::{LogTail, last_lines};
use crate::sys::{self, Pid, WaitStatus, in_words};
use crate::words::{HAS_FAILED, NEW_WORKER};
use crate::world::Failure;

/// What is known of the start of the newest worker.
pub(super) struct Obituary {
    /// How listeners are called.
    listeners: Vec<u8>,
    /// Tells of an exec that has failed.
    exec: Option<PipeReader>,
    /// The log when it was started, if it is a file.
    log: Option<LogTail>,
    begun: Instant,
    /// Of the last failure, for the note.
    pub(super) last: Vec<u8>,
}

impl Obituary {
    pub(super) fn new(listeners: Vec<u8>) -> Self {
        Self { listeners, exec: None, log: None, begun: Instant::now(), last: Vec::new() }
    }

    /// For the worker that is about to be started: what it writes to if it can't execute its program.
    pub(super) fn begin(&mut self, log: Option<&LogFile>) -> Option<PipeWriter> {
        self.begun = Instant::now();
        self.log = log.and_then(|log| LogTail::of(&log.path));
        let (reader, writer) = pipe().ok()?;
        self.exec = Some(reader);
        Some(writer)
    }

    /// There is nothing more to come: the worker has started, or the restart is over.
    pub(super) fn end(&mut self) {
        self.exec = None;
    }

    /// In the child.
    pub(super) fn tell_exec(mut report: &PipeWriter, errno: Errno) {
        let _ = report.write_all(&(errno as i32).to_ne_bytes());
    }

    /// What there is to say of a worker that has ended with `status`. `path`: where its program was looked for.
    /// `left_something`: what it has started lives on.
    pub(super) fn of(&mut self, status: WaitStatus, path: &[u8], left_something: bool) -> Vec<u8> {
        let said = self.log.as_ref().map(LogTail::read).unwrap_or_default();
        let mut errno = [0; 4];
        let has_told = self.exec.take().is_some_and(|mut exec| exec.read_exact(&mut errno).is_ok());
        let mut line = HAS_FAILED.as_bytes().to_vec();
        if has_told {
            let reason = sys::strerror(Errno::from_raw(i32::from_ne_bytes(errno)));
            line.extend([b"exec: ", reason.as_bytes(), b"; PATH is ", path].concat());
        } else {
            line.extend(in_words(status).into_bytes());
            let is_in_use = contains(&said, b"ddress already in use") || contains(&said, b"EADDRINUSE");
            if is_in_use || status == (Errno::EADDRINUSE as WaitStatus) << 8 {
                let tail = b" by itself, which start_server holds: it has to take the listener of SERVER_STARTER_PORT";
                line.extend([b", it listens to ", self.listeners.as_slice(), tail].concat());
            } else if status == 0 && left_something {
                line.extend(b", it has put itself into the background: it has to stay in the foreground");
            }
        }
        self.last = [&line[..], b"\n", &last_lines(&said)].concat();
        line
    }

    /// What there is to say of a worker that is alive, and was not ready in time. `lack`: what it has not done.
    pub(super) fn of_late(&mut self, worker: Pid, failure: &Failure, lack: &str) -> Vec<u8> {
        let seconds = self.begun.elapsed().as_secs();
        let line = format!("{HAS_FAILED}it is alive, but {lack} after {seconds} seconds").into_bytes();
        self.of_refused(worker, failure, &[&line[..], b"\n"].concat());
        line
    }

    /// The same of one that was given up, of which `more` is known.
    pub(super) fn of_refused(&mut self, worker: Pid, failure: &Failure, more: &[u8]) {
        let said = self.log.as_ref().map(LogTail::read).unwrap_or_default();
        self.last = [format!("{NEW_WORKER}{worker}{failure}\n").as_bytes(), more, &last_lines(&said)].concat();
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|part| part == wanted)
}
