//! `--stop`: requests a shutdown and waits for its end.

use std::fs::OpenOptions;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::error::Error;
use crate::files::pid_file::ForeignPidFile;
use crate::stderr::say;
use crate::sys;

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
