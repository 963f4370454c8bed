//! `--restart`: requests a restart of the workers and waits until only a new one is left.

use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::control::delay::{Course, Delay, Failed, Standstill, named};
use crate::control::pace::pause;
use crate::control::progress::Progress;
use crate::control::reach::lost_socket;
use crate::error::Error;
use crate::files::pid_file::ForeignPidFile;
use crate::files::status_file::generations;
use crate::report::Report;
use crate::sys;

/// Restarts the workers of the superdaemon that owns `pid_file` and waits until only a new one is left, for `timeout`
/// or for ever.
///
/// # Errors
/// If a file can't be read, if no worker has started yet, if the superdaemon is not alive or doesn't survive the
/// restart, if it gives the restart up ([`Error::GivenUp`]), or if the file of a unix socket is gone, so no client can
/// connect there. If the time is over, the restart continues: [`Error::OldWorkersLeft`] if the new version serves,
/// otherwise [`Error::TimedOut`].
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
    // ORDER: everything is known before anything is sent (P5).
    let superdaemon = ForeignPidFile::open(pid_file, OpenOptions::new().read(true))?;
    let awaited = Awaited::of(&superdaemon, status_file, timeout.is_some())?;
    let delay = Delay::of(superdaemon.pid(), status_file, awaited.new);
    let begin = Instant::now();
    let mut progress = Progress::of(superdaemon.pid(), status_file, begin);
    superdaemon.kill(Signal::SIGHUP, SENTENCE)?;
    let outcome = loop {
        // ORDER: looked at first, as a superdaemon may die just after it has finished.
        let alive = superdaemon.is_alive();
        let mut standstill = delay.look();
        let listed = generations(status_file);
        // Any later generation will do: the awaited one may have failed, or another restart was requested, too
        // (`restart-ends`).
        if let Some(generation) = standstill.over()
            && awaited.is_shown_by(&listed)
        {
            break Ok(generation);
        }
        let is_out_of_time = timeout.filter(|&limit| begin.elapsed() >= limit);
        if standstill.course == Course::GivenUp
            && (standstill.rejected.is_empty() || is_out_of_time.is_some() || !alive)
        {
            break Err(given_up(&standstill));
        }
        if !alive {
            break Err(Error::system(&[b"the server process has died:"], Errno::ESRCH));
        }
        // A superdaemon that ends removes the pid file, and then this one.
        if let Err(error) = listed
            && !(standstill.is_told && awaited.is_lenient)
            && !superdaemon.is_removed()
        {
            break Err(error);
        }
        if let Some(limit) = is_out_of_time {
            let has_started = standstill.started.is_some();
            let reason = delay.reason(standstill);
            break Err(if has_started {
                Error::OldWorkersLeft { limit, reason }
            } else {
                Error::TimedOut { what: "restart", limit, reason }
            });
        }
        if let Some(progress) = &mut progress {
            progress.show(&mut standstill, &delay);
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

/// The restart is over, but these clients can't connect (`path-gone`).
fn unreachable_at(generation: u64, path: &Path) -> Error {
    let generation = format!("generation {generation} has started, but no client can connect to ");
    let end = b": its socket is gone; see the log of start_server";
    Error::rule(&[generation.as_bytes(), path.as_os_str().as_bytes(), end])
}

/// What a restart waits for.
struct Awaited {
    /// The first generation that will be a new one.
    new: u64,
    /// The same by the status file, which may be one that the superdaemon doesn't write.
    listed: u64,
    /// With options of ours on either side, a superdaemon that publishes a report needs no status file, so a restart
    /// before there is a worker works, too.
    is_lenient: bool,
}

impl Awaited {
    fn of(superdaemon: &ForeignPidFile, status_file: &Path, uses_our_own: bool) -> Result<Self, Error> {
        let pid = superdaemon.pid().filter(|_| superdaemon.is_alive());
        let report = pid.and_then(|pid| Report::of(pid).ok().flatten());
        let is_lenient = report.as_ref().is_some_and(|report| uses_our_own || report.uses_our_own);
        let newest = generations(status_file).and_then(|generations| {
            generations.last().copied().ok_or_else(|| Error::rule(&[b"no active process found in the status file"]))
        });
        let newest = if is_lenient { newest.unwrap_or(0) } else { newest? };
        let attempts = report.map_or(newest, |report| report.attempts);
        Ok(Self { new: attempts.saturating_add(1), listed: newest.saturating_add(1), is_lenient })
    }

    /// Whether the status file shows one generation, and a new one.
    fn is_shown_by(&self, listed: &Result<Vec<u64>, Error>) -> bool {
        match listed.as_deref() {
            Ok(&[generation]) => generation >= self.listed,
            Ok(_) => false,
            Err(_) => self.is_lenient,
        }
    }
}

fn given_up(standstill: &Standstill) -> Error {
    let sentence: &[u8] = if standstill.serves {
        b"the restart was given up, the old worker keeps running"
    } else {
        b"the restart was given up, and no worker serves"
    };
    let mut message = sentence.to_vec();
    if !standstill.rejected.is_empty() {
        message
            .extend(format!("\nbut the rejected worker has not ended: {}", named(&standstill.rejected)).into_bytes());
    }
    message.extend(standstill.failure.as_ref().map(Failed::reason).unwrap_or_default());
    Error::GivenUp(message)
}
