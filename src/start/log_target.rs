//! `--log-file`: a file that is appended to, or a command that reads from a pipe. It is opened first, and moved to fd 1
//! and fd 2 when everything is bound (L4).

use std::ffi::OsStr;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::unistd::dup2_stdin;

use crate::environment::Environment;
use crate::error::Error;
use crate::files::log_file::{LogFile, redirect};
use crate::perl::{Exec, trim_start};
use crate::sys::{self, Fork, Pid};
use crate::system::signals::LaunchState;

/// The open log. Dropping it before it was moved into place waits for its command (L7).
pub(super) struct LogTarget {
    fd: Option<OwnedFd>,
    command: Option<Pid>,
    file: Option<LogFile>,
}

impl LogTarget {
    /// Opens what `--log-file` names. A command gets `environment`, of which it uses PATH.
    pub(crate) fn open(option: &OsStr, environment: &Environment, launch: &LaunchState) -> Result<Self, Error> {
        if let Some(command) = trim_start(option.as_bytes()).strip_prefix(b"|") {
            let failed = |errno| Error::system(&[b"failed to open pipe:", option.as_bytes(), b": "], errno);
            return start(trim_start(command), environment, launch).map_err(failed);
        }
        let file = LogFile { path: option.into() };
        let fd = file.open(0)?;
        // Only a regular file is ever opened again.
        let file = fd.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file);
        Ok(Self { fd: Some(fd.into()), command: None, file })
    }

    /// Moves the log out of the way, by `keep_clear`.
    pub(super) fn relocate(&mut self, keep_clear: impl FnOnce(OwnedFd) -> Result<OwnedFd, Errno>) -> Result<(), Error> {
        if let Some(fd) = self.fd.take() {
            let moved = keep_clear(fd).map_err(|errno| Error::system(&[b"failed to create socket:"], errno))?;
            self.fd = Some(moved);
        }
        Ok(())
    }

    /// Moves standard output and standard error to the log. After that, nothing waits for its command.
    pub(super) fn move_into_place(&mut self) -> Result<(), Error> {
        // ORDER: nothing waits for the command even if this fails half-way, as it would wait for us.
        self.command = None;
        match self.fd.take() {
            // QUIRK: also over a listener that was wanted there (`--port=80=1`).
            Some(fd) => redirect(fd),
            None => Ok(()),
        }
    }

    /// The file, which is opened again when it has been renamed.
    pub(super) fn file(&mut self) -> Option<LogFile> {
        self.file.take()
    }
}

impl Drop for LogTarget {
    fn drop(&mut self) {
        // ORDER: the command exits when the pipe closes.
        self.fd = None;
        if let Some(pid) = self.command {
            sys::wait_for(pid);
        }
    }
}

/// Starts a command with a pipe to its standard input. It inherits everything else as it was at launch.
fn start(command: &[u8], environment: &Environment, launch: &LaunchState) -> Result<LogTarget, Errno> {
    let Some(exec) = Exec::of(command) else {
        return Err(Errno::EPIPE);
    };
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let environment = environment.to_c();
    let (input, log) = io::pipe().map_err(errno)?;
    // Closed by a successful exec; reports a failed one.
    let (mut outcome, report) = io::pipe().map_err(errno)?;
    match sys::fork(launch.one_thread)? {
        Fork::Child => {
            launch.restore_actions();
            let failure = match dup2_stdin(&input) {
                Ok(()) => exec.run(&environment),
                Err(errno) => errno,
            };
            tell(report, failure);
        }
        Fork::Parent(pid) => {
            drop((input, report));
            let mut failure = [0; 4];
            if outcome.read_exact(&mut failure).is_ok() {
                sys::wait_for(pid);
                return Err(Errno::from_raw(i32::from_ne_bytes(failure)));
            }
            Ok(LogTarget { fd: Some(log.into()), command: Some(pid), file: None })
        }
    }
}

/// Exits from the child, whose exec has failed.
fn tell(mut report: PipeWriter, failure: Errno) -> ! {
    let _ = report.write_all(&(failure as i32).to_ne_bytes());
    sys::exit_now(1)
}
