//! Whether a superdaemon has been told to stop. It then waits for its workers, as it does at any other time.

use std::fs::{Metadata, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::cli::invocation::arguments_behind_the_program;
use crate::cli::{self, Action};
use crate::proc::{Pid, Process, lock_holder};
use crate::words::STARTING;

/// How much of the end of a log is read.
const LONGEST_LOOK: u64 = 4 << 20;

/// What shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Its log says so.
    ByLog,
    /// A `--stop` waits for its end.
    ByCommand(Pid),
    /// The log goes back to the start of the current worker, and doesn't mention it.
    No,
    /// Nothing shows it, but the log doesn't go back far enough, or isn't a file.
    Unknown,
}

/// Whether `superdaemon`, whose current worker is `worker`, has been told to stop.
pub(super) fn is_told(superdaemon: Pid, worker: Pid, pid_file: &Path) -> Told {
    match log_of(superdaemon).and_then(|log| is_told_by(&log, worker)) {
        Some(true) => Told::ByLog,
        is_known => match waiting_stop(pid_file) {
            Some(command) => Told::ByCommand(command),
            None if is_known.is_some() => Told::No,
            None => Told::Unknown,
        },
    }
}

/// The end of the file that it writes its messages to. Nothing else is read: a pipe might block.
fn log_of(superdaemon: Pid) -> Option<Vec<u8>> {
    let log = Process::Pid(superdaemon).descriptor(2);
    log.metadata().filter(Metadata::is_file)?;
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(log.path()).ok()?;
    let length = file.metadata().ok().filter(Metadata::is_file)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LOOK))).ok()?;
    let mut text = Vec::new();
    file.take(LONGEST_LOOK).read_to_end(&mut text).ok()?;
    Some(text)
}

/// None if the log doesn't go back to the start of the worker.
fn is_told_by(log: &[u8], worker: Pid) -> Option<bool> {
    let started = format!("{STARTING}{worker}");
    let is_about_worker = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        let workers = text.rsplit_once(" to all workers:").filter(|(before, _)| {
            ["received TERM, sending ", "received INT, sending ", "received QUIT, sending "]
                .iter()
                .any(|words| before.contains(words))
        });
        workers.is_some_and(|(_, pids)| pids.split(',').any(|pid| pid.trim_end().parse() == Ok(worker)))
    };
    log.split(|&byte| byte == b'\n').fold(None, |known, line| {
        // The rest of a worker's line may precede it.
        if line.ends_with(started.as_bytes()) {
            Some(false)
        } else if is_about_worker(line) {
            Some(true)
        } else {
            known
        }
    })
}

/// The `--stop` that waits for the lock of the pid file.
fn waiting_stop(pid_file: &Path) -> Option<Pid> {
    let is_stop = |&pid: &Pid| {
        let command = Process::Pid(pid).arguments().unwrap_or_default();
        let arguments = arguments_behind_the_program(&command).unwrap_or_default();
        let action = cli::parse(arguments.iter().cloned().map(OsString::from_vec).collect());
        matches!(action, Ok(Action::Stop { .. }))
    };
    lock_holder::waiting(&fs::metadata(pid_file).ok()?).into_iter().find(is_stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_log_tells() {
        let table = [
            ("", None),
            ("starting new worker 17\n", Some(false)),
            ("starting new worker 171\n", None),
            ("half a linestarting new worker 17\nGET /\n", Some(false)),
            ("starting new worker 17\nreceived TERM, sending QUIT to all workers:17\n", Some(true)),
            ("received INT, sending TERM to all workers:12,17,18\nworker 12 died, status:0\n", Some(true)),
            ("received TERM, sending TERM to all workers:17\nstarting new worker 17\n", Some(false)),
            ("starting new worker 17\nreceived TERM, sending TERM to all workers:18,171\n", Some(false)),
            ("starting new worker 17\nreceived HUP, spawning a new worker\n", Some(false)),
        ];
        for (log, expected) in table {
            assert_eq!(is_told_by(log.as_bytes(), 17), expected, "{log}");
        }
    }
}
