//! `--restart` and `--stop`: clients of a running superdaemon, ours or the original.

mod delay;
mod progress;

use std::fs::OpenOptions;
use std::ops::RangeInclusive;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::control::delay::Delay;
use crate::control::progress::Progress;
use crate::error::Error;
use crate::files::pid_file::ForeignPidFile;
use crate::files::request_file::{Answer, RequestFile};
use crate::files::status_file::generations;
use crate::options::needs_linux;
use crate::proc::Process;
use crate::stderr::say;
use crate::sys;

/// How long after a look at the status file the next one comes: a quarter of the wait so far, within these limits.
const LOOK_AFTER: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(10);

/// Restarts the workers of the superdaemon that owns `pid_file` and waits until only a new one is left, if need be for
/// ever, or for `timeout` seconds.
///
/// # Errors
/// If a file can't be read, if no worker has started yet, if the superdaemon is not alive or doesn't survive the
/// restart, if it gives the restart up ([`Error::GivenUp`]), or if the time is over ([`Error::TimedOut`]): the restart
/// goes on then.
///
/// ```no_run
/// # use std::path::Path;
/// server_starter::restart_server(Path::new("/run/app.pid"), Path::new("/run/app.status"), Some(60))?;
/// # Ok::<(), server_starter::Error>(())
/// ```
pub fn restart_server(pid_file: &Path, status_file: &Path, timeout: Option<u32>) -> Result<(), Error> {
    const SENTENCE: &[u8] = b"failed to send SIGHUP to the server process:";
    sys::open_standard_descriptors();
    // ORDER: all is known before anything is sent (P5).
    let superdaemon = ForeignPidFile::open(pid_file, OpenOptions::new().read(true))?;
    let newest = generations(status_file)?.pop();
    let awaited =
        newest.ok_or_else(|| Error::rule(&[b"no active process found in the status file"]))?.saturating_add(1);
    let delay = Delay::of(superdaemon.pid(), status_file, awaited);
    let begin = Instant::now();
    let mut progress = Progress::of(superdaemon.pid(), status_file, begin);
    superdaemon.kill(Signal::SIGHUP, SENTENCE)?;
    let outcome = loop {
        // ORDER: looked at first, as a superdaemon may die just after it has finished.
        let alive = superdaemon.is_alive();
        let running = generations(status_file);
        // ORDER: a failure is noted before the status file shows who is left.
        let standstill = delay.look();
        // Any later generation will do: the awaited one may have failed, or another restart was asked for, too
        // (`restart-ends`).
        match running.as_deref() {
            Ok(&[generation]) if standstill.has_started(generation) => break Ok(generation),
            Err(error) => break Err(error.clone()),
            Ok(_) => {}
        }
        if let Some(failure) = standstill.failure.as_ref().filter(|note| note.is_last()) {
            let sentence = b"the restart was given up, the old worker goes on";
            break Err(Error::GivenUp([sentence, &failure.reason()[..]].concat()));
        }
        if !alive {
            break Err(Error::system(&[b"the server process has died:"], Errno::ESRCH));
        }
        if let Some(seconds) = timeout.filter(|&seconds| begin.elapsed().as_secs() >= seconds.into()) {
            break Err(Error::TimedOut { what: "restart", seconds, reason: delay.reason(&standstill) });
        }
        if let Some(progress) = &mut progress {
            progress.show(&standstill);
        }
        pause(begin);
    };
    if let Some(progress) = &progress {
        match outcome {
            Ok(generation) => progress.tell(generation),
            Err(_) => Progress::clear(),
        }
    }
    outcome.map(drop)
}

/// Whether the superdaemon that owns `pid_file` is alive. A file that can't be read means that it isn't.
///
/// ```no_run
/// # use std::path::Path;
/// if !server_starter::is_running(Path::new("/run/app.pid")) {
///     println!("down");
/// }
/// ```
#[must_use]
pub fn is_running(pid_file: &Path) -> bool {
    sys::open_standard_descriptors();
    ForeignPidFile::open(pid_file, OpenOptions::new().read(true)).is_ok_and(|superdaemon| superdaemon.is_alive())
}

/// How long a superdaemon may take to answer: one that is restarting its workers finishes that first.
const ANSWER_LIMIT: u32 = 60;

/// Lets the program on disk go on in the place of the running superdaemon that owns `pid_file`: in the same process, with
/// the same listeners and workers. That is no news to a superdaemon that is running this very program.
///
/// # Errors
/// If the pid file can't be read, or the superdaemon isn't alive, or doesn't answer within a minute
/// ([`Error::TimedOut`]); and if it goes on as it is ([`Error::GivenUp`]), for the reason that the error has.
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
    // To one that doesn't catch it, it would be the end.
    if !Process::Pid(pid).catches(libc::SIGUSR2) {
        return refused(b"the running superdaemon does not know how; --take-over can do it");
    }
    let request = RequestFile::of(pid_file);
    request.ask(pid)?;
    let answer = superdaemon.kill(Signal::SIGUSR2, SENTENCE).and_then(|()| wait_for_answer(&superdaemon, &request));
    request.remove();
    match answer? {
        (outcome, reason) if outcome == b"refused" => refused(&reason),
        _ => Ok(()),
    }
}

fn wait_for_answer(superdaemon: &ForeignPidFile, request: &RequestFile) -> Result<Answer, Error> {
    let begin = Instant::now();
    loop {
        // ORDER: looked at first, as it may die just after it has answered.
        let alive = superdaemon.is_alive();
        if let Some(answer) = request.read() {
            return Ok(answer);
        }
        if !alive {
            return Err(Error::system(&[b"the server process has died:"], Errno::ESRCH));
        }
        if begin.elapsed().as_secs() >= ANSWER_LIMIT.into() {
            return Err(Error::timed_out("upgrade", ANSWER_LIMIT));
        }
        pause(begin);
    }
}

/// Before the next look.
fn pause(begin: Instant) {
    sleep((begin.elapsed() / 4).clamp(*LOOK_AFTER.start(), *LOOK_AFTER.end()));
}

/// Stops the superdaemon that owns `pid_file` and waits for its end.
///
/// # Errors
/// If the pid file can't be opened for reading and writing, or if the superdaemon isn't alive.
///
/// ```no_run
/// # use std::path::Path;
/// server_starter::stop_server(Path::new("/run/app.pid"))?;
/// # Ok::<(), server_starter::Error>(())
/// ```
pub fn stop_server(pid_file: &Path) -> Result<(), Error> {
    sys::open_standard_descriptors();
    let superdaemon = ForeignPidFile::open(pid_file, OpenOptions::new().read(true).write(true))?;
    let own_pid = std::process::id().to_string();
    say([b"stop_server (pid:", own_pid.as_bytes(), b") stopping now (pid:", &superdaemon.text(), b")..."].concat());
    superdaemon.kill(Signal::SIGTERM, b"failed to send SIGTERM to the server process:")?;
    superdaemon.wait_for_end()
}
