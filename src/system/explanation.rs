//! Why a new worker has not started, as far as that can be known. With options of ours, lines on the log say it, and so
//! does the note by which `--restart` learns that it was given up.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::files::log_file::LogFile;
use crate::files::log_tail::{LogTail, last_lines};
use crate::proc::cgroup::memory_kills;
use crate::readiness::Watch;
use crate::sys::{self, Pid};
use crate::wait_status::{WaitStatus, in_words};
use crate::words::{HAS_FAILED, NEW_WORKER};
use crate::world::Failure;

/// The time after which a line says what a worker has not done.
const LONG_TIME: Duration = Duration::from_secs(10);

/// What is known about the start of the newest worker.
pub(super) struct Explanation {
    /// The names of the listeners.
    listeners: Vec<u8>,
    /// The newest worker, until a line has been written about it.
    newest: Option<Pid>,
    /// When its start began.
    begun: Instant,
    /// Where its program was looked for.
    path: Vec<u8>,
    /// Reports a failed exec.
    exec: Option<PipeReader>,
    /// The log when it was started, if it is a file.
    log: Option<LogTail>,
    /// A worker that has left processes behind.
    has_left: Option<Pid>,
    /// Of the last failure, for the note.
    last: Vec<u8>,
    /// How many processes had been killed for lack of memory at the last look.
    memory_kills: Option<u64>,
}

impl Explanation {
    pub(super) fn new(listeners: Vec<u8>) -> Self {
        Self {
            listeners,
            newest: None,
            begun: Instant::now(),
            path: Vec::new(),
            exec: None,
            log: None,
            has_left: None,
            last: Vec::new(),
            memory_kills: memory_kills(),
        }
    }

    /// A line about a dead worker, if its status says nothing to a person.
    pub(super) fn of_death(&mut self, worker: Pid, status: WaitStatus) -> Option<Vec<u8>> {
        (status & 0x7f != 0).then(|| format!("worker {worker} was {}", self.in_words(status)).into())
    }

    /// With the reason for a KILL, if the kernel counts it.
    fn in_words(&mut self, status: WaitStatus) -> String {
        let mut words = in_words(status);
        if status & 0x7f == libc::SIGKILL {
            let now = memory_kills();
            if now > std::mem::replace(&mut self.memory_kills, now) {
                words.push_str(", for lack of memory");
            }
        }
        words
    }

    /// For the worker that is about to be started: what it writes to if it can't execute its program. `path`: of its
    /// environment.
    pub(super) fn begin(&mut self, path: Option<&[u8]>, log: Option<&LogFile>) -> Option<PipeWriter> {
        self.begun = Instant::now();
        self.path = path.unwrap_or_default().to_vec();
        self.log = log.and_then(|log| LogTail::of(&log.path));
        let (reader, writer) = pipe().ok()?;
        self.exec = Some(reader);
        Some(writer)
    }

    /// It has been started.
    pub(super) fn started(&mut self, worker: Pid) {
        self.newest = Some(worker);
    }

    /// Nothing more will follow: the worker has started, or the restart is over.
    pub(super) fn end(&mut self) {
        self.exec = None;
    }

    /// Processes that this worker has started outlive it.
    pub(super) fn note_left(&mut self, worker: Pid) {
        self.has_left = Some(worker);
    }

    /// What to report, once, about a worker that is alive and not ready for a long time; or when that is due, if ever.
    /// `watch` knows what it has not done.
    pub(super) fn of_long_start(&mut self, worker: Pid, watch: &dyn Watch) -> Result<Vec<u8>, Option<Duration>> {
        if self.newest != Some(worker) {
            return Err(None);
        }
        let left = LONG_TIME.saturating_sub(self.begun.elapsed());
        if !left.is_zero() {
            return Err(Some(left));
        }
        self.newest = None;
        let line = format!("{NEW_WORKER}{worker} is alive, but {} so far", watch.lack());
        Ok([line, instead(worker, watch)].concat().into())
    }

    /// What to report about a new worker that has failed, if anything. `watch` knows what a living one has not done.
    pub(super) fn of(&mut self, worker: Pid, failure: &Failure, watch: &dyn Watch) -> Option<Vec<u8>> {
        let has_left = self.has_left.take();
        let left_something = self.newest.is_some() && has_left == self.newest;
        let said = self.log.as_ref().map(LogTail::read).unwrap_or_default();
        let headline = format!("{NEW_WORKER}{worker}{failure}\n").into_bytes();
        let (headline, line) = match failure {
            Failure::NoProcess => {
                self.last.clear();
                return None;
            }
            Failure::Ended(status) => (Vec::new(), Some(self.of_end(*status, &said, left_something))),
            Failure::NotReady => {
                let seconds = self.begun.elapsed().as_secs();
                let line = format!("{HAS_FAILED}it is alive, but {} after {seconds} seconds", watch.lack());
                (headline, Some([line, instead(worker, watch)].concat().into_bytes()))
            }
            Failure::NotApproved(_) => (headline, None),
        };
        let more = line.as_ref().map(|line| [line, &b"\n"[..]].concat()).unwrap_or_default();
        self.last = [headline, more, last_lines(&said)].concat();
        line
    }

    /// Of the last failure, for the note.
    pub(super) fn last(&self) -> &[u8] {
        &self.last
    }

    fn of_end(&mut self, status: WaitStatus, said: &[u8], left_something: bool) -> Vec<u8> {
        let mut errno = [0; 4];
        let has_told = self.exec.take().is_some_and(|mut exec| exec.read_exact(&mut errno).is_ok());
        let mut line = HAS_FAILED.as_bytes().to_vec();
        if has_told {
            let reason = sys::strerror(Errno::from_raw(i32::from_ne_bytes(errno)));
            line.extend([b"exec: ", reason.as_bytes(), b"; PATH is ", &self.path].concat());
            return line;
        }
        line.extend(self.in_words(status).into_bytes());
        let is_in_use = contains(said, b"ddress already in use") || contains(said, b"EADDRINUSE");
        if is_in_use || status == (Errno::EADDRINUSE as WaitStatus) << 8 {
            let tail = b" by itself, but start_server holds that: it has to use the listener in SERVER_STARTER_PORT";
            line.extend([b", it listens to ", self.listeners.as_slice(), tail].concat());
        } else if status == 0 && left_something {
            line.extend(b", it went into the background: it must stay in the foreground");
        }
        line
    }
}

/// What it has done instead, to append to what it has not done.
fn instead(worker: Pid, watch: &dyn Watch) -> String {
    watch.instead(worker).map(|instead| format!("; {instead}")).unwrap_or_default()
}

/// In the child: reports that its program can't be executed. Async-signal-safe.
pub(super) fn tell_exec(mut report: &PipeWriter, errno: Errno) {
    let _ = report.write_all(&(errno as i32).to_ne_bytes());
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|part| part == wanted)
}
