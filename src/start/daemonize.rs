//! `--daemonize`: fork, setsid, fork. The launcher stays until the daemon reports that it is ready (`daemonize-ready`).

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};

use nix::unistd::{dup2_stdin, setsid};

use crate::error::Error;
use crate::sys::{self, Blocked, Fork, OneThread};

/// The daemon's line to its launcher.
pub(super) struct Launcher(PipeWriter);

impl Launcher {
    /// Makes the launcher exit with 0, or with the error that the daemon is about to exit with.
    pub(super) fn release<T>(mut self, outcome: &Result<T, Error>) {
        let code = outcome.as_ref().map_or_else(Error::exit_code, |_| 0);
        let _ = self.0.write_all(&[code]);
    }
}

/// Returns in the daemon, a grandchild of the launcher, and with an error in whichever process could not continue.
///
/// Working directory and umask stay (LIFE-127). Standard input becomes /dev/null, unless a listener sits on it
/// (LIFE-132).
pub(super) fn daemonize(
    one_thread: OneThread,
    keeps_stdin: bool,
    blocked: Option<&Blocked>,
) -> Result<Launcher, Error> {
    let fork_failed = |errno| Error::system(&[b"fork failed:"], errno);
    let (from_daemon, to_launcher) = io::pipe().map_err(|error| Error::system(&[b"pipe failed:"], error))?;
    if let Fork::Parent(_) = sys::fork(one_thread).map_err(fork_failed)? {
        drop(to_launcher);
        // The launcher owns nothing, and dies from signals like any program.
        if let Some(blocked) = blocked {
            blocked.unblock();
        }
        wait_for_daemon(from_daemon);
    }
    drop(from_daemon);
    let launcher = Launcher(to_launcher);
    let _ = setsid();
    match sys::fork(one_thread).map_err(fork_failed) {
        Ok(Fork::Parent(_)) => sys::exit_now(0),
        Ok(Fork::Child) => {}
        Err(error) => {
            launcher.release::<()>(&Err(error.clone()));
            return Err(error);
        }
    }
    if !keeps_stdin && let Err(error) = reopen_stdin() {
        let error = Error::system(&[b"reopen failed: "], error);
        launcher.release::<()>(&Err(error.clone()));
        return Err(error);
    }
    Ok(launcher)
}

/// Ends the launcher.
fn wait_for_daemon(mut from_daemon: PipeReader) -> ! {
    let mut code = [0];
    match from_daemon.read_exact(&mut code) {
        Ok(()) => sys::exit_now(code[0]),
        Err(_) => sys::exit_now(255),
    }
}

fn reopen_stdin() -> io::Result<()> {
    dup2_stdin(File::open("/dev/null")?).map_err(io::Error::from)
}
