//! `--restart`: asks for a restart of the workers and waits until only a new one is left.

use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::control::delay::Delay;
use crate::control::pace::pause;
use crate::control::progress::Progress;
use crate::control::reach::lost_socket;
use crate::error::Error;
use crate::files::pid_file::ForeignPidFile;
use crate::files::status_file::generations;
use crate::sys;

/// Restarts the workers of the superdaemon that owns `pid_file` and waits until only a new one is left, for `timeout`
/// or, if need be, for ever.
///
/// # Errors
/// If a file can't be read, if no worker has started yet, if the superdaemon is not alive or doesn't survive the
/// restart, if it gives the restart up ([`Error::GivenUp`]), or if the time is over ([`Error::TimedOut`]): the restart
/// continues then. If the file of a unix socket is gone, so that no client can connect there.
///
/// ```no_run
/// # use std::path::Path;
/// use std::time::Duration;
///
/// let timeout = Some(Duration::from_secs(60));
/// server_starter::restart_server(Path::new("/run/app.pid"), Path::new("/run/app.status"), timeout)?;
/// # Ok::<(), server_starter::Error>(())
/// ```
pub fn restart_server(pid_file: &Path, status_file: &Path, timeout: Option<Duration>) -> Result<(), Error> {
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
        if let Some(limit) = timeout.filter(|&limit| begin.elapsed() >= limit) {
            break Err(Error::TimedOut { what: "restart", limit, reason: delay.reason(&standstill) });
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
    let generation = outcome?;
    superdaemon.pid().and_then(lost_socket).map_or(Ok(()), |path| Err(unreachable_at(generation, &path)))
}

/// The restart is over, but for these clients it was in vain (`path-gone`).
fn unreachable_at(generation: u64, path: &Path) -> Error {
    let generation = format!("generation {generation} has started, but no client can connect to ");
    let end = b": its socket is no longer there, and the log of start_server tells more";
    Error::rule(&[generation.as_bytes(), path.as_os_str().as_bytes(), end])
}
