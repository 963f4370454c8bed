//! `--upgrade`: asks a superdaemon to replace itself with the program on disk, and waits for the answer.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::control::pace::pause;
use crate::error::Error;
use crate::files::pid_file::ForeignPidFile;
use crate::files::request_file::RequestFile;
use crate::options::needs_linux;
use crate::proc::Process;
use crate::stderr::{visible, visible_lines};
use crate::sys;

/// How long a superdaemon may take to answer: one that is restarting its workers finishes that first.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Replaces the running superdaemon that owns `pid_file` with the program on disk, in the same process, with the same
/// listeners and workers. Does nothing if the superdaemon already runs that program.
///
/// # Errors
/// If the pid file can't be read, or the superdaemon isn't alive, or doesn't answer within a minute
/// ([`Error::TimedOut`]); and if it keeps running as it is ([`Error::GivenUp`]), for the reason in the error.
///
/// ```no_run
/// # use std::path::Path;
/// server_starter::upgrade_server(Path::new("/run/app.pid"))?;
/// # Ok::<(), server_starter::Error>(())
/// ```
pub fn upgrade_server(pid_file: &Path) -> Result<(), Error> {
    const SENTENCE: &[u8] = b"failed to send SIGUSR2 to the server process:";
    sys::open_standard_descriptors();
    needs_linux("--upgrade")?;
    let superdaemon = ForeignPidFile::open(pid_file, OpenOptions::new().read(true))?;
    let refused = |reason: &[u8]| Err(Error::GivenUp([b"not upgraded: ", reason].concat()));
    let pid = match superdaemon.pid() {
        Some(pid) if superdaemon.is_alive() => pid,
        _ => return Err(Error::system(&[SENTENCE], Errno::ESRCH)),
    };
    let begin = Instant::now();
    let wait = || {
        if begin.elapsed() >= ANSWER_LIMIT {
            return Err(Error::timed_out("upgrade", ANSWER_LIMIT));
        }
        pause(begin);
        Ok(())
    };
    let file = RequestFile::of(pid_file);
    // One after the other: the answer to another client may be none for this one.
    let request = loop {
        match file.ask(pid)? {
            Some(request) => break request,
            None => wait()?,
        }
    };
    // ORDER: only when no upgrade is in progress, as nothing is caught for a moment then. The signal would kill a
    // superdaemon that doesn't catch it.
    if !Process::Pid(pid).catches(libc::SIGUSR2) {
        return refused(b"the running superdaemon can't upgrade itself; use --take-over");
    }
    superdaemon.kill(Signal::SIGUSR2, SENTENCE)?;
    let (outcome, text) = loop {
        // ORDER: checked first, as it may die just after it has answered.
        let alive = superdaemon.is_alive();
        if let Some(answer) = request.answer() {
            break answer;
        }
        if !alive {
            return Err(Error::system(&[b"the server process has died:"], Errno::ESRCH));
        }
        wait()?;
    };
    match &outcome[..] {
        b"runs" | b"same" => Ok(()),
        // Written by the owner of the file, so it is escaped (`visible-text`).
        b"refused" => refused(&visible_lines(&text)),
        _ => refused(
            &[b"the answer can't be understood:", &visible(&[&outcome, &b" "[..], &text].concat())[..]].concat(),
        ),
    }
}
